package health

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// quick asks every second and believes at once.
var quick = conf.HealthCheck{Interval: time.Second, Rise: 1, Fall: 1}

// play lets servers be up or down by a word for each second, as "1+ 2- 3+", and says what
// is in force after it.
func (s *site) play(n int, up bool) {
	if up {
		s.at(n).set(good)
	} else {
		s.at(n).set(bad)
	}
	time.Sleep(1100 * time.Millisecond)
}

// keepalived 5.2, 5.3 and 5.4, ldirectord 8: what becomes of the list as servers go and
// come.
func TestListFollowsServers(t *testing.T) {
	sorry := &conf.Server{Addr: ip(99), Port: 80, Weight: 1, Forward: conf.Local}
	type turn struct {
		server int
		up     bool
		want   string
	}
	for _, c := range []struct {
		source string
		health conf.Health
		start  string
		turns  []turn
		told   string
	}{
		{"5.2 normal: destination deleted, added with weight; 5.4 no sorry server: at zero RS the service exists but has no destinations",
			conf.Health{Quorum: 1}, "1:1 2:2 3:3",
			[]turn{{2, false, "1:1 3:3"}, {1, false, "3:3"}, {3, false, ""}, {2, true, "2:2"}, {1, true, "1:1 2:2"}},
			"[quorum_up down 2 down 1 down 3 quorum_down up 2 quorum_up up 1]"},
		{"5.2 inhibit_on_failure, ldirectord quiescent=yes: kept with weight 0",
			conf.Health{Quorum: 1, OnFailure: conf.Quiesce}, "1:1 2:2 3:3",
			[]turn{{2, false, "1:1 2:0 3:3"}, {1, false, "1:0 2:0 3:3"}, {3, false, "1:0 2:0 3:0"}, {2, true, "1:0 2:2 3:0"}},
			"[quorum_up down 2 down 1 down 3 quorum_down up 2 quorum_up]"},
		{"5.4: with quorum 1 the sorry server appears exactly when the last alive positive-weight RS disappears",
			conf.Health{Quorum: 1, Sorry: sorry}, "1:1 2:2 3:3",
			[]turn{{1, false, "2:2 3:3"}, {2, false, "3:3"}, {3, false, "99:1 sorry"}, {1, true, "1:1"}},
			"[quorum_up down 1 down 2 down 3 quorum_down sorry_on up 1 quorum_up sorry_off]"},
		{"5.4: the same with inhibit: zeroed",
			conf.Health{Quorum: 1, OnFailure: conf.Quiesce, Sorry: sorry}, "1:1 2:2 3:3",
			[]turn{{1, false, "1:0 2:2 3:3"}, {2, false, "1:0 2:0 3:3"}, {3, false, "1:0 2:0 3:0 99:1 sorry"}, {3, true, "1:0 2:0 3:3"}},
			"[quorum_up down 1 down 2 down 3 quorum_down sorry_on up 3 quorum_up sorry_off]"},
		{"5.4: sorry_server_inhibit: always in the table with weight 0, switched 0 ↔ 1",
			conf.Health{Quorum: 1, Sorry: sorry, SorryKeep: true}, "1:1 2:2 3:3 99:0",
			[]turn{{1, false, "2:2 3:3 99:0"}, {2, false, "3:3 99:0"}, {3, false, "99:1 sorry"}, {2, true, "2:2 99:0"}},
			"[quorum_up down 1 down 2 down 3 quorum_down sorry_on up 2 quorum_up sorry_off]"},
		{"5.4: with quorum N > 1 the remaining alive servers are withdrawn; 5.2: while the sorry server is active RS changes are only recorded",
			conf.Health{Quorum: 4, Sorry: sorry}, "1:1 2:2 3:3",
			[]turn{{3, false, "99:1 sorry"}, {1, false, "99:1 sorry"}, {3, true, "2:2 3:3"}, {1, true, "1:1 2:2 3:3"}},
			"[quorum_up down 3 quorum_down sorry_on down 1 up 3 quorum_up sorry_off up 1]"},
		{"5.3: hysteresis: lost below 4 − 1, won at 4 + 1",
			conf.Health{Quorum: 4, Hysteresis: 1, Sorry: sorry}, "1:1 2:2 3:3",
			[]turn{{3, false, "1:1 2:2"}, {1, false, "99:1 sorry"}, {1, true, "99:1 sorry"}, {3, true, "1:1 2:2 3:3"}},
			"[quorum_up down 3 down 1 quorum_down sorry_on up 1 up 3 quorum_up sorry_off]"},
		{"without a sorry server a lost quorum takes nobody out",
			conf.Health{Quorum: 4}, "1:1 2:2 3:3",
			[]turn{{3, false, "1:1 2:2"}, {3, true, "1:1 2:2 3:3"}},
			"[quorum_up down 3 quorum_down up 3 quorum_up]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, Config{})
			svc := web(quick, 3)
			c.health.Checks = svc.Health.Checks
			svc.Health = &c.health
			for i := range svc.Servers {
				svc.Servers[i].Weight = i + 1
			}
			s.Update([]conf.Service{svc}, nil)
			s.run()
			if got := s.list(svc); got != c.start {
				t.Errorf("%s: starts with %q, want %q", c.source, got, c.start)
			}
			time.Sleep(100 * time.Millisecond)
			for i, turn := range c.turns {
				s.play(turn.server, turn.up)
				if got := s.list(svc); got != turn.want {
					t.Errorf("%s: turn %d: %q, want %q", c.source, i, got, turn.want)
				}
			}
			if got := fmt.Sprint(s.kinds()); got != c.told {
				t.Errorf("%s: told %v, want %v", c.source, got, c.told)
			}
		})
	}
}

