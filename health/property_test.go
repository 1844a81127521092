package health

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dirigo-lb/dirigo/conf"
)

// slowTrial is what trial means, from the whole history of answers.
func slowTrial(c *conf.HealthCheck, answers []bool) (up bool) {
	up = !c.Alpha
	since := 0 // the first answer that counts in the window
	for i := range answers {
		row := func(ok bool) (n int) {
			for j := i; j >= 0 && answers[j] == ok; j-- {
				n++
			}
			return n
		}
		was := up
		switch {
		case !up:
			up = row(true) >= c.Rise
		case i == 0:
			up = answers[0]
		case c.Window.Of > 0:
			n := 0
			for j := max(since, i+1-c.Window.Of); j <= i; j++ {
				if !answers[j] {
					n++
				}
			}
			up = n < c.Window.Bad
		default:
			up = row(false) < c.Fall
		}
		if up != was {
			since = i + 1
		}
	}
	return up
}

func TestTrialIsItsSlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := conf.HealthCheck{
			Rise: rapid.IntRange(1, 4).Draw(t, "rise"), Fall: rapid.IntRange(1, 4).Draw(t, "fall"), Alpha: rapid.Bool().Draw(t, "alpha"),
		}
		if rapid.Bool().Draw(t, "windowed") {
			c.Window.Of = rapid.IntRange(1, 8).Draw(t, "of")
			c.Window.Bad = rapid.IntRange(1, c.Window.Of).Draw(t, "bad")
		}
		tr := trial{up: !c.Alpha}
		answers := rapid.SliceOfN(rapid.Bool(), 1, 60).Draw(t, "answers")
		for i := range answers {
			tr.step(&c, answers[i])
			if want := slowTrial(&c, answers[:i+1]); tr.up != want {
				t.Fatalf("after %v: up %v, want %v", answers[:i+1], tr.up, want)
			}
		}
	})
}

// world is random services whose servers answer at random and are reconfigured at random.
type world struct {
	*site
	rnd      *rand.Rand
	services []conf.Service
}

func (w *world) n(most int) int { return w.rnd.IntN(most + 1) }

func (w *world) health() *conf.Health {
	h := &conf.Health{
		OnFailure: conf.OnFailure(w.n(1)), Quorum: 1 + w.n(6), Hysteresis: w.n(3), SorryKeep: w.n(1) == 0,
		SlowStart: time.Duration(w.n(1)*10) * time.Second,
	}
	if w.n(2) > 0 {
		h.Sorry = &conf.Server{Addr: ip(99), Port: 80, Weight: w.n(2)}
	}
	if w.n(2) == 0 {
		h.Flap = conf.Flap{Changes: 2 + w.n(3), Within: 10 * time.Second, Hold: 5 * time.Second}
	}
	for i := range 1 + w.n(1) {
		c := conf.HealthCheck{Probe: conf.Probe{Type: conf.ProbeTCP, Port: uint16(80 + i), Timeout: time.Second}, Interval: time.Second,
			Jitter: 10, Rise: 1 + w.n(2), Fall: 1 + w.n(2), Alpha: w.n(2) == 0, Warmup: time.Duration(w.n(2000)) * time.Millisecond}
		h.Checks = append(h.Checks, c)
	}
	return h
}

func (w *world) servers() (list []conf.Server) {
	for n := range 5 {
		if w.n(3) > 0 {
			list = append(list, conf.Server{Addr: ip(n + 1), Port: 80, Weight: w.n(4)})
		}
	}
	return list
}

