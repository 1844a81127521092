package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// A scope is to package lab what a test is: the owner of namespaces and processes, one
// for each sample. What it makes goes away with it, whatever happened.
type scope struct {
	testing.TB // nil: only what is below can be called
	cleanups   []func()
	mu         sync.Mutex // goroutines of the sample may report errors
	errs       []error
}

// failure is what Fatal panics with: it ends the sample, not the run.
type failure struct{ err error }

func (*scope) Helper()                     {}
func (s *scope) Name() string              { return "sample" }
func (s *scope) Failed() bool              { return s.result() != nil }
func (s *scope) Cleanup(f func())          { s.cleanups = append(s.cleanups, f) }
func (s *scope) Error(args ...any)         { s.add(errors.New(fmt.Sprint(args...))) }
func (s *scope) Errorf(f string, a ...any) { s.Error(fmt.Sprintf(f, a...)) }
func (s *scope) Fatal(args ...any)         { panic(failure{errors.New(fmt.Sprint(args...))}) }
func (s *scope) Fatalf(f string, a ...any) { panic(failure{errors.New(fmt.Sprintf(f, a...))}) }

func (s *scope) add(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

func (s *scope) result() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}

// TempDir is a directory of the sample's own, where the next run's lab.Sweep finds what a
// killed one left.
func (s *scope) TempDir() string {
	dir, err := lab.Dir()
	if err == nil {
		dir, err = os.MkdirTemp(dir, "sample-")
	}
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// within runs fn in a scope of its own and cleans up after it.
func within(fn func(tb testing.TB)) error {
	s := &scope{}
	s.guard(func() { fn(s) })
	for _, f := range slices.Backward(s.cleanups) {
		s.guard(f)
	}
	return s.result()
}

// guard keeps what Fatal says.
func (s *scope) guard(f func()) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case failure:
			s.add(e.err)
		default: // ours to mend: but not without taking everything down first
			s.add(fmt.Errorf("panic: %v", e))
		}
	}()
	f()
}
