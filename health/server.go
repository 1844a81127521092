package health

import (
	"fmt"
	"slices"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// server is one real server of a service.
type server struct {
	id      ID
	name    string
	service *service
	weight  int // desired
	checks  []*check
	passive passive

	alive   bool // no check says down
	up      bool // alive, and not held
	since   time.Time
	changes int // of up
	why     Why // why it went down, last time
	text    string
	flap    flap
	started bool // has had its first state

	weighed time.Time     // last told that checks ask for another weight
	came    time.Time     // slow start began; zero: it has its whole weight
	age     time.Duration // what of it counts in the weight in force
	inForce int           // weight in force, but for a sorry server
	counted int           // in the service's weight
	alarm   alarm         // slow start's next step, or the end of the hold
}

// weightNews is how often it is told, at most, that a server's checks ask for another
// weight: one that follows the load does with each answer.
const weightNews = time.Minute

// known reports whether every check has had an answer.
func (s *server) known() bool {
	for _, c := range s.checks {
		if !c.trial.asked {
			return false
		}
	}
	return true
}

// unchecked reports whether a check of s can say nothing of it.
func (s *server) unchecked() bool {
	return slices.ContainsFunc(s.checks, (*check).unchecked)
}

// full is the weight without slow start: weight, or what checks make of it. 0 stays 0,
// unlike keepalived's: the server is drained, whatever a check asks for.
func (s *server) full(weight int) int {
	if weight == 0 {
		return 0
	}
	var asked []int
	for _, c := range s.checks {
		if c.weighs {
			asked = append(asked, c.weight)
		}
	}
	return dynamicWeight(weight, asked)
}

// force is the weight in force of a server whose desired weight is given; 0 if it is
// down.
func (s *server) force(weight int) int {
	if !s.up {
		return 0
	}
	w := s.full(weight)
	if !s.came.IsZero() {
		w, _ = ramp(w, s.age, s.service.health.SlowStart)
	}
	return w
}

// answer takes a counted answer of a check.
func (m *Monitor) answer(c *check, r *Result, now time.Time) {
	s := c.server
	changed := c.trial.step(&c.conf, r.OK)
	if r.OK {
		was := s.full(s.weight)
		c.weighs, c.weight = r.HasWeight, r.Weight
		if w := s.full(s.weight); w != was {
			if s.weighed.IsZero() || now.Sub(s.weighed) >= weightNews {
				s.weighed = now
				m.raise(s.event(KindWeight, now, fmt.Sprintf("%s asks for weight %d, which makes %d of %d", label(&c.conf), r.Weight, w, s.weight)))
			}
			changed = true
		}
		m.warn(c, r.Warning, now)
	}
	if p := &s.passive; !p.trial.up && len(s.checks) > 0 && s.checks[0] == c {
		changed = p.trial.step(&c.conf, r.OK) || changed
	}
	if !changed {
		return
	}
	m.judge(s, r.Why, label(&c.conf)+": "+r.Text, now)
	for _, other := range s.checks { // news of one is a reason to ask the others
		if other != c {
			m.sooner(other.q, now)
		}
	}
}

// warn tells of a warning when it comes up, and once a day while it stands.
func (m *Monitor) warn(c *check, text string, now time.Time) {
	switch {
	case text == "":
		c.warned = time.Time{}
	case c.warned.IsZero() || now.Sub(c.warned) >= 24*time.Hour:
		c.warned = now
		m.raise(c.server.event(KindCertificate, now, label(&c.conf)+": "+text))
	}
}

func label(c *conf.HealthCheck) string {
	if c.Label != "" {
		return c.Label
	}
	return string(c.Probe.Type)
}

// judge draws the conclusion from a server's checks, and from that the one for its
// service.
func (m *Monitor) judge(s *server, why Why, text string, now time.Time) {
	m.conclude(s, why, text, now)
	m.weigh(s.service, now)
}

// conclude draws a server's own conclusion: it is alive while none of its checks says
// down. why and text are kept if that takes it down.
func (m *Monitor) conclude(s *server, why Why, text string, now time.Time) {
	alive := s.passive.trial.up
	for _, c := range s.checks {
		alive = alive && c.trial.up
	}
	if !alive && s.alive {
		s.why, s.text = why, text
	}
	if alive != s.alive {
		s.alive = alive
		f := s.service.health.Flap
		if s.flap.step(f, now) {
			m.raise(s.event(KindHold, now, fmt.Sprintf("%d changes within %v: held down for %v", f.Changes, f.Within, f.Hold)))
		}
	}
	m.settle(s, now)
}

// settle makes the server's state, its weight in force and its part in the quorum follow
// from what is known at now, and sets its alarm to when time alone changes them. The
// service is to be weighed after it.
func (m *Monitor) settle(s *server, now time.Time) {
	svc := s.service
	var next time.Time
	held := s.flap.held(now)
	if held {
		next = s.flap.until
	}
	if up := s.alive && !held; up != s.up {
		s.up, s.since = up, now
		s.changes++
		s.came = time.Time{}
		if up {
			svc.alive++
			s.slowStart(now)
			m.raise(s.event(KindUp, now, ""))
		} else {
			svc.alive--
			m.raise(s.event(KindDown, now, s.text))
		}
		m.changed(svc)
	}
	counted := 0
	if s.up {
		counted = s.full(s.weight)
		if !s.came.IsZero() {
			s.age = now.Sub(s.came)
			if _, wait := ramp(counted, s.age, svc.health.SlowStart); wait > 0 {
				next = now.Add(wait)
			} else {
				s.came = time.Time{}
			}
		}
	}
	if w := s.force(s.weight); w != s.inForce {
		s.inForce = w
		m.changed(svc)
	}
	svc.weight += counted - s.counted
	s.counted = counted
	if next.IsZero() {
		m.alarms.stop(&s.alarm)
	} else {
		m.alarms.set(&s.alarm, next)
		signal(m.wake)
	}
}

// slowStart begins a server's slow start.
func (s *server) slowStart(now time.Time) {
	if s.service.health.SlowStart > 0 {
		s.came, s.age = now, 0
	}
}

func (s *server) event(kind string, now time.Time, text string) Event {
	e := s.service.event(kind, now, text)
	e.ID, e.OfService, e.ServerName, e.Up = s.id, false, s.name, s.up
	if kind == KindDown {
		e.Why = s.why
	}
	return e
}
