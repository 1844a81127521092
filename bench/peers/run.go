package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// A sample is what one measure gave of one forwarder in one round.
type sample struct {
	Forwarder string  `json:"forwarder"`
	Measure   string  `json:"measure"`
	Round     int     `json:"round"`
	Values    values  `json:"values,omitempty"`
	Error     string  `json:"error,omitempty"`
	Refused   string  `json:"refused,omitempty"` // the forwarder did not start, which its kind may not
	Seconds   float64 `json:"seconds"`
}

// plan is a run.
type plan struct {
	env        *env
	rounds     int
	measures   []measure
	forwarders []forwarder
}

// job is one sample to take.
type job struct {
	round     int
	measure   *measure
	forwarder *forwarder
}

// jobs are all samples in order. In a round each measure has all forwarders one after
// the other, so that what they are compared in is minutes apart at most; every round
// begins with another of them, and every second one goes backwards, so that none is
// always first after, or before, the same other.
func (p *plan) jobs() (list []job) {
	for round := range p.rounds {
		for m := range p.measures {
			for _, f := range rotated(len(p.forwarders), round) {
				if m := &p.measures[m]; m.takes(&p.forwarders[f]) && (round == 0 || !m.once) {
					list = append(list, job{round, m, &p.forwarders[f]})
				}
			}
		}
	}
	return list
}

// rotated is 0 to n-1 in the order of a round.
func rotated(n, round int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = (i + round*(n/2+1)) % n
	}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// run takes all samples and says so as it goes; one that fails is kept as a failure, and
// the next is taken. The samples taken so far are returned also when ctx ends it.
func (p *plan) run(ctx context.Context, out io.Writer) (all []sample) {
	jobs := p.jobs()
	took := map[string][]float64{} // seconds by measure
	for i, j := range jobs {
		if ctx.Err() != nil {
			return all
		}
		s := p.take(j)
		if s.Error != "" && ctx.Err() != nil { // its commands heard the interrupt too
			return all
		}
		all = append(all, s)
		took[j.measure.name] = append(took[j.measure.name], s.Seconds)
		said := s.Values.String()
		if s.Error != "" {
			said = "FAILED: " + s.Error
		} else if s.Refused != "" {
			said = "refused: " + s.Refused
		}
		fmt.Fprintf(out, "%3d/%d round %d %-8s %-12s %s (%s left)\n", i+1, len(jobs), j.round+1, s.Measure, s.Forwarder, said,
			p.left(jobs[i+1:], took).Round(time.Second))
	}
	return all
}

// take takes one sample.
func (p *plan) take(j job) sample {
	start := time.Now()
	s := sample{Forwarder: j.forwarder.name, Measure: j.measure.name, Round: j.round}
	started := false
	err := within(func(tb testing.TB) {
		o := open(tb, p.env, j.forwarder)
		started = true
		s.Values = j.measure.run(o)
	})
	switch {
	case err == nil:
	case j.forwarder.optional && !started:
		s.Refused = err.Error()
	default:
		s.Values, s.Error = nil, err.Error()
	}
	s.Seconds = time.Since(start).Seconds()
	return s
}

// left estimates the time of what is left by what was: or, of a measure not yet seen, by
// what it plans.
func (p *plan) left(jobs []job, took map[string][]float64) (d time.Duration) {
	for _, j := range jobs {
		if t := took[j.measure.name]; len(t) > 0 {
			d += time.Duration(summarize(t).median * float64(time.Second))
		} else {
			d += j.measure.estimate(p.env.times)
		}
	}
	return d
}

// String shows values in the order of their names.
func (v values) String() (s string) {
	names := make([]string, 0, len(v))
	for n := range v {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		s += fmt.Sprintf("%s=%.4g ", n, v[n])
	}
	return s
}

// only keeps what a list names: of measures and of forwarders, each if one of its kind
// is named.
func (p *plan) only(list string) error {
	if list == "" {
		return nil
	}
	named := map[string]bool{}
	for _, n := range strings.Split(list, ",") {
		named[n] = false
	}
	keep := func(name string) bool {
		_, ok := named[name]
		if ok {
			named[name] = true
		}
		return ok
	}
	var ms []measure
	for _, m := range p.measures {
		if keep(m.name) {
			ms = append(ms, m)
		}
	}
	var fs []forwarder
	for _, f := range p.forwarders {
		if keep(f.name) {
			fs = append(fs, f)
		}
	}
	for n, known := range named {
		if !known {
			return fmt.Errorf("-only: no measure or forwarder %q: there are %s", n, p.names())
		}
	}
	if len(ms) > 0 {
		p.measures = ms
	}
	if len(fs) > 0 {
		p.forwarders = fs
	}
	return nil
}

func (p *plan) names() string {
	var names []string
	for _, m := range p.measures {
		names = append(names, m.name)
	}
	for _, f := range p.forwarders {
		names = append(names, f.name)
	}
	return strings.Join(names, " ")
}
