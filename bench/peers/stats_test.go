package main

import (
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want summary
	}{
		{nil, summary{}},
		{[]float64{7}, summary{1, 7, 7, 7}},
		{[]float64{9, 1, 5}, summary{3, 5, 1, 9}},
		{[]float64{4, 1, 2, 100}, summary{4, 3, 1, 100}},
	} {
		before := append([]float64(nil), c.in...)
		if got := summarize(c.in); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.in, got, c.want)
		}
		for i := range before {
			if before[i] != c.in[i] {
				t.Errorf("%v has become %v", before, c.in)
			}
		}
	}
}

// Nearest rank: the 99th percentile of 1 to 100 is 99, of 1 to 1000 it is 990.
func TestPercentile(t *testing.T) {
	count := func(n int) (list []time.Duration) {
		for i := range n {
			list = append(list, time.Duration(i+1))
		}
		return list
	}
	for _, c := range []struct {
		n    int
		q    float64
		want time.Duration
	}{
		{0, 0.5, 0}, {1, 0.999, 1}, {100, 0.5, 50}, {100, 0.99, 99}, {1000, 0.99, 990}, {1000, 0.999, 999}, {100, 1, 100}, {100, 0, 1},
	} {
		if got := percentile(count(c.n), c.q); got != c.want {
			t.Errorf("%v of 1 to %d: %d, want %d", c.q, c.n, got, c.want)
		}
	}
}
