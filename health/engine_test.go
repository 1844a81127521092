package health

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// many is n services with one server each, all at 10.0.0.1.
func many(n int, c conf.HealthCheck) (list []conf.Service) {
	for i := range n {
		svc := web(c, 1)
		svc.Key.Port = uint16(1000 + i)
		list = append(list, svc)
	}
	return list
}

// One probe for all that ask the same, as often as the strictest of them wants, and each
// takes the answer by its own counts.
func TestEqualQuestionsShareOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		list := many(20, conf.HealthCheck{Interval: 10 * time.Second, Rise: 1, Fall: 1})
		list[7].Health.Checks[0].Interval = 2 * time.Second
		list[7].Health.Checks[0].Fall = 4
		s.Update(list, nil)
		s.run()
		time.Sleep(time.Second)
		if st := s.Stats(); st.Targets != 1 {
			t.Fatalf("%d targets, want 1", st.Targets)
		}
		time.Sleep(18 * time.Second) // 0, 2, … 18 s
		if n := s.at(1).count(); n != 10 {
			t.Errorf("asked %d times in 19 s, want 10", n)
		}
		s.at(1).set(bad)
		time.Sleep(2 * time.Second)
		s.want(list[0], "")
		s.want(list[7], "1:1")
		s.mu.Lock()
		if len(s.changed) < 19 {
			t.Errorf("%d services were told of", len(s.changed))
		}
		s.mu.Unlock()
		e, _ := s.Explain(ID{list[0].Key, list[0].Servers[0].ID()})
		if c := e.Checks[0]; c.Shared != 20 || c.Last.OK || c.Last.Why != WhyRefused || c.Bad != 1 || !c.Next.After(time.Now()) {
			t.Errorf("check %+v", c)
		}
		// The strictest goes: the others' interval is kept from then on.
		s.Update(nil, []conf.ServiceKey{list[7].Key})
		time.Sleep(3 * time.Second)
		n := s.at(1).count()
		time.Sleep(20 * time.Second)
		if more := s.at(1).count() - n; more != 2 {
			t.Errorf("asked %d times in 20 s, want 2", more)
		}
	})
}

// Another timeout, path or address is another question.
func TestDifferentQuestionsDoNotShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		list := many(5, conf.HealthCheck{Interval: time.Second})
		list[1].Health.Checks[0].Probe.Timeout++
		list[2].Health.Checks[0].Probe.Expect = "x"
		list[3].Health.Checks[0].Probe.Addr = ip(7)
		list[4].Health.Checks[0].Probe.Port = 80 // the server's own: the same question as the first's
		s.Update(list, nil)
		if st := s.Stats(); st.Targets != 4 {
			t.Errorf("%d targets, want 4", st.Targets)
		}
	})
}

// First probes are spread over Warmup, and later ones keep apart by Jitter and never come
// closer to each other than it allows.
func TestProbesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(conf.HealthCheck{Interval: 10 * time.Second, Jitter: 20, Warmup: 10 * time.Second, Rise: 1, Fall: 1}, 200)
		start := time.Now()
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(100 * time.Second)
		seconds := map[int]int{}
		for n := range 200 {
			f := s.at(n + 1)
			f.mu.Lock()
			seconds[int(f.asked[0].Sub(start)/time.Second)]++
			for i := 1; i < len(f.asked); i++ {
				if d := f.asked[i].Sub(f.asked[i-1]); d < 8*time.Second || d > 12*time.Second {
					t.Fatalf("asked again after %v", d)
				}
			}
			f.mu.Unlock()
		}
		for i := range 10 { // 20 in each on average; 5 or fewer is one in a hundred thousand
			if seconds[i] < 3 || seconds[i] > 50 {
				t.Errorf("%d of 200 first probes in second %d", seconds[i], i)
			}
		}
		if len(seconds) > 10 {
			t.Errorf("first probes in seconds %v", seconds)
		}
	})
}

