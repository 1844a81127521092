package health

import (
	"slices"
	"time"
)

// Buckets are the upper bounds of a Histogram's counts.
var Buckets = []time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// Histogram counts durations by Buckets.
type Histogram struct {
	Counts []uint64 // of each bucket alone; the last is of what is beyond all bounds
	Sum    time.Duration
}

func (h *Histogram) add(d time.Duration) {
	if h.Counts == nil {
		h.Counts = make([]uint64, len(Buckets)+1)
	}
	at, _ := slices.BinarySearch(Buckets, d)
	h.Counts[at]++
	h.Sum += max(0, d)
}

func (h *Histogram) clone() Histogram { return Histogram{slices.Clone(h.Counts), h.Sum} }

// Quantile is the bound of the bucket in which the share q (0.99) of all durations is
// reached: they took at most as long. beyond says that it is longer than every bound.
func (h *Histogram) Quantile(q float64) (bound time.Duration, beyond bool) {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	seen := uint64(0)
	for i, n := range h.Counts {
		seen += n
		if float64(seen) >= q*float64(total) {
			if i == len(Buckets) {
				return Buckets[i-1], true
			}
			return Buckets[i], false
		}
	}
	return 0, false
}
