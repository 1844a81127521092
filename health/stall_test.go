package health

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// What is the director's own fault changes nothing: no descriptors, a prober that cannot
// be made, one that panics.
func TestLocalErrorsChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 3)
		made := s.cfg.Prober
		broken := atomic.Bool{}
		broken.Store(true)
		s.cfg.Prober = func(p conf.Probe, t Target) (Prober, error) {
			if t.Addr == ip(3) && broken.Load() {
				return nil, errors.New("ca.pem: no such file")
			}
			return made(p, t)
		}
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(100 * time.Millisecond)
		s.at(1).set(func(context.Context) Result { return Result{Why: WhyLocal, Text: "too many open files"} })
		s.at(2).set(func(context.Context) Result { panic("nil pointer") })
		time.Sleep(10 * time.Second)
		s.want(svc, "1:1 2:1 3:1")
		for i, text := range []string{"too many open files", "panic: nil pointer", "ca.pem: no such file"} {
			e, _ := s.Explain(ID{svc.Key, svc.Servers[i].ID()})
			if e.State != "unchecked" || !e.Up || !e.Checks[0].Unchecked {
				t.Errorf("server %d: %+v", i+1, e)
			}
			if r := e.Checks[0].Last; r.Why != WhyLocal || r.Text != text {
				t.Errorf("server %d: last result %+v", i+1, r)
			}
		}
		if st, _ := s.Service(svc.Key); st.Unchecked != 3 || st.Alive != 3 {
			t.Errorf("%+v, want 3 servers that are up and unchecked", st)
		}
		if st := s.Stats(); st.Discarded != 31 || st.Panics != 10 {
			t.Errorf("%d discarded, %d panics; want 31, 10", st.Discarded, st.Panics)
		}
		broken.Store(false)
		s.at(2).set(good)
		s.at(3).set(bad)
		time.Sleep(time.Second)
		s.want(svc, "1:1 2:1")
		for i, want := range []string{"unchecked", "up", "down"} {
			if e, _ := s.Explain(ID{svc.Key, svc.Servers[i].ID()}); e.State != want {
				t.Errorf("server %d is %s, want %s", i+1, e.State, want)
			}
		}
	})
}

// What was not counted is asked again after RetryDelay, not a whole interval later.
func TestUncountedAnswerIsAskedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		check := quick
		check.Interval, check.RetryDelay = time.Minute, time.Second
		s.Update([]conf.Service{web(check, 1)}, nil)
		s.run()
		time.Sleep(time.Second)
		s.at(1).set(func(context.Context) Result { return Result{Why: WhyLocal} })
		time.Sleep(time.Minute + 2500*time.Millisecond) // 0, 60, 61, 62, 63 s
		if n := s.at(1).count(); n != 5 {
			t.Errorf("asked %d times, want 5", n)
		}
	})
}

// Bad answers of a time in which the director stood still are not counted; good ones are,
// and so are bad ones that began after it.
func TestStallDiscardsItsRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 3)
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(500 * time.Millisecond)
		s.at(1).set(silent)
		s.at(2).set(silent)
		s.at(3).set(func(ctx context.Context) Result { <-ctx.Done(); return Result{OK: true} })
		time.Sleep(700 * time.Millisecond) // all three are being asked since 1 s
		s.pulse.mu.Lock()
		s.pulse.due = s.pulse.due.Add(-2 * time.Second)
		s.pulse.mu.Unlock() // the next beat is 2 s late
		time.Sleep(850 * time.Millisecond)
		s.want(svc, "1:1 2:1 3:1")
		st := s.Stats()
		if st.Stalls != 1 || st.Discarded != 2 {
			t.Errorf("%d stalls, %d answers discarded; want 1, 2", st.Stalls, st.Discarded)
		}
		e, _ := s.Explain(ID{svc.Key, svc.Servers[0].ID()})
		if r := e.Checks[0].Last; !strings.HasSuffix(r.Text, "(not counted: the director itself was 2s late)") {
			t.Errorf("last result %+v", r)
		}
		time.Sleep(time.Second)
		s.want(svc, "3:1")
		if !slices.Contains(s.kinds(), KindStall) {
			t.Error("the stall was not told")
		}
	})
}

