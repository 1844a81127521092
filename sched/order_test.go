package sched

import "testing"

// How the list order decides, by hand from the rules: an added server is at the head,
// rr goes on after its last choice, and a removed last choice leaves its predecessor.
func TestRRFollowsListOrder(t *testing.T) {
	v := newService(t, "rr", 0, Config{}).with(1, 1, 1)
	v.want("three servers", v.picks(7, nil), []int{3, 2, 1, 3, 2, 1, 3})

	v = newService(t, "rr", 0, Config{}).with(1, 1, 1)
	v.want("before the add", v.picks(2, nil), []int{3, 2})
	v.add(4, 1)
	v.want("after the add", v.picks(5, nil), []int{1, 4, 3, 2, 1})
	v.del(4)
	v.want("after the removal", v.picks(4, nil), []int{3, 2, 1, 3})
}

func TestRRRemovalOfPosition(t *testing.T) {
	for _, c := range []struct {
		what    string
		picks   int // of 3 2 1
		remove  int
		follows []int
	}{
		{"first server, chosen last", 1, 3, []int{2, 1, 2}},
		{"middle server, chosen last", 2, 2, []int{1, 3, 1}},
		{"a server before the position", 2, 3, []int{1, 2, 1}},
		{"a server after the position", 2, 1, []int{3, 2, 3}},
	} {
		v := newService(t, "rr", 0, Config{}).with(1, 1, 1)
		v.picks(c.picks, nil)
		v.del(c.remove)
		v.want(c.what, v.picks(3, nil), c.follows)
	}
}

func TestRRKeepsPositionWhenNobodyIsEligible(t *testing.T) {
	v := newService(t, "rr", 0, Config{}).with(1, 1, 1)
	v.want("start", v.picks(1, nil), []int{3})
	for _, s := range v.servers {
		s.Overload.Store(true)
	}
	v.want("all overloaded", v.picks(2, nil), []int{-1, -1})
	for _, s := range v.servers {
		s.Overload.Store(false)
	}
	v.want("again", v.picks(2, nil), []int{2, 1})
}

// Sequences known of the kernel, servers 1, 2, 3 added in this order. The weights are
// theirs; every decision of the second table is an active connection that stays.
func TestWRRSequences(t *testing.T) {
	for _, c := range []struct {
		weights []int32
		want    []int
	}{
		{[]int32{4, 3, 2}, []int{3, 2, 1, 1, 2, 1, 3, 2, 1, 3, 2, 1, 1, 2, 1, 3, 2, 1}},
		{[]int32{1, 2, 4}, []int{3, 2, 1, 3, 3, 3, 2, 3, 2, 1, 3, 3, 3, 2}},
		{[]int32{2, 4, 8}, []int{3, 2, 1, 3, 3, 3, 2, 3, 2, 1, 3, 3, 3, 2}},
		{[]int32{10, 10, 5}, []int{3, 2, 1, 2, 1, 3, 2, 1, 2, 1}},
	} {
		v := newService(t, "wrr", 0, Config{}).with(c.weights...)
		v.want("wrr", v.picks(len(c.want), nil), c.want)
	}

	v := newService(t, "wrr", 0, Config{}).with(4, 3, 2)
	v.want("before the edit", v.picks(4, nil), []int{3, 2, 1, 1})
	v.edit(2, 6)
	v.want("after the edit", v.picks(12, nil), []int{2, 2, 1, 3, 2, 1, 2, 2, 1, 3, 2, 1})
}

func TestLoadSequences(t *testing.T) {
	for _, c := range []struct {
		scheduler string
		weights   []int32
		want      []int
	}{
		{"lc", []int32{1, 2, 3}, []int{3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2}},
		{"wlc", []int32{1, 2, 3}, []int{3, 2, 1, 3, 2, 3, 3, 2, 1, 3, 2, 3, 3, 2}},
		{"wlc", []int32{2, 1, 0}, []int{2, 1, 1, 2, 1, 1, 2, 1, 1}},
		{"sed", []int32{1, 2, 3}, []int{3, 2, 3, 3, 2, 1, 3, 2, 3, 3, 2, 1, 3, 2}},
		{"sed", []int32{1, 10}, []int{2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 2}},
		{"nq", []int32{1, 2, 3}, []int{3, 2, 1, 3, 3, 2, 3, 2, 3, 3, 2, 1, 3, 2}},
		{"fo", []int32{1, 2, 3}, []int{3, 3, 3, 3}},
		{"ovf", []int32{1, 2, 3}, []int{3, 3, 3, 3, 2, 2, 2, 1, 1, -1, -1}},
	} {
		v := newService(t, c.scheduler, 0, Config{}).with(c.weights...)
		v.want(c.scheduler, v.picks(len(c.want), activate), c.want)
	}
}

// An idle server late in the list wins over a busy better one.
func TestNQPrefersIdleWhateverItsWeight(t *testing.T) {
	v := newService(t, "nq", 0, Config{}).with(1, 1000)
	v.servers[2].Active.Store(1)
	v.want("nq", v.picks(1, nil), []int{1})
	v.servers[1].Overload.Store(true)
	v.want("nq, idle one overloaded", v.picks(1, nil), []int{2})
}

// 257 counts an active connection among the total too: one active against 256 inactive
// ones is a tie for the classic kernel, which the first in the list wins.
func TestActiveFactorDecidesNearTies(t *testing.T) {
	for factor, want := range map[int]int{0: 2, 256: 2, 257: 1} {
		for _, name := range []string{"lc", "wlc", "lblc", "lblcr"} {
			v := newService(t, name, 0, Config{ActiveFactor: factor}).with(1, 1)
			v.servers[2].Active.Store(1)
			v.servers[1].Inactive.Store(256)
			if got := v.id(v.Pick(anyone)); got != want {
				t.Errorf("%s, factor %d: got %d, want %d", name, factor, got, want)
			}
		}
	}
}

// No scheduler picks a quiesced or an overloaded server for a new destination, and
// every one has an answer for a service without servers.
func TestEligibility(t *testing.T) {
	for _, name := range Names() {
		v := newService(t, name, 0, Config{Random: Seeded(1)})
		v.want(name+", no server", v.picks(2, nil), []int{-1, -1})
		v.with(3)
		v.want(name+", one server", v.picks(2, nil), []int{1, 1})
		v.edit(1, 0)
		v.want(name+", quiesced", v.picks(2, nil), []int{-1, -1})
		v.edit(1, 3)
		v.del(1)
		v.want(name+", removed", v.picks(2, nil), []int{-1, -1})
		v.add(2, 3)
		v.servers[2].Overload.Store(true)
		v.want(name+", overloaded", v.picks(2, nil), []int{-1, -1})
	}
}
