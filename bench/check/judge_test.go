package main

import (
	"slices"
	"strings"
	"testing"
)

// What judge says of a run beside a stored one.
func TestJudge(t *testing.T) {
	const stored = `goos: linux
BenchmarkCalibration/conns=1000-2    100  20.0 ns/op
BenchmarkNAT    100  100.0 ns/op  5.00 calibrations  0 B/op  0 allocs/op
BenchmarkNAT    100  300.0 ns/op  5.20 calibrations  0 B/op  0 allocs/op
BenchmarkNAT    100  100.0 ns/op  5.10 calibrations  0 B/op  0 allocs/op
PASS
`
	for _, c := range []struct {
		name, now string
		all       bool
		want      []string
	}{
		{"as before", stored, true, nil},
		{"a slow machine, the same ratio", "BenchmarkNAT 100 900 ns/op 5.1 calibrations 0 allocs/op", true, nil},
		{"9 % slower", "BenchmarkNAT 100 1 ns/op 5.56 calibrations 0 allocs/op", true, nil},
		{"11 % slower", "BenchmarkNAT 100 1 ns/op 5.67 calibrations 0 allocs/op", true, []string{"BenchmarkNAT: 5.67 calibration loops, 11 % more than 5.10"}},
		{"one of three slower", "BenchmarkNAT 100 1 ns/op 9 calibrations\nBenchmarkNAT 100 1 ns/op 5 calibrations\nBenchmarkNAT 100 1 ns/op 5 calibrations", true, nil},
		{"two of three slower", "BenchmarkNAT 100 1 ns/op 9 calibrations\nBenchmarkNAT 100 1 ns/op 9 calibrations\nBenchmarkNAT 100 1 ns/op 5 calibrations", true, []string{"BenchmarkNAT: 9.00 calibration loops, 76 % more than 5.10"}},
		{"allocates", "BenchmarkNAT 100 1 ns/op 5 calibrations 64 B/op 1 allocs/op", true, []string{"BenchmarkNAT: 1 allocations a packet"}},
		{"a new one allocates", stored + "BenchmarkDR 100 1 ns/op 5 calibrations 64 B/op 2 allocs/op", true, []string{"BenchmarkDR: 2 allocations a packet"}},
		{"another may allocate", stored + "BenchmarkFill 100 1 ns/op 64 B/op 2 allocs/op", true, nil},
		{"did not run", "PASS", true, []string{"BenchmarkNAT: did not run"}},
		{"was not asked for", "PASS", false, nil},
		{"not a result", "BenchmarkNAT failed 5 calibrations x", true, []string{"BenchmarkNAT: did not run"}},
	} {
		if got := judge(parse([]byte(stored)), parse([]byte(c.now)), c.all); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, strings.Join(got, "; "), strings.Join(c.want, "; "))
		}
	}
}