// check holds what must be true at any time.
func (w *world) check(t *testing.T, turn string) {
	synctest.Wait()
	for i := range w.services {
		svc := &w.services[i]
		st, ok := w.Service(svc.Key)
		if !ok {
			t.Fatalf("%s: %v is not known", turn, svc.Key)
		}
		list, sorry := w.InForce(svc)
		h := svc.Health
		weight, alive, total := 0, 0, 0
		for j := range svc.Servers {
			srv := &svc.Servers[j]
			e, ok := w.Explain(ID{svc.Key, srv.ID()})
			if !ok {
				t.Fatalf("%s: %v is not known", turn, srv)
			}
			up := e.State == "up" || e.State == "unchecked"
			good := true
			for _, c := range e.Checks {
				good = good && c.Up
			}
			at := slices.IndexFunc(list, func(o conf.Server) bool { return o.ID() == srv.ID() })
			force := 0
			if at >= 0 {
				force = list[at].Weight
			}
			switch {
			case up != e.Up || up && !good || e.Up && e.Health != 1 || !e.Up && e.Health != 0:
				t.Fatalf("%s: %+v", turn, e)
			case good && !up && e.State != "hold":
				t.Fatalf("%s: all checks good and %s", turn, e.State)
			case up && !sorry && (at < 0 || force > srv.Weight || srv.Weight > 0 && force < 1 || e.InForce != force):
				t.Fatalf("%s: up with %d in force, explained %+v", turn, force, e)
			case e.Ramp == 1 && up && !sorry && force != srv.Weight:
				t.Fatalf("%s: weight %d in force of %d", turn, force, srv.Weight)
			case (!up || sorry) && force != 0:
				t.Fatalf("%s: not up (or sorry %v) with weight %d", turn, sorry, force)
			case (!up || sorry) && at >= 0 && h.OnFailure == conf.Remove:
				t.Fatalf("%s: not up and not removed", turn)
			case at < 0 && h.OnFailure == conf.Quiesce:
				t.Fatalf("%s: removed in place of quiesced", turn)
			case at >= 0 != e.Present:
				t.Fatalf("%s: present %v, place %d", turn, e.Present, at)
			}
			if up {
				weight, alive = weight+srv.Weight, alive+1
			}
		}
		for _, srv := range list {
			total += srv.Weight
		}
		low, high := h.Quorum-min(h.Hysteresis, h.Quorum-1), h.Quorum+min(h.Hysteresis, h.Quorum-1)
		switch {
		case st.Weight != weight || st.Alive != alive || st.Servers != len(svc.Servers):
			t.Fatalf("%s: counted %+v, want weight %d of %d", turn, st, weight, alive)
		case st.Up && weight < low, !st.Up && weight >= high, st.Up && weight == 0:
			t.Fatalf("%s: quorum %v with weight %d, quorum %d hysteresis %d", turn, st.Up, weight, h.Quorum, h.Hysteresis)
		case st.Sorry != sorry || sorry != (!st.Up && h.Sorry != nil):
			t.Fatalf("%s: sorry %v with quorum %v", turn, sorry, st.Up)
		case h.Sorry != nil && total == 0:
			t.Fatalf("%s: nobody answers, in spite of a sorry server: %v", turn, list)
		}
		ids := map[conf.ServerID]bool{}
		for _, srv := range list {
			if ids[srv.ID()] {
				t.Fatalf("%s: %v twice in %v", turn, srv.ID(), list)
			}
			ids[srv.ID()] = true
		}
	}
}

func TestInvariantsHoldWhateverHappens(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{site: newSite(t, Config{}), rnd: rand.New(rand.NewPCG(seed, 1))}
			for i := range 3 {
				svc := web(quick, 0)
				svc.Key.Port = uint16(1000 + i)
				svc.Health, svc.Servers = w.health(), w.servers()
				w.services = append(w.services, svc)
			}
			w.Update(w.services, nil)
			w.check(t, fmt.Sprintf("seed %d, start", seed))
			w.run()
			for turn := range 60 {
				for n := range 5 {
					for port := range 2 {
						w.mu.Lock()
						f := w.target(Target{Addr: ip(n + 1), Port: uint16(80 + port)})
						w.mu.Unlock()
						if w.n(3) == 0 {
							f.set(bad)
						} else if w.n(20) == 0 {
							f.set(silent)
						} else {
							f.set(good)
						}
					}
				}
				switch i := w.n(2); w.n(5) {
				case 0:
					w.services[i].Servers = w.servers()
					w.Update(w.services[i:i+1], nil)
				case 1:
					w.services[i].Health = w.health()
					w.Update(w.services[i:i+1], nil)
				}
				w.check(t, fmt.Sprintf("seed %d, turn %d, before", seed, turn))
				time.Sleep(time.Duration(w.n(3000)) * time.Millisecond)
				w.check(t, fmt.Sprintf("seed %d, turn %d", seed, turn))
			}
			w.Update(nil, []conf.ServiceKey{w.services[0].Key, w.services[1].Key, w.services[2].Key})
			if st := w.Stats(); st.Targets != 0 {
				t.Errorf("%d targets left", st.Targets)
			}
		})
	}
}
