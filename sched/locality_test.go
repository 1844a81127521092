package sched

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// to is a request for the destination number n.
func to(n uint32, now time.Duration) *Request {
	r := *anyone
	r.Now = now
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], n)
	r.Dst = packet.AddrFrom4(a)
	return &r
}

func (v *service) pickTo(n uint32, now time.Duration) int { return v.id(v.Pick(to(n, now))) }

// remembered is how many destinations an lblc or lblcr service knows.
func (v *service) remembered() int {
	switch b := v.Scheduler.(type) {
	case *lblc:
		return len(b.index)
	case *lblcr:
		return len(b.index)
	}
	v.t.Fatalf("%T remembers nothing", v.Scheduler)
	return 0
}

func TestLBLCKeepsDestinationWithItsServer(t *testing.T) {
	v := newService(t, "lblc", 0, Config{}).with(10, 10)
	check := func(what string, n uint32, want int) {
		t.Helper()
		if got := v.pickTo(n, 0); got != want {
			t.Errorf("%s: got %d, want %d", what, got, want)
		}
	}
	check("first destination", 1, 2)
	v.servers[2].Inactive.Store(5)
	check("second destination", 2, 1)
	check("first again, though its server has more load", 1, 2)

	v.servers[2].Overload.Store(true)
	check("overloaded server of an entry", 1, 2)
	check("overloaded server, new destination", 3, 1)
	v.servers[2].Overload.Store(false)

	v.servers[2].Active.Store(11)
	v.servers[1].Active.Store(5)
	check("crowded, but no other is less than half used", 1, 2)
	v.servers[1].Active.Store(4)
	check("crowded, and another is less than half used", 1, 1)
	v.servers[2].Active.Store(0)
	check("it has moved for good", 1, 1)
}

// An entry outlives its server and is good again when the server comes back.
func TestLBLCEntryComesBackWithItsServer(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		v := newService(t, name, 0, Config{}).with(1, 1)
		if got := v.pickTo(1, 0); got != 2 {
			t.Fatalf("%s: got %d, want 2", name, got)
		}
		gone := v.del(2)
		v.servers[1].Overload.Store(true)
		if got := v.pickTo(1, 0); got != -1 {
			t.Fatalf("%s: got %d, want none", name, got)
		}
		v.servers[1].Overload.Store(false)
		gone.Inactive.Store(100) // so that wlc would choose server 1
		gone.Available.Store(true)
		v.join(2, gone)
		if got := v.pickTo(1, 0); got != 2 {
			t.Errorf("%s: got %d, want 2", name, got)
		}
		v.edit(2, 0)
		if got := v.pickTo(1, 0); got != 1 {
			t.Errorf("%s, quiesced: got %d, want 1", name, got)
		}
	}
}

func TestLBLCRGrowsAndShrinksTheSet(t *testing.T) {
	const day = 24 * time.Hour
	v := newService(t, "lblcr", 0, Config{}).with(10, 10, 10)
	b := v.Scheduler.(*lblcr)
	check := func(what string, now time.Duration, want int, size uint32) {
		t.Helper()
		if got := v.pickTo(1, now); got != want {
			t.Errorf("%s: got %d, want %d", what, got, want)
		}
		if got := b.find(to(1, 0).Dst).val.size; got != size {
			t.Errorf("%s: set of %d, want %d", what, got, size)
		}
	}
	check("new", 0, 3, 1)
	v.servers[3].Active.Store(11)
	check("crowded: another joins", time.Hour, 2, 2)
	v.servers[3].Active.Store(0)
	v.servers[2].Active.Store(1)
	check("the best of the set", 2*time.Hour, 3, 2)
	v.servers[1].Overload.Store(true)
	v.servers[3].Overload.Store(true)
	check("an overloaded member is passed over", 3*time.Hour, 2, 2)
	v.servers[3].Overload.Store(false)
	check("no shrinking at the expiration", day+time.Hour, 3, 2)
	check("but after it: the most loaded leaves", day+time.Hour+1, 3, 1)
	v.servers[3].Inactive.Store(999)
	check("it has left", day+2*time.Hour, 3, 1)
	check("the last one never leaves", 9*day, 3, 1)
}

// The member that leaves may be the one chosen just before: it serves this once.
func TestLBLCRReturnsTheMemberThatLeaves(t *testing.T) {
	v := newService(t, "lblcr", 0, Config{LBLCRExpiration: time.Second}).with(10, 10)
	v.pickTo(1, 0)
	v.servers[2].Active.Store(11)
	v.pickTo(1, 0) // now 1 and 2
	v.servers[2].Overload.Store(true)
	v.servers[2].Active.Store(0)
	v.servers[1].Active.Store(9)
	if got := v.pickTo(1, time.Second+1); got != 1 {
		t.Fatalf("got %d, want 1: the only one not overloaded", got)
	}
	v.servers[2].Overload.Store(false)
	if got := v.pickTo(1, time.Second+2); got != 2 {
		t.Errorf("got %d, want 2: the set is only server 2 now", got)
	}
}

