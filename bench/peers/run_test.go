package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

func fullPlan(t *testing.T, only string) (*plan, error) {
	t.Helper()
	o := options{rounds: 5, out: "x", latency: "low,throughput", only: only}
	return o.plan()
}

// Every round has every sample once, in an order that changes; a thing done once a run is
// done in the first.
func TestJobs(t *testing.T) {
	p, err := fullPlan(t, "")
	if err != nil {
		t.Fatal(err)
	}
	var rounds [5][]string
	for _, j := range p.jobs() {
		if !j.measure.once {
			rounds[j.round] = append(rounds[j.round], j.measure.name+" "+j.forwarder.name)
		} else if j.round != 0 {
			t.Errorf("%s in round %d", j.measure.name, j.round)
		}
	}
	for i, r := range rounds {
		sorted := slices.Sorted(slices.Values(r))
		if first := slices.Sorted(slices.Values(rounds[0])); !slices.Equal(sorted, first) || len(slices.Compact(sorted)) != len(r) {
			t.Errorf("round %d has other samples than round 0, or one twice", i)
		}
		for j := range i {
			if slices.Equal(rounds[j], r) {
				t.Errorf("rounds %d and %d have one order", j, i)
			}
		}
	}
	for _, want := range []string{"bulk1 haproxy", "trip dirigo-nat-low", "pps100k dirigo-tun", "flood dirigo-nat"} {
		if !slices.Contains(rounds[0], want) {
			t.Errorf("no sample %q", want)
		}
	}
	for _, no := range []string{"pps1k haproxy", "bulk1 dirigo-nat-low", "flood kernel", "conns ebpf-nat"} {
		if slices.Contains(rounds[0], no) {
			t.Errorf("sample %q", no)
		}
	}
}

func TestOnly(t *testing.T) {
	p, err := fullPlan(t, "nft,conns,kernel")
	if err != nil || len(p.jobs()) != 5*2 {
		t.Errorf("%d jobs, %v", len(p.jobs()), err)
	}
	if p, err = fullPlan(t, "conns"); err != nil || len(p.measures) != 1 || len(p.forwarders) < 5 {
		t.Errorf("a measure alone: %v", err)
	}
	if _, err = fullPlan(t, "flood,kernel"); err == nil {
		t.Error("a plan without a sample")
	}
	if _, err = fullPlan(t, "nft,ipvs"); err == nil || !strings.Contains(err.Error(), `"ipvs"`) || !strings.Contains(err.Error(), "haproxy") {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestPlacement(t *testing.T) {
	if c, err := placement("0,0"); err != nil || c != (cpus{0, 0}) {
		t.Errorf("%v, %v", c, err)
	}
	for _, bad := range []string{"0", "0,9999", "-1,0", "a,b"} {
		if c, err := placement(bad); err == nil {
			t.Errorf("%q is %v", bad, c)
		}
	}
}

// The default run ends within 27 minutes.
func TestTimeOfADefaultRun(t *testing.T) {
	o := options{out: "x"}
	p, err := o.plan()
	if err != nil {
		t.Fatal(err)
	}
	if d := p.left(p.jobs(), nil); d > 27*time.Minute || d < 5*time.Minute {
		t.Errorf("planned for %v", d)
	}
	// What was seen counts more than what was planned.
	if d := p.left([]job{{0, &p.measures[0], &p.forwarders[0]}}, map[string][]float64{p.measures[0].name: {3, 1, 2}}); d != 2*time.Second {
		t.Errorf("%v left", d)
	}
}

// A forwarder that a kernel may refuse and that does not start is not a failure; anything
// else that goes wrong is.
func TestRefusal(t *testing.T) {
	m := &measure{name: "trip", run: func(s *session) values {
		s.tb.Fatal("no echo")
		return nil
	}}
	never := func(_ *env, n *network) *lab.Proc {
		n.tb.Fatal("no such program")
		return nil
	}
	always := func(*env, *network) *lab.Proc { return nil }
	p := &plan{env: &env{}}
	for _, c := range []struct {
		f              forwarder
		refused, error string
	}{
		{forwarder{start: never, optional: true}, "no such program", ""},
		{forwarder{start: never}, "", "no such program"},
		{forwarder{start: always, optional: true}, "", "no echo"},
	} {
		if s := p.take(job{measure: m, forwarder: &c.f}); s.Refused != c.refused || s.Error != c.error {
			t.Errorf("optional %v: refused %q, error %q", c.f.optional, s.Refused, s.Error)
		}
	}
}

// Whatever ends a sample, what it made goes away, the last first.
func TestScopeCleansUp(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(testing.TB)
		want string
	}{
		"well":  {func(testing.TB) {}, "<nil>"},
		"fatal": {func(tb testing.TB) { tb.Fatalf("%s here", "broken") }, "broken here"},
		"panic": {func(testing.TB) { panic("ouch") }, "panic: ouch"},
		"error": {func(tb testing.TB) { tb.Errorf("odd") }, "odd"},
	} {
		var order []int
		err := within(func(tb testing.TB) {
			for i := range 3 {
				tb.Cleanup(func() {
					order = append(order, i)
					if i == 1 && name == "fatal" {
						tb.Fatal("clean-up")
					}
				})
			}
			c.end(tb)
		})
		if !slices.Equal(order, []int{2, 1, 0}) {
			t.Errorf("%s: cleaned up %v", name, order)
		}
		if got := fmt.Sprint(err); !strings.HasPrefix(got, c.want) || name == "fatal" && !strings.Contains(got, "clean-up") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