// A director that is late by more than a tenth of the timeout does not count what may
// come of it; what has other reasons it does, and with more time to answer everything.
func TestLatenessExcusesSilenceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		check := quick
		check.Probe = conf.Probe{Type: conf.ProbeTCP, Timeout: time.Second}
		svc := web(check, 4)
		patient := web(check, 1)
		patient.Key.Port, patient.Servers[0].Addr, patient.Health.Checks[0].Probe.Timeout = 81, ip(4), 5*time.Second
		patient.Health.Checks[0].Interval = 5 * time.Second
		s.Update([]conf.Service{svc, patient}, nil)
		s.run()
		time.Sleep(500 * time.Millisecond)
		s.at(1).set(silent)
		s.at(2).set(func(ctx context.Context) Result { <-ctx.Done(); return Result{Why: WhyClosed} })
		s.at(3).set(func(ctx context.Context) Result { <-ctx.Done(); return Result{Why: WhyContent} })
		for range 5 { // those who were asked at 1 s hear of it at 2 s
			time.Sleep(290 * time.Millisecond)
			s.pulse.mu.Lock()
			s.pulse.due = s.pulse.due.Add(-150 * time.Millisecond)
			s.pulse.mu.Unlock()
		}
		time.Sleep(100 * time.Millisecond)
		s.want(svc, "1:1 2:1 4:1")
		if st := s.Stats(); st.Stalls != 0 || st.Discarded != 2 || st.Lag != 150*time.Millisecond {
			t.Errorf("%d stalls, %d answers discarded, lag %v", st.Stalls, st.Discarded, st.Lag)
		}
		s.at(4).set(silent)
		for range 20 { // asked at 5 s
			time.Sleep(290 * time.Millisecond)
			s.pulse.mu.Lock()
			s.pulse.due = s.pulse.due.Add(-150 * time.Millisecond)
			s.pulse.mu.Unlock()
		}
		time.Sleep(3 * time.Second)
		s.want(patient, "")
	})
}

// A director that is always late believes in the end.
func TestEndlessStallIsBelievedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 1)
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(500 * time.Millisecond)
		s.at(1).set(silent) // asked at 1 s, heard at 2 s, and so on
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				s.pulse.mu.Lock()
				s.pulse.due = time.Now().Add(-time.Second)
				s.pulse.mu.Unlock()
			}
		}()
		time.Sleep((maxDiscarded + 1) * time.Second)
		s.want(svc, "1:1")
		time.Sleep(time.Second)
		s.want(svc, "")
	})
}

// A pulse says how late its beats were in a time; one that is overdue is late before the
// pulse itself knows.
func TestPulse(t *testing.T) {
	p := pulse{bound: 500 * time.Millisecond}
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	for _, ms := range []int{0, 50, 110, 660} { // due at 50, 100, 160
		if _, stall := p.step(at(ms)); stall {
			t.Errorf("beat at %d ms is a stall", ms)
		}
	}
	for _, c := range []struct{ from, to, now, want int }{
		{0, 90, 700, 0}, {0, 101, 700, 10}, {50, 110, 700, 10}, {109, 120, 700, 10}, {110, 160, 700, 0}, {0, 161, 700, 500},
		{659, 700, 700, 500}, {660, 700, 700, 0}, {660, 710, 710, 0}, {660, 711, 800, 90}, {0, 2000, 2000, 1290},
	} {
		if got := p.lag(at(c.from), at(c.to), at(c.now)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("from %d to %d ms, at %d: %v late, want %d ms", c.from, c.to, c.now, got, c.want)
		}
	}
	if b, stall := p.step(at(1211)); !stall || b != (beat{at(710), at(1211)}) {
		t.Errorf("stall %v %v", b, stall)
	}
	for i := range len(p.beats) { // the ring goes round
		p.step(at(1261 + 50*i))
	}
	if got := p.lag(at(0), at(100_000), at(1261+50*len(p.beats)-50)); got != 0 {
		t.Errorf("%v late, %d beats later", got, len(p.beats))
	}
}

// A prober that does not end is a bad answer again and again, and is never asked twice at
// a time; when it ends its target is asked as before.
func TestProberThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		check := quick
		check.Fall = 3
		svc := web(check, 1)
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(500 * time.Millisecond)
		release := make(chan struct{})
		s.at(1).set(func(context.Context) Result { <-release; return Result{OK: true} })
		time.Sleep(7 * time.Second) // asked at 1 s; overdue at 7, 8 and 9 s
		s.want(svc, "1:1")
		time.Sleep(2 * time.Second)
		s.want(svc, "")
		if n := s.at(1).count(); n != 2 {
			t.Errorf("asked %d times", n)
		}
		s.at(1).set(bad)
		close(release) // with a good answer, but too late; asked again at once
		time.Sleep(100 * time.Millisecond)
		s.want(svc, "")
		s.at(1).set(good)
		time.Sleep(time.Second)
		s.want(svc, "1:1")
	})
}
