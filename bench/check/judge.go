package main

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
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

// A fault is what is wrong with one benchmark.
type fault struct{ name, text string }

func (f fault) String() string { return f.name + ": " + f.text }

// judge says what is wrong with a run beside a stored one, by name; all: every hot benchmark
// of the stored run has to be there.
func judge(stored, now runs, all bool) (faults []fault) {
	for name := range stored {
		was, is := stored[name][calibrations], now[name][calibrations]
		switch {
		case len(was) == 0 || len(is) == 0 && !all:
		case len(is) == 0:
			faults = append(faults, fault{name, "did not run"})
		case median(is) > median(was)*(1+slower):
			faults = append(faults, fault{name, fmt.Sprintf("%.2f calibration loops, %.0f %% more than %.2f",
				median(is), 100*(median(is)/median(was)-1), median(was))})
		}
	}
	for name, figures := range now {
		if n := figures[allocations]; len(figures[calibrations]) > 0 && len(n) > 0 && median(n) > 0 {
			faults = append(faults, fault{name, fmt.Sprintf("%v allocations a packet", median(n))})
		}
	}
	slices.SortFunc(faults, func(a, b fault) int { return strings.Compare(a.String(), b.String()) })
	return faults
}

// hot is the regular expression of the functions of hot benchmarks.
func (rs runs) hot() string {
	var names []string
	for name, figures := range rs {
		if top, _, _ := strings.Cut(name, "/"); len(figures[calibrations]) > 0 && !slices.Contains(names, top) {
			names = append(names, top)
		}
	}
	return "^(" + strings.Join(slices.Sorted(slices.Values(names)), "|") + ")$"
}

// pattern is the regular expression of go test -bench for one benchmark alone.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// median of one or more figures.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
