// Command check runs the in-memory benchmarks and compares them with a stored run: it fails
// when a hot one has become more than 10 % slower, or allocates. Times are compared as
// multiples of the calibration loop that ran between the same packets, so that it matters
// little how busy the machine is. Its output is benchstat's input.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

func main() {
	count := flag.Int("count", 6, "how often each benchmark runs; medians are compared")
	which := flag.String("bench", ".", "which benchmarks: a regular expression of go test -bench")
	base := flag.String("base", "bench/base.txt", "the stored run")
	update := flag.Bool("update", false, "store this run instead of comparing")
	flag.Parse()
	if err := check(*count, *which, *base, *update); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func check(count int, which, base string, update bool) error {
	dir, err := os.MkdirTemp("", "dirigo-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "bench.test")
	build := exec.Command("go", "test", "-c", "-o", program, "./bench")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the benchmarks: %w", err)
	}
	out, err := run(program, which, count)
	if err != nil {
		return err
	}
	if update {
		return os.WriteFile(base, out, 0o644)
	}
	text, err := os.ReadFile(base)
	if err != nil {
		return fmt.Errorf("%w (make it with -update)", err)
	}
	stored := parse(text)
	faults := judge(stored, parse(out), which == ".")
	faults, err = confirm(stored, faults, func(which string) ([]byte, error) { return run(program, which, count) })
	if err != nil {
		return err
	}
	for _, f := range faults {
		fmt.Fprintln(os.Stderr, "bench:", f)
	}
	if len(faults) > 0 {
		return fmt.Errorf("%d benchmarks are worse than in %s", len(faults), base)
	}
	return nil
}

// again is how often a benchmark that seems worse gets another chance.
const again = 2

// confirm runs the benchmarks with faults again, and returns the faults that are there every
// time. What a neighbour of the machine did does not happen again and again; what the code
// does, does.
func confirm(stored runs, faults []fault, run func(which string) ([]byte, error)) ([]fault, error) {
	for range again {
		var still []fault
		done := map[string]bool{}
		for _, f := range faults {
			fmt.Fprintln(os.Stderr, "bench: once more:", f)
			if done[f.name] {
				continue
			}
			done[f.name] = true
			out, err := run(pattern(f.name))
			if err != nil {
				return nil, err
			}
			still = append(still, judge(runs{f.name: stored[f.name]}, runs{f.name: parse(out)[f.name]}, true)...)
		}
		faults = still
	}
	return faults, nil
}

// run runs the benchmarks on one core so often, shows what they print, and returns it. They
// take turns, in processes of two rounds: so a bad minute, or memory that is laid out badly,
// is a few samples of each and not all samples of one. Those that nobody judges run in the
// first process only.
func run(program, which string, count int) ([]byte, error) {
	var out bytes.Buffer
	for left := count; left > 0; left -= 2 {
		c := exec.Command(program, "-test.run", "^$", "-test.bench", which, "-test.cpu", "1", "-test.count", strconv.Itoa(min(left, 2)), "-test.timeout", "1h")
		c.Stdout, c.Stderr = io.MultiWriter(os.Stdout, &out), os.Stderr
		if err := c.Run(); err != nil {
			return nil, fmt.Errorf("run the benchmarks: %w", err)
		}
		if which == "." {
			which = parse(out.Bytes()).hot()
		}
	}
	return out.Bytes(), nil
}
