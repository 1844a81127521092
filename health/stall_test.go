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
			if r := e.Checks[0].Last; r.Why != WhyLocal || r.Text != text {
				t.Errorf("server %d: last result %+v", i+1, r)
			}
		}
		if st := s.Stats(); st.Discarded != 31 || st.Panics != 10 {
			t.Errorf("%d discarded, %d panics; want 31, 10", st.Discarded, st.Panics)
		}
		broken.Store(false)
		s.at(3).set(bad)
		time.Sleep(time.Second)
		s.want(svc, "1:1 2:1")
	})
}

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
		s.pulse.beat = s.pulse.beat.Add(-2 * time.Second)
		s.pulse.mu.Unlock() // the next beat is 2 s late
		time.Sleep(850 * time.Millisecond)
		s.want(svc, "1:1 2:1 3:1")
		st := s.Stats()
		if st.Stalls != 1 || st.Discarded != 2 {
			t.Errorf("%d stalls, %d answers discarded; want 1, 2", st.Stalls, st.Discarded)
		}
		e, _ := s.Explain(ID{svc.Key, svc.Servers[0].ID()})
		if r := e.Checks[0].Last; !strings.HasSuffix(r.Text, "(not counted: the director itself stood still)") {
			t.Errorf("last result %+v", r)
		}
		time.Sleep(time.Second)
		s.want(svc, "3:1")
		if !slices.Contains(s.kinds(), KindStall) {
			t.Error("the stall was not told")
		}
	})
}

func TestEndlessStallIsBelievedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 1)
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(500 * time.Millisecond)
		s.at(1).set(bad)
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
				s.pulse.stalls[0] = span{time.Now().Add(-time.Hour), time.Now().Add(time.Hour)}
				s.pulse.mu.Unlock()
			}
		}()
		time.Sleep(maxDiscarded * time.Second)
		s.want(svc, "1:1")
		time.Sleep(time.Second)
		s.want(svc, "")
	})
}

func TestPulse(t *testing.T) {
	p := pulse{bound: 500 * time.Millisecond}
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	for _, ms := range []int{0, 50, 100, 650} { // 550 is period and bound
		if _, late := p.step(at(ms)); late {
			t.Errorf("beat at %d ms is late", ms)
		}
	}
	if p.during(at(0), at(650), at(1000)) {
		t.Error("a stall without one")
	}
	if !p.during(at(660), at(1200), at(1250)) || p.during(at(0), at(640), at(1250)) {
		t.Error("an overdue beat is a stall from the last beat on, and not before")
	}
	if s, late := p.step(at(1300)); !late || s != (span{at(650), at(1300)}) {
		t.Errorf("stall %v %v", s, late)
	}
	for _, c := range []struct {
		from, to int
		want     bool
	}{{0, 650, false}, {0, 651, true}, {700, 800, true}, {1299, 2000, true}, {1300, 2000, false}} {
		if got := p.during(at(c.from), at(c.to), at(1310)); got != c.want {
			t.Errorf("from %d to %d ms: %v", c.from, c.to, got)
		}
	}
}

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