// No more than Concurrency probes at a time; those that are due wait in order, and how
// late they are is counted.
func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{Concurrency: 3})
		svc := web(conf.HealthCheck{Interval: 100 * time.Second, Rise: 1, Fall: 1}, 10)
		var now, most atomic.Int32
		for n := range 10 {
			s.at(n + 1).set(func(context.Context) Result {
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(time.Second)
				now.Add(-1)
				return Result{OK: true}
			})
		}
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(500 * time.Millisecond)
		if st := s.Stats(); st.Running != 3 || st.Waiting != 7 {
			t.Errorf("%d run, %d wait", st.Running, st.Waiting)
		}
		time.Sleep(10 * time.Second)
		st := s.Stats()
		if most.Load() != 3 || st.Probes[Asked{conf.ProbeTCP, WhyNone}] != 10 {
			t.Errorf("%d at a time, %v answers", most.Load(), st.Probes)
		}
		// Three each were 0, 1 and 2 s late, one 3 s.
		if st.Lateness.Sum != 12*time.Second {
			t.Errorf("late by %v together, want 12 s", st.Lateness.Sum)
		}
	})
}

// Run ends with its context, and with it every probe; then nothing is left.
func TestRunEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	s := newSite(t, Config{})
	for n := range 50 {
		s.at(n + 1).set(silent)
	}
	check := quick
	check.Probe = conf.Probe{Type: conf.ProbeTCP, Timeout: time.Hour}
	s.Update([]conf.Service{web(check, 50)}, nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for s.Stats().Running < 50 {
		runtime.Gosched()
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run does not end")
	}
	for i := 0; runtime.NumGoroutine() > before; i++ {
		if i > 1000 {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		time.Sleep(time.Millisecond)
	}
}

// A prober that does not end even then is given up and told of.
func TestRunDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		release := make(chan struct{})
		s.at(1).set(func(context.Context) Result { <-release; return Result{} })
		s.Update([]conf.Service{web(quick, 1)}, nil)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := s.Run(ctx); err == nil || err.Error() != "health: 1 probes do not end" {
			t.Errorf("Run: %v", err)
		}
		close(release)
	})
}

// Asked out of turn, the answer counts and the next turn is an interval later.
func TestProbeOutOfTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(conf.HealthCheck{Interval: time.Minute, Rise: 1, Fall: 1}, 1)
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(10 * time.Second)
		s.at(1).set(func(ctx context.Context) Result {
			time.Sleep(300 * time.Millisecond)
			return bad(ctx)
		})
		id, before := ID{svc.Key, svc.Servers[0].ID()}, time.Now()
		checks, ok := s.Probe(t.Context(), id)
		if !ok || len(checks) != 1 || checks[0].Up || checks[0].Last.Why != WhyRefused || time.Since(before) != 300*time.Millisecond {
			t.Errorf("after %v: %+v %v", time.Since(before), checks, ok)
		}
		s.want(svc, "")
		if next := checks[0].Next.Sub(before); next != time.Minute {
			t.Errorf("asked again after %v", next)
		}
		if _, ok := s.Probe(t.Context(), ID{svc.Key, conf.ServerID{Addr: ip(9)}}); ok {
			t.Error("a server that is not there answered")
		}
		// A server that goes while it is asked lets the caller go.
		s.at(1).set(silent)
		go func() {
			time.Sleep(100 * time.Millisecond)
			s.Update(nil, []conf.ServiceKey{svc.Key})
		}()
		before = time.Now()
		if _, ok := s.Probe(t.Context(), id); ok || time.Since(before) != 100*time.Millisecond {
			t.Errorf("a server that went answered %v, after %v", ok, time.Since(before))
		}
		ctx, stop := context.WithTimeout(t.Context(), 0)
		defer stop()
		if _, ok := s.Probe(ctx, id); ok {
			t.Error("answered nobody")
		}
	})
}

