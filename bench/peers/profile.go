package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control"
)

// profiles are what the Go runtime records of the director under load.
var profiles = []string{"cpu", "mutex", "allocs"}

// runProfiled is this program as the director, by the packages that the shipped command
// runs, with the runtime's profilers on: they are no part of what is shipped. It ends by a
// signal and leaves its profiles in a directory.
func runProfiled(args []string) (err error) {
	f := flag.NewFlagSet("director", flag.ContinueOnError)
	file := f.String("c", "", "configuration")
	dir := f.String("profiles", "", "directory for profiles")
	if err := f.Parse(args); err != nil {
		return err
	}
	cfg, err := conf.Load(*file)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	d, err := control.New(cfg, control.Options{Path: *file, Version: "profiled", Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	runtime.SetMutexProfileFraction(1)
	runtime.MemProfileRate = 1
	cpu, err := os.Create(filepath.Join(*dir, "cpu.pprof"))
	if err != nil {
		return errors.Join(err, d.Close())
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return errors.Join(err, d.Close())
	}
	err = d.Run(ctx, nil)
	pprof.StopCPUProfile()
	err = errors.Join(err, cpu.Close())
	for _, name := range profiles[1:] {
		out, e := os.Create(filepath.Join(*dir, name+".pprof"))
		if e == nil {
			e = errors.Join(pprof.Lookup(name).WriteTo(out, 0), out.Close())
		}
		err = errors.Join(err, e)
	}
	return err
}

// profile runs the director under each kind of load with the profilers on and writes
// their figures as text beside the results.
func profile(s *session) values {
	v := values{}
	for _, load := range []struct {
		name string
		run  func(*session) values
	}{
		{"packets", func(s *session) values {
			g, k := s.generator(unix.IPPROTO_UDP, portSink, 1000), s.sink()
			s.warm(g, k)
			offered, _ := s.offer(g, k, math.Inf(1), s.times.profile)
			return values{"rate": offered}
		}},
		{"connections", connections},
	} {
		dir := s.tb.TempDir()
		s.stop()
		s.process, _ = startProgram(s.env, s.network, []string{s.self, "director", "-profiles", dir}, directorConfig("nat", "", ""))
		v[load.name] = load.run(s)["rate"]
		s.stop() // it writes the profiles
		for _, name := range profiles {
			if err := profileText(s.out+"-profile-"+load.name+"-"+name+".txt", s.self, filepath.Join(dir, name+".pprof")); err != nil {
				s.tb.Fatal(err)
			}
		}
	}
	return v
}

// profileText writes a profile's largest entries.
func profileText(to, program, from string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	args := []string{"tool", "pprof", "-top", "-nodecount=40"}
	if filepath.Base(from) == "allocs.pprof" {
		args = append(args, "-sample_index=alloc_space")
	}
	out, err := exec.CommandContext(ctx, "go", append(args, program, from)...).Output()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	return os.WriteFile(to, out, 0o644)
}
