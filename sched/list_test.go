package sched

import (
	"fmt"
	"testing"
)

// Whatever the algorithm, besides a server that failed comes the one with the fewest active
// connections for its weight that may be chosen at all.
func TestBesides(t *testing.T) {
	for _, name := range append(Names(), None) {
		for _, c := range []struct {
			weights, active []int32
			overloaded      int // number of one that is; 0: none
			not, want       int // 0: none
		}{
			{[]int32{1, 1}, []int32{0, 0}, 0, 1, 2},
			{[]int32{1, 1}, []int32{0, 0}, 0, 2, 1},
			{[]int32{1, 5, 2}, []int32{0, 0, 0}, 0, 2, 3},
			{[]int32{1, 5, 2}, []int32{1, 9, 9}, 0, 2, 1},
			{[]int32{1, 0, 2}, []int32{0, 0, 0}, 0, 3, 1},
			{[]int32{1, 1, 2}, []int32{0, 0, 0}, 3, 1, 2},
			{[]int32{1, 0}, []int32{0, 0}, 0, 1, 0},
			{[]int32{1}, []int32{0}, 0, 1, 0},
		} {
			t.Run(fmt.Sprint(name, c.weights, c.active, c.overloaded, c.not), func(t *testing.T) {
				v := newService(t, name, 0, Config{}).with(c.weights...)
				for i, n := range c.active {
					v.servers[i+1].Active.Store(n)
				}
				if c.overloaded != 0 {
					v.servers[c.overloaded].Overload.Store(true)
				}
				want := v.servers[c.want]
				if name == None {
					want = nil
				}
				if got := v.Besides(v.servers[c.not]); got != want {
					t.Errorf("%v, want server %d", got, c.want)
				}
			})
		}
	}
}