// Callbacks may call the monitor, and a slow one does not delay a probe.
func TestCallbacksMayTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 2)
		var batches atomic.Int32
		s.cfg.Changed = func(keys []conf.ServiceKey) {
			batches.Add(1)
			s.Update([]conf.Service{svc}, nil)
			s.InForce(&svc)
			time.Sleep(30 * time.Second)
		}
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(500 * time.Millisecond)
		for i := range 20 {
			if i%2 == 0 {
				s.at(1).set(bad)
			} else {
				s.at(1).set(good)
			}
			time.Sleep(time.Second)
		}
		st := s.Stats()
		if n := s.at(2).count(); n != 21 || st.Lateness.Sum != 0 {
			t.Errorf("asked %d times, late by %v", n, st.Lateness.Sum)
		}
		if n := batches.Load(); n != 1 {
			t.Errorf("%d calls of Changed while the first slept", n)
		}
	})
}

// A warning of a good answer is told once, again after a day, and anew when it had gone.
func TestWarningIsToldOncePerDay(t *testing.T) {
	s := newSite(t, Config{})
	svc := web(quick, 1)
	s.Update([]conf.Service{svc}, nil)
	c := s.services[svc.Key].order[0].checks[0]
	answers := func(hours int, warning string) int {
		before := len(s.History(Filter{Kind: KindCertificate}))
		for i := range hours {
			s.answer(c, &Result{OK: true, Warning: warning}, epoch.Add(time.Duration(i)*time.Hour))
		}
		return len(s.History(Filter{Kind: KindCertificate})) - before
	}
	if n := answers(73, "ends in 13 days"); n != 4 {
		t.Errorf("told %d times in three days, want 4", n)
	}
	if n := answers(1, "") + answers(1, "ends in 13 days"); n != 1 {
		t.Errorf("told %d times after it had gone, want 1", n)
	}
}

func TestHistoryIsARingThatCanBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{Events: 5})
		svc := web(quick, 2)
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(100 * time.Millisecond)
		for i := range 4 {
			s.play(1, i%2 == 1)
			s.play(2, i%2 == 1)
		}
		var got []string
		for _, e := range s.History(Filter{}) {
			got = append(got, e.Kind)
		}
		// quorum_up, down, down, quorum_down, up, quorum_up, up, down, down, quorum_down, up, quorum_up, up
		if fmt.Sprint(got) != "[down quorum_down up quorum_up up]" {
			t.Errorf("the last five: %v", got)
		}
		id := svc.Servers[1].ID()
		for _, c := range []struct {
			f    Filter
			want int
		}{
			{Filter{Server: &id}, 2}, {Filter{Kind: KindUp}, 2}, {Filter{Last: 3}, 3}, {Filter{Service: &svc.Key}, 5},
			{Filter{Service: &conf.ServiceKey{}}, 0}, {Filter{Since: time.Now()}, 0}, {Filter{Since: time.Now().Add(-1500 * time.Millisecond)}, 1},
		} {
			if n := len(s.History(c.f)); n != c.want {
				t.Errorf("%+v: %d events, want %d", c.f, n, c.want)
			}
		}
	})
}

// All and ServicesAll go through everything in the order it came, and may be left.
func TestAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		list := many(50, quick)
		s.Update(list, nil)
		i := 0
		for e := range s.All {
			if e.ID.Service != list[i].Key {
				t.Fatalf("%d: %v", i, e.ID)
			}
			if i++; i == 30 {
				break
			}
		}
		i = 0
		for k, st := range s.ServicesAll {
			if k != list[i].Key || st.Servers != 1 || !st.Up {
				t.Fatalf("%d: %v %+v", i, k, st)
			}
			i++
		}
		if i != 50 {
			t.Errorf("%d services", i)
		}
	})
}

