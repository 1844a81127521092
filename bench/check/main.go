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
	count := flag.Int("count", 5, "how often each benchmark runs; medians are compared")
	pattern := flag.String("bench", ".", "which benchmarks: a regular expression of go test -bench")
	base := flag.String("base", "bench/base.txt", "the stored run")
	update := flag.Bool("update", false, "store this run instead of comparing")
	flag.Parse()
	if err := check(*count, *pattern, *base, *update); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func check(count int, pattern, base string, update bool) error {
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
	out, err := run(program, pattern, count)
	if err != nil {
		return err
	}
	if update {
		return os.WriteFile(base, out, 0o644)
	}
	stored, err := os.ReadFile(base)
	if err != nil {
		return fmt.Errorf("%w (make it with -update)", err)
	}
	all := pattern == "."
	wrong := judge(parse(stored), parse(out), all)
	if len(wrong) > 0 {
		// What a neighbour of the machine did does not happen twice; what the code does, does.
		fmt.Fprintln(os.Stderr, "bench: once more:", wrong)
		if out, err = run(program, pattern, count); err != nil {
			return err
		}
		wrong = judge(parse(stored), parse(out), all)
	}
	for _, w := range wrong {
		fmt.Fprintln(os.Stderr, "bench:", w)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d benchmarks are worse than in %s", len(wrong), base)
	}
	return nil
}

// run runs the benchmarks on one core, shows what they print, and returns it.
func run(program, pattern string, count int) ([]byte, error) {
	var out bytes.Buffer
	c := exec.Command(program, "-test.run", "^$", "-test.bench", pattern, "-test.cpu", "1", "-test.count", strconv.Itoa(count), "-test.timeout", "1h")
	c.Stdout, c.Stderr = io.MultiWriter(os.Stdout, &out), os.Stderr
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("run the benchmarks: %w", err)
	}
	return out.Bytes(), nil
}
