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
		var got []string
		for _, f := range judge(parse([]byte(stored)), parse([]byte(c.now)), c.all) {
			got = append(got, f.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, strings.Join(got, "; "), strings.Join(c.want, "; "))
		}
	}
}

// A fault counts if it is there each time; what is right once is right. Only what seemed wrong
// is run again.
func TestConfirm(t *testing.T) {
	const stored = "BenchmarkNAT/conns=10 100 1 ns/op 5 calibrations\nBenchmarkDR/conns=10 100 1 ns/op 5 calibrations\n"
	const good, bad, gone = "100 1 ns/op 5 calibrations", "100 1 ns/op 6 calibrations", ""
	const worse = bad + " 64 B/op 1 allocs/op" // two faults of one benchmark, which runs once for both
	for _, c := range []struct {
		name  string
		later []string // what NAT does in the runs after the first
		want  []string
	}{
		{"right then", []string{good}, nil},
		{"right at last", []string{bad, good}, nil},
		{"wrong each time", []string{bad, bad}, []string{"BenchmarkNAT/conns=10: 6.00 calibration loops, 20 % more than 5.00"}},
		{"slow and allocating", []string{worse, worse}, []string{"BenchmarkNAT/conns=10: 1 allocations a packet", "BenchmarkNAT/conns=10: 6.00 calibration loops, 20 % more than 5.00"}},
		{"gone at last", []string{bad, gone}, []string{"BenchmarkNAT/conns=10: did not run"}},
	} {
		rs := parse([]byte(stored))
		first := judge(rs, parse([]byte(strings.Replace(stored, good, bad, 1))), true)
		n := 0
		faults, err := confirm(rs, first, func(which string) ([]byte, error) {
			if which != "^BenchmarkNAT$/^conns=10$" {
				t.Errorf("%s: runs %q", c.name, which)
			}
			n++
			return []byte("BenchmarkNAT/conns=10 " + c.later[n-1]), nil
		})
		var got []string
		for _, f := range faults {
			got = append(got, f.String())
		}
		if err != nil || !slices.Equal(got, c.want) || n != len(c.later) {
			t.Errorf("%s: %q, %v after %d runs; want %q after %d", c.name, got, err, n, c.want, len(c.later))
		}
	}
}

func TestHot(t *testing.T) {
	out := "BenchmarkNAT/conns=10 1 1 ns/op 5 calibrations\nBenchmarkFill 1 1 ns/op\nBenchmarkNAT/conns=20 1 1 ns/op 5 calibrations\nBenchmarkDR 1 1 ns/op 5 calibrations\n"
	if got, want := parse([]byte(out)).hot(), "^(BenchmarkDR|BenchmarkNAT)$"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
