package sched

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNewUnknownNameListsTheKnown(t *testing.T) {
	_, err := New("wlcc", 0, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range append(Names(), None, `"wlcc"`) {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

func TestNamesAreAllKnown(t *testing.T) {
	if n := Names(); len(n) != 14 {
		t.Errorf("%d names: %v", len(n), n)
	}
	for _, name := range Names() {
		if _, err := New(name, 0, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestNoneNeverChooses(t *testing.T) {
	v := newService(t, None, 0, Config{}).with(1, 1)
	v.edit(1, 5)
	v.del(2)
	v.SetFlags(Flag1)
	v.Housekeep(time.Hour)
	v.want("none", v.picks(2, nil), []int{-1, -1})
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []Config{
		{ActiveFactor: 255}, {ActiveFactor: -1}, {LBLCExpiration: -1}, {LBLCRExpiration: -time.Hour},
	} {
		if _, err := c.New("wlc", 0, nil); err == nil || !strings.Contains(err.Error(), "wlc") {
			t.Errorf("%+v: error %v", c, err)
		}
	}
}

// Binding takes the list as it is given, head first; it copies it.
func TestNewBindsToListOrder(t *testing.T) {
	for _, name := range []string{"rr", "lc", "wlc", "sed", "nq", "fo", "ovf"} {
		servers := []*Server{server(3, 1), server(2, 1), server(1, 1)}
		s, err := New(name, 0, servers)
		if err != nil {
			t.Fatal(err)
		}
		first := servers[0]
		slices.Reverse(servers)
		if got := s.Pick(anyone); got != first {
			t.Errorf("%s: picked %v, want the head of the list", name, got.Addr)
		}
	}
}

// The tables of dh, sh and mh do not depend on how the list came about.
func TestTablesAreTheSameBoundOrAdded(t *testing.T) {
	for _, name := range []string{"dh", "sh", "mh"} {
		v := newService(t, name, Flag2, Config{}).with(3, 1, 7, 2)
		bound, err := New(name, Flag2, []*Server{v.servers[4], v.servers[3], v.servers[2], v.servers[1]})
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint32(2000) {
			r := to(n*2654435761, 0)
			r.Src = r.Dst
			if a, b := v.id(v.Pick(r)), v.id(bound.Pick(r)); a != b {
				t.Fatalf("%s: %v: %d added, %d bound", name, r.Dst, a, b)
			}
		}
	}
}

// wrr bound to a list starts with the highest threshold; servers added one by one are
// each served once first. By hand for weights 1, 3: thresholds 3 2 1 against 1, 3 2 1.
func TestWRRBindDiffersFromAdd(t *testing.T) {
	v := newService(t, "wrr", 0, Config{}).with(1, 3)
	v.want("added", v.picks(6, nil), []int{2, 1, 2, 2, 2, 1})
	bound, err := New("wrr", 0, []*Server{v.servers[2], v.servers[1]})
	if err != nil {
		t.Fatal(err)
	}
	v.Scheduler = bound
	v.want("bound", v.picks(6, nil), []int{2, 2, 2, 1, 2, 2})
}