// keepalived 5.1 and 5.2: an alpha server is absent, or present with weight 0 with
// inhibit, until every checker has succeeded once; 5.3: "Starting with quorum down".
func TestAlphaStart(t *testing.T) {
	for _, c := range []struct {
		health       conf.Health
		before, told string
	}{
		{conf.Health{Quorum: 1}, "", "[up 1 quorum_up up 2]"},
		{conf.Health{Quorum: 1, OnFailure: conf.Quiesce}, "1:0 2:0", "[up 1 quorum_up up 2]"},
		{conf.Health{Quorum: 1, Sorry: &conf.Server{Addr: ip(99), Weight: 1}}, "99:1 sorry", "[quorum_down sorry_on up 1 quorum_up sorry_off up 2]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			check := quick
			check.Alpha = true
			svc := web(check, 2)
			c.health.Checks = svc.Health.Checks
			svc.Health = &c.health
			s := newSite(t, Config{})
			s.Update([]conf.Service{svc}, nil)
			s.want(svc, c.before)
			if e, _ := s.Explain(ID{svc.Key, svc.Servers[0].ID()}); e.State != "starting" || e.Known || e.Up {
				t.Errorf("before the first answer: %+v", e)
			}
			s.at(2).set(silent)
			s.run()
			time.Sleep(500 * time.Millisecond)
			s.want(svc, map[bool]string{true: "1:1 2:0", false: "1:1"}[c.health.OnFailure == conf.Quiesce])
			s.at(2).set(good)
			time.Sleep(2 * time.Second)
			s.want(svc, "1:1 2:1")
			if got := fmt.Sprint(s.kinds()); got != c.told {
				t.Errorf("told %v, want %v", got, c.told)
			}
		})
	}
}

// keepalived 5.1: the first checker to fail takes a server down, the last failed one to
// recover brings it up. And ldirectord's checktype N (6): a check that connects and one in
// N+1 that negotiates are two checks; a failure of one has the other asked at once.
func TestServerIsUpWhileNoCheckSaysDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect := conf.HealthCheck{Probe: conf.Probe{Type: conf.ProbeTCP, Timeout: time.Second}, Interval: 10 * time.Second, Rise: 1, Fall: 1}
		negotiate := connect
		negotiate.Probe.Type, negotiate.Probe.Port, negotiate.Interval = conf.ProbeHTTP, 8080, time.Minute
		svc := web(connect, 1)
		svc.Health.Checks = []conf.HealthCheck{connect, negotiate}
		s := newSite(t, Config{})
		s.mu.Lock()
		tcp, http := s.target(Target{Addr: ip(1), Port: 80}), s.target(Target{Addr: ip(1), Port: 8080})
		s.mu.Unlock()
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(55 * time.Second)
		if tcp.count() != 6 || http.count() != 1 {
			t.Errorf("asked %d and %d times, want 6 and 1", tcp.count(), http.count())
		}
		tcp.set(bad)
		http.set(bad)
		time.Sleep(6 * time.Second) // 61 s; tcp at 60 s, and http with it
		s.want(svc, "")
		tcp.set(good)
		time.Sleep(10 * time.Second)
		s.want(svc, "") // http was bad, and was asked again when tcp came back
		http.set(good)
		time.Sleep(58 * time.Second) // 129 s
		s.want(svc, "")
		time.Sleep(2 * time.Second) // 131 s: a minute after it was asked last
		s.want(svc, "1:1")
	})
}