// Everything may be called from anywhere at any time.
func TestConcurrentUse(t *testing.T) {
	s := newSite(t, Config{})
	check := quick
	check.Interval = time.Millisecond
	list := many(20, check)
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = s.Run(ctx) })
	for _, f := range []func(i int){
		func(i int) { s.Update(list[i%20:], nil) },
		func(i int) { s.Update(nil, []conf.ServiceKey{list[i%20].Key}) },
		func(i int) { s.InForce(&list[i%20]) },
		func(i int) {
			for range s.All {
			}
			s.Stats()
			s.History(Filter{Last: 3})
		},
		func(i int) { s.Passive(ID{list[i%20].Key, list[0].Servers[0].ID()}, 5, 5) },
		func(i int) {
			s.at(1).set([]func(context.Context) Result{good, bad}[i%2])
			c, stop := context.WithTimeout(ctx, time.Millisecond)
			s.Probe(c, ID{list[i%20].Key, list[0].Servers[0].ID()})
			stop()
		},
	} {
		all.Go(func() {
			for i := range 200 {
				f(i)
			}
		})
	}
	time.AfterFunc(500*time.Millisecond, stop)
	all.Wait()
}

func TestWhomACheckAsks(t *testing.T) {
	vip := netip.MustParseAddr("192.0.2.1")
	key := conf.ServiceKey{Proto: 6, Addr: vip, Port: 80}
	all := conf.ServiceKey{Proto: 6, Addr: vip}
	mark := conf.ServiceKey{Fwmark: 3}
	srv := conf.Server{Addr: ip(1), Port: 8080}
	bare := conf.Server{Addr: ip(1)}
	for _, c := range []struct {
		name  string
		probe conf.Probe
		key   conf.ServiceKey
		srv   conf.Server
		want  Target
	}{
		{"the server's own port", conf.Probe{Type: conf.ProbeTCP}, key, srv, Target{Addr: ip(1), Port: 8080}},
		{"the probe's own", conf.Probe{Type: conf.ProbeTCP, Port: 99, Addr: ip(5)}, key, srv, Target{Addr: ip(5), Port: 99}},
		{"the service's", conf.Probe{Type: conf.ProbeTCP}, key, bare, Target{Addr: ip(1), Port: 80}},
		{"the type's", conf.Probe{Type: conf.ProbeHTTPS}, mark, bare, Target{Addr: ip(1), Port: 443}},
		{"the type's with TLS", conf.Probe{Type: conf.ProbeIMAP, TLS: conf.TLS{Mode: conf.TLSOn}}, all, bare, Target{Addr: ip(1), Port: 993}},
		{"the type's with STARTTLS", conf.Probe{Type: conf.ProbeIMAP, TLS: conf.TLS{Mode: conf.TLSStartTLS}}, all, bare, Target{Addr: ip(1), Port: 143}},
		{"ping has none", conf.Probe{Type: conf.ProbePing}, key, srv, Target{Addr: ip(1)}},
		{"by the service: its address and port", conf.Probe{Type: conf.ProbeHTTP, Via: conf.ViaService}, key, srv, Target{Addr: vip, Port: 80, Service: key, Server: srv.ID()}},
		{"by a service of all ports: the server's", conf.Probe{Type: conf.ProbeHTTP, Via: conf.ViaService}, all, srv, Target{Addr: vip, Port: 8080, Service: all, Server: srv.ID()}},
		{"by a mark: an address of the file", conf.Probe{Type: conf.ProbeHTTP, Via: conf.ViaService, Addr: vip}, mark, srv, Target{Addr: vip, Port: 8080, Service: mark, Server: srv.ID()}},
		{"external is told both", conf.Probe{Type: conf.ProbeExternal}, key, srv, Target{Addr: ip(1), Port: 8080, Service: key, Server: srv.ID()}},
	} {
		svc := conf.Service{Key: c.key}
		q := ask(c.probe, &svc, &c.srv)
		if q.target != c.want || q.probe.Addr.IsValid() || q.probe.Port != 0 {
			t.Errorf("%s: %+v, want %+v", c.name, q.target, c.want)
		}
	}
}