// Full checks come with the 30th, 60th … tick of 60 s and delete what has been idle
// for the expiration time; nothing else is deleted while the cache is small.
func TestCacheFullCheck(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		const hour = time.Hour
		v := newService(t, name, 0, Config{LBLCExpiration: hour, LBLCRExpiration: hour}).with(1, 1)
		start := 5 * time.Minute // clocks begin anywhere
		v.Housekeep(start)
		v.pickTo(1, start)
		v.pickTo(2, start+30*time.Minute)
		v.pickTo(3, start+30*time.Minute+1)
		v.pickTo(4, start)
		v.servers[2].Overload.Store(true)
		v.servers[1].Overload.Store(true)
		v.pickTo(4, start+30*time.Minute+1) // asking is use, whether or not a server will do
		for _, c := range []struct {
			minutes time.Duration
			want    int
		}{{59, 4}, {60, 3}, {89, 3}, {90, 2}, {119, 2}, {120, 0}} {
			v.Housekeep(start + c.minutes*time.Minute)
			if got := v.remembered(); got != c.want {
				t.Errorf("%s, after %d minutes: %d entries, want %d", name, c.minutes, got, c.want)
			}
		}
	}
}

// One late call does what the calls missed would have done.
func TestHousekeepCatchesUp(t *testing.T) {
	v := newService(t, "lblc", 0, Config{LBLCExpiration: time.Hour}).with(1)
	v.Housekeep(0)
	v.pickTo(1, 1)
	v.Housekeep(89*time.Minute + 59*time.Second)
	if v.remembered() != 1 {
		t.Error("expired before the full check of minute 90")
	}
	v.Housekeep(24 * time.Hour)
	if v.remembered() != 0 {
		t.Error("did not expire")
	}
}

// Beyond 16384 entries each tick deletes what has been idle for six minutes, about 4/3
// of the excess, at most 8192, bucket by bucket; entries in use stay.
func TestCacheEarlyCollection(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		v := newService(t, name, 0, Config{}).with(1)
		v.Housekeep(0)
		const n = 17000
		for i := range uint32(n) {
			v.pickTo(i, 0)
		}
		v.Housekeep(5 * time.Minute)
		if got := v.remembered(); got != n {
			t.Fatalf("%s: %d entries after five minutes, want %d", name, got, n)
		}
		v.Housekeep(6 * time.Minute)
		// The goal is (17000-16384)*4/3 = 821 and the walk ends with the bucket in which
		// it is reached; a bucket has about 17 entries.
		if got := n - v.remembered(); got < 821 || got > 821+40 {
			t.Errorf("%s: collected %d, want 821 and the rest of a bucket", name, got)
		}
		left := v.remembered()
		v.Housekeep(10 * time.Minute)
		if got := v.remembered(); got != left {
			t.Errorf("%s: %d entries, want %d: the cache was within bounds", name, got, left)
		}
	}
}

// The rover goes on where it stopped, and the goal has a bound.
func TestCacheEarlyCollectionIsBounded(t *testing.T) {
	v := newService(t, "lblc", 0, Config{}).with(1)
	v.Housekeep(0)
	const n = 60000
	for i := range uint32(n) {
		v.pickTo(i, 0)
	}
	v.Housekeep(6 * time.Minute)
	first := n - v.remembered()
	if first < cacheSize/2 || first > cacheSize/2+200 {
		t.Errorf("collected %d, want %d and the rest of a bucket", first, cacheSize/2)
	}
	v.Housekeep(7 * time.Minute)
	if second := n - v.remembered() - first; second < cacheSize/2 || second > cacheSize/2+200 {
		t.Errorf("then collected %d, want %d and the rest of a bucket", second, cacheSize/2)
	}
}

// What classic and modern kernels count: a moved destination counts twice for the
// former, until collection; the latter create no entry beyond 24576.
func TestCacheAccountingByKernel(t *testing.T) {
	for factor, want := range map[int]int{256: 2, 257: 1} {
		v := newService(t, "lblc", 0, Config{ActiveFactor: factor}).with(1, 1)
		v.pickTo(1, 0)
		v.edit(2, 0)
		v.pickTo(1, 0)
		if got := v.Scheduler.(*lblc).counted; got != want {
			t.Errorf("factor %d: counted %d, want %d", factor, got, want)
		}
	}
	for _, name := range []string{"lblc", "lblcr"} {
		for factor, want := range map[int]int{256: 25000, 257: 24576} {
			v := newService(t, name, 0, Config{ActiveFactor: factor}).with(1)
			for i := range uint32(25000) {
				if v.pickTo(i, 0) != 1 {
					t.Fatal("no server")
				}
			}
			if got := v.remembered(); got != want {
				t.Errorf("%s, factor %d: %d entries, want %d", name, factor, got, want)
			}
		}
	}
}

// SetExpiration is live. Deleted entries give back all they held.
func TestCacheReleasesWhatItHeld(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		v := newService(t, name, 0, Config{}).with(10, 10, 10)
		v.Housekeep(0)
		for i := range uint32(1000) {
			v.pickTo(i, 0)
			if i%3 == 0 { // so that sets get a second member, and entries move
				s := v.Pick(to(i, 0))
				s.Active.Store(11)
				v.pickTo(i, 0)
				s.Active.Store(0)
			}
		}
		v.Scheduler.(Expirer).SetExpiration(0)
		v.Housekeep(30 * time.Minute)
		if got := v.remembered(); got != 0 {
			t.Fatalf("%s: %d entries left", name, got)
		}
		var ids, cells, members int
		switch b := v.Scheduler.(type) {
		case *lblc:
			ids, cells = len(b.known.ids), len(b.entries.cells)-1-len(b.entries.free)
		case *lblcr:
			ids, cells = len(b.known.ids), len(b.entries.cells)-1-len(b.entries.free)
			if members = len(b.members.cells) - 1; members < 1000 {
				t.Errorf("lblcr: only %d members were ever made", members)
			}
			members -= len(b.members.free)
		}
		if ids != 0 || cells != 0 || members != 0 {
			t.Errorf("%s: %d servers, %d entries and %d members are still held", name, ids, cells, members)
		}
	}
}