// The weight in force is file × health × slow start, and says so.
func TestWeightsAreExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := web(quick, 2)
		svc.Health.SlowStart = 10 * time.Second
		svc.Servers[0].Weight, svc.Servers[1].Weight = 50, 100
		s := newSite(t, Config{})
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(100 * time.Millisecond)
		s.want(svc, "1:50 2:100") // at the start nobody comes back
		s.play(1, false)
		s.want(svc, "2:100")
		s.play(1, true) // up at 2 s
		s.want(svc, "1:1 2:100")
		time.Sleep(900 * time.Millisecond) // 3.2 s
		s.want(svc, "1:5 2:100")
		time.Sleep(4 * time.Second)
		s.want(svc, "1:25 2:100")
		weighs := func(ctx context.Context) Result { return Result{OK: true, Weight: 20, HasWeight: true} }
		s.at(1).set(weighs)
		time.Sleep(time.Second) // 8.2 s
		s.want(svc, "1:12 2:100")
		id := ID{svc.Key, svc.Servers[0].ID()}
		e, ok := s.Explain(id)
		if !ok || e.File != 50 || e.Health != 1 || !e.HasDynamic || e.Dynamic != 20 || e.Ramp != 0.6 || e.InForce != 12 || !e.Present {
			t.Errorf("explained as %+v", e)
		}
		if st, _ := s.Service(svc.Key); st.Weight != 120 || st.Alive != 2 || st.Servers != 2 || !st.Up {
			t.Errorf("the quorum counts full weights: %+v", st)
		}
		time.Sleep(5 * time.Second)
		s.want(svc, "1:20 2:100")
		s.at(1).set(good) // 4.6: exit 0: weight back to configured
		time.Sleep(1100 * time.Millisecond)
		s.want(svc, "1:50 2:100")
		s.at(1).set(func(context.Context) Result { return Result{OK: true, HasWeight: true} })
		time.Sleep(1100 * time.Millisecond)
		s.want(svc, "1:0 2:100") // 4.6: e = 2: weight 0 but alive
		if e, _ := s.Explain(id); !e.Up || e.InForce != 0 {
			t.Errorf("weight 0 asked for: %+v", e)
		}
		// A drained server that is let in again starts slowly too.
		svc.Servers[1].Weight = 0
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "1:0 2:0")
		svc.Servers[1].Weight = 100
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "1:0 2:1")
		time.Sleep(9900 * time.Millisecond)
		s.want(svc, "1:0 2:90")
		time.Sleep(200 * time.Millisecond)
		s.want(svc, "1:0 2:100")
		// One that joins a service that runs, too.
		svc.Servers = append(svc.Servers, conf.Server{Addr: ip(3), Port: 80, Weight: 10})
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "1:0 2:100 3:1")
		time.Sleep(11 * time.Second)
		s.want(svc, "1:0 2:100 3:10")
	})
}

// A service without Health, and one the monitor has not been told of, are as desired.
func TestUncheckedServicesAreAsDesired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 2)
		s.want(svc, "1:1 2:1")
		svc.Health = nil
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "1:1 2:1")
		if _, known := s.Service(svc.Key); known {
			t.Error("an unchecked service is known")
		}
	})
}

func TestFlappingServerIsHeldDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := web(quick, 1)
		svc.Health.Flap = conf.Flap{Changes: 4, Within: 20 * time.Second, Hold: 30 * time.Second}
		s := newSite(t, Config{})
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(100 * time.Millisecond)
		s.play(1, false)
		s.play(1, true)
		s.play(1, false)
		s.want(svc, "")
		s.play(1, true) // the fourth, at about 4 s
		s.want(svc, "")
		e, _ := s.Explain(ID{svc.Key, svc.Servers[0].ID()})
		if left := time.Until(e.Held); e.State != "hold" || left < 29*time.Second || left > 30*time.Second {
			t.Errorf("held as %+v", e)
		}
		time.Sleep(28 * time.Second)
		s.want(svc, "")
		time.Sleep(2 * time.Second)
		s.want(svc, "1:1")
		if got := fmt.Sprint(s.kinds()); got != "[quorum_up down 1 quorum_down up 1 quorum_up down 1 quorum_down hold 1 up 1 quorum_up]" {
			t.Errorf("told %v", got)
		}
	})
}

// Clients' own connections take a server down whose probes are good; probes' good answers
// bring it back, since no client goes there.
func TestPassiveSignsTakeDownAndProbesBringBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := quick
		check.Fall, check.Rise = 2, 3
		svc := web(check, 2)
		svc.Health.Passive = conf.Passive{Percent: 50, Min: 10, Window: 5 * time.Second}
		s := newSite(t, Config{})
		s.Update([]conf.Service{svc}, nil)
		s.run()
		id := ID{svc.Key, svc.Servers[0].ID()}
		time.Sleep(500 * time.Millisecond) // between two probes
		for range 10 {
			time.Sleep(time.Second)
			s.Passive(id, 4, 3)
		}
		s.want(svc, "1:1 2:1") // one window was bad
		time.Sleep(time.Second)
		s.Passive(id, 4, 3)
		s.want(svc, "2:1")
		if e, _ := s.Explain(id); e.Why != WhyPassive || e.Text != "15 of 20 connections of clients within 5s were not answered or were reset" {
			t.Errorf("down because %q: %q", e.Why, e.Text)
		}
		s.Passive(id, 0, 0)
		time.Sleep(2 * time.Second)
		s.want(svc, "2:1")
		time.Sleep(time.Second)
		s.want(svc, "1:1 2:1")
		s.Passive(ID{svc.Key, conf.ServerID{Addr: ip(77)}}, 100, 100) // nobody: nothing
	})
}

// A drained server stays drained, whatever its check asks for, and has what it asks for
// when it is back.
func TestDrainedServerIsNotWeighed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 2)
		for i := range svc.Servers {
			svc.Servers[i].Weight = 10
		}
		s.Update([]conf.Service{svc}, nil)
		s.run()
		s.at(1).set(func(context.Context) Result { return Result{OK: true, Weight: 20, HasWeight: true} })
		time.Sleep(2 * time.Second)
		s.want(svc, "1:20 2:10")
		svc.Servers[0].Weight = 0
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "1:0 2:10")
		s.at(1).set(func(context.Context) Result { return Result{OK: true, Weight: 30, HasWeight: true} })
		time.Sleep(2 * time.Second)
		s.want(svc, "1:0 2:10")
		if st, _ := s.Service(svc.Key); st.Weight != 10 {
			t.Errorf("the service weighs %d, want 10", st.Weight)
		}
		svc.Servers[0].Weight = 10
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "1:30 2:10")
	})
}

// A check that asks for another weight with each answer has it at once each time, and that
// is told once a minute.
func TestWeightsAreToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 1)
		n := 1
		s.at(1).set(func(context.Context) Result { n++; return Result{OK: true, Weight: n, HasWeight: true} })
		s.Update([]conf.Service{svc}, nil)
		s.run()
		for range 150 {
			time.Sleep(time.Second)
			synctest.Wait()
			s.want(svc, fmt.Sprintf("1:%d", n))
		}
		told := 0
		for _, k := range s.kinds() {
			if k == "weight 1" {
				told++
			}
		}
		if told != 3 {
			t.Errorf("told %d times in 150 s, want 3", told)
		}
	})
}

// Events that nobody takes do not pile up, and are counted.
func TestUntoldEventsAreBounded(t *testing.T) {
	m := New(Config{Events: 1})
	for range maxUntold + 3 {
		m.raise(Event{})
	}
	if n := m.Stats().Untold; n != 3 || len(m.events) != maxUntold {
		t.Errorf("%d untold, %d wait; want 3 and %d", n, len(m.events), maxUntold)
	}
}
