package sched

import "testing"

// The kernel draws from 0 to the sum of weights inclusive, so with idle servers of
// weights w the first in the list is drawn with probability (w+1)/(sum+1) and each
// other with w/(sum+1); without load, the first draw decides.
func TestTwosDrawsByWeight(t *testing.T) {
	v := newService(t, "twos", 0, Config{Random: Seeded(7)}).with(1, 2, 3, 0)
	const n = 70000
	var count [5]float64
	for range n {
		count[v.id(v.Pick(anyone))]++
	}
	var chi float64
	for id, part := range map[int]float64{1: 1, 2: 2, 3: 3 + 1} { // 3 is the first eligible one
		want := n * part / 7
		chi += (count[id] - want) * (count[id] - want) / want
	}
	// 13.8 is the 99.9th percentile of chi-square with 2 degrees of freedom.
	if chi > 13.8 || count[4] != 0 {
		t.Errorf("counts %v, chi-square %.1f", count[1:], chi)
	}
}

// With two servers, one of them loaded, the loaded one is chosen only when both draws
// are its own.
func TestTwosAvoidsLoad(t *testing.T) {
	v := newService(t, "twos", 0, Config{Random: Seeded(9)}).with(1, 1)
	v.servers[1].Active.Store(1) // drawn with probability 1/3
	const n = 90000
	var loaded float64
	for range n {
		if v.id(v.Pick(anyone)) == 1 {
			loaded++
		}
	}
	want := n / 9.
	chi := (loaded - want) * (loaded - want) * (1/want + 1/(n-want))
	if chi > 10.8 { // 99.9th percentile, 1 degree of freedom
		t.Errorf("loaded server chosen %v of %d times, want about %v", loaded, n, want)
	}
}

// Both ends of the range can be drawn, and the default source works.
func TestTwosRange(t *testing.T) {
	var asked []uint64
	top := false
	v := newService(t, "twos", 0, Config{Random: func(n uint64) uint64 {
		asked = append(asked, n)
		if top {
			return n - 1
		}
		return 0
	}}).with(5, 7)
	low := v.picks(1, nil)
	top = true
	v.want("lowest and highest draw", append(low, v.picks(1, nil)...), []int{2, 1})
	for _, n := range asked {
		if n != 13 {
			t.Errorf("drew from [0, %d), want [0, 13)", n)
		}
	}

	v = newService(t, "twos", 0, Config{}).with(1, 1)
	seen := map[int]bool{}
	for _, id := range v.picks(1000, nil) {
		seen[id] = true
	}
	if len(seen) != 2 {
		t.Errorf("1000 picks went to %v only", seen)
	}
}

func TestSeededRepeats(t *testing.T) {
	a, b, other := Seeded(1), Seeded(1), Seeded(2)
	differ := false
	for range 100 {
		x := a(1000)
		if y := b(1000); x != y {
			t.Fatalf("same seed gave %d and %d", x, y)
		}
		differ = differ || x != other(1000)
	}
	if !differ {
		t.Error("two seeds gave the same 100 numbers")
	}
}
