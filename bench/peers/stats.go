package main

import (
	"math"
	"slices"
	"time"
)

// summary is what several rounds gave.
type summary struct {
	n                int
	median, min, max float64
}

// summarize leaves values as they are; of none it makes the zero summary.
func summarize(values []float64) summary {
	if len(values) == 0 {
		return summary{}
	}
	v := slices.Sorted(slices.Values(values))
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (v[len(v)/2-1] + m) / 2
	}
	return summary{n: len(v), median: m, min: v[0], max: v[len(v)-1]}
}

// percentile is the smallest of the sorted times that at least the share q of them does
// not exceed (nearest rank); 0 of none.
func percentile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(max(int(math.Ceil(q*float64(len(sorted))))-1, 0), len(sorted)-1)]
}
