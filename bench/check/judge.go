package main

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Units of what a benchmark line says. A hot benchmark is one that says calibrations.
const (
	calibrations = "calibrations" // its time in times of the calibration loop
	allocations  = "allocs/op"
)

// slower is how much a hot benchmark may lose.
const slower = 0.10

// runs are the figures of each benchmark by unit, one for each time it ran.
type runs map[string]map[string][]float64

// parse reads the output of go test -bench
// (https://go.googlesource.com/proposal/+/master/design/14313-benchmark-format.md). Lines of
// another form are not results.
func parse(out []byte) runs {
	rs := runs{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(f[1]); err != nil {
			continue
		}
		if rs[f[0]] == nil {
			rs[f[0]] = map[string][]float64{}
		}
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				rs[f[0]][f[i+1]] = append(rs[f[0]][f[i+1]], v)
			}
		}
	}
	return rs
}

// judge says what is wrong with a run beside a stored one, a sentence for each benchmark;
// all: every hot benchmark of the stored run has to be there.
func judge(stored, now runs, all bool) (wrong []string) {
	for name := range stored {
		was, is := stored[name][calibrations], now[name][calibrations]
		switch {
		case len(was) == 0 || len(is) == 0 && !all:
		case len(is) == 0:
			wrong = append(wrong, name+": did not run")
		case median(is) > median(was)*(1+slower):
			wrong = append(wrong, fmt.Sprintf("%s: %.2f calibration loops, %.0f %% more than %.2f",
				name, median(is), 100*(median(is)/median(was)-1), median(was)))
		}
	}
	for name, figures := range now {
		if n := figures[allocations]; len(figures[calibrations]) > 0 && len(n) > 0 && median(n) > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %v allocations a packet", name, median(n)))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// median of one or more figures.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
