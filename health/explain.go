package health

import (
	"context"
	"slices"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// Explanation is all there is to say of a server: file weight × health × slow start is
// the weight in force. A drained server has File 0.
type Explanation struct {
	ID          ID
	ServiceName string
	ServerName  string

	Up      bool
	Known   bool      // every check has had an answer
	State   string    // "up", "unchecked" (up, and there is nothing to tell: see CheckState), "down", "starting" (down, not yet asked), "hold" (down because it flaps)
	Since   time.Time // when Up last changed, or the server came
	Changes int       // of Up so far
	Held    time.Time // until when it is held down; zero: it is not
	Why     Why       // why it is down
	Text    string

	File       int // desired weight
	Health     int // 0 if down, else 1
	HasDynamic bool
	Dynamic    int     // in place of File if checks ask for a weight
	Ramp       float64 // part of a slow start that is over, 0 to 1
	InForce    int     // weight in the service's list; 0 if not Present
	Present    bool    // in the service's list now

	Checks []CheckState
}

// CheckState is what one check of a server knows.
type CheckState struct {
	Label     string // its name in the file; "": it has none
	Type      conf.ProbeType
	Target    Target
	Up        bool
	Unchecked bool // it has had no answer yet, or the last time the director could not ask: Up is not news then
	Good, Bad int  // answers in a row
	Last      Result
	Next      time.Time // when it is asked again; zero: it is being asked
	Shared    int       // checks of all services that share the probe, with this one
}

// ServiceState is what is known of a service.
type ServiceState struct {
	Name               string
	Up                 bool      // there is a quorum
	Since              time.Time // of Up
	Weight             int       // of the servers that are up, without slow start
	Quorum, Hysteresis int
	Sorry              bool // the sorry server stands for the others
	Alive, Servers     int
	Unchecked          int // of those alive: up, and a check of theirs is Unchecked
}

// Explain says all there is to say of a server.
func (m *Monitor) Explain(id ID) (Explanation, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.server(id); s != nil {
		return s.explain(time.Now()), true
	}
	return Explanation{}, false
}

func (m *Monitor) server(id ID) *server {
	if s := m.services[id.Service]; s != nil {
		return s.servers[id.Server]
	}
	return nil
}

func (s *server) explain(now time.Time) Explanation {
	svc := s.service
	e := Explanation{
		ID: s.id, ServiceName: svc.name, ServerName: s.name,
		Up: s.up, Known: s.known(), State: "down", Since: s.since, Changes: s.changes,
		File: s.weight, Ramp: 1, Present: !svc.sorry && s.up || svc.health.OnFailure == conf.Quiesce,
	}
	switch {
	case s.up:
		e.State, e.Health = "up", 1
		if s.unchecked() {
			e.State = "unchecked"
		}
		if !svc.sorry {
			e.InForce = s.inForce
		}
	case s.flap.held(now):
		e.State, e.Held = "hold", s.flap.until
	case !e.Known && s.why == WhyNone:
		e.State = "starting"
	}
	if !s.up {
		e.Why, e.Text = s.why, s.text
	}
	if !s.came.IsZero() {
		e.Ramp = rampPart(s.age, svc.health.SlowStart)
	}
	for _, c := range s.checks {
		if c.weighs {
			e.HasDynamic, e.Dynamic = true, s.full(s.weight)
		}
		e.Checks = append(e.Checks, c.state())
	}
	return e
}

func (c *check) state() CheckState {
	s := CheckState{
		Label: c.conf.Label, Type: c.conf.Probe.Type, Target: c.q.target,
		Up: c.trial.up, Unchecked: c.unchecked(), Good: c.trial.good, Bad: c.trial.bad, Last: c.q.last, Shared: len(c.q.checks),
	}
	if c.q.state == idle {
		s.Next = c.q.alarm.at
	}
	return s
}

// Service says what is known of a service with health checks.
func (m *Monitor) Service(k conf.ServiceKey) (ServiceState, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.services[k]; s != nil {
		return s.state(), true
	}
	return ServiceState{}, false
}

func (s *service) state() ServiceState {
	state := ServiceState{
		Name: s.name, Up: s.quorum.up, Since: s.since, Weight: s.weight, Quorum: s.health.Quorum, Hysteresis: s.health.Hysteresis,
		Sorry: s.sorry, Alive: s.alive, Servers: len(s.order),
	}
	for _, srv := range s.order {
		if srv.up && srv.unchecked() {
			state.Unchecked++
		}
	}
	return state
}

// keys are the services known, in the order in which they came.
func (m *Monitor) keys() []conf.ServiceKey {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*service, 0, len(m.services))
	for _, s := range m.services {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *service) int { return int(a.seq) - int(b.seq) })
	keys := make([]conf.ServiceKey, len(list))
	for i, s := range list {
		keys[i] = s.key
	}
	return keys
}

// All explains every server, service by service in the order in which they came to be
// known. It holds no lock while it yields and no more than one service at a time.
func (m *Monitor) All(yield func(Explanation) bool) {
	for _, k := range m.keys() {
		m.mu.Lock()
		var list []Explanation
		if s := m.services[k]; s != nil {
			now := time.Now()
			for _, srv := range s.order {
				list = append(list, srv.explain(now))
			}
		}
		m.mu.Unlock()
		for _, e := range list {
			if !yield(e) {
				return
			}
		}
	}
}

// ServicesAll says what is known of every service with health checks.
func (m *Monitor) ServicesAll(yield func(conf.ServiceKey, ServiceState) bool) {
	for _, k := range m.keys() {
		if s, ok := m.Service(k); ok && !yield(k, s) {
			return
		}
	}
}

// History gives the events that f asks for, oldest first.
func (m *Monitor) History(f Filter) []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.history.list(f)
}

// Probe asks for a server now, out of turn, and waits for the answers, which count as
// any others do. false: there is no such server, or ctx ended first.
func (m *Monitor) Probe(ctx context.Context, id ID) ([]CheckState, bool) {
	m.mu.Lock()
	s := m.server(id)
	if s == nil {
		m.mu.Unlock()
		return nil, false
	}
	var waits []chan struct{}
	for _, c := range s.checks {
		w := make(chan struct{})
		c.q.waiters = append(c.q.waiters, w)
		waits = append(waits, w)
		m.sooner(c.q, time.Now())
	}
	m.mu.Unlock()
	for _, w := range waits {
		select {
		case <-w:
		case <-ctx.Done():
			return nil, false
		}
	}
	e, ok := m.Explain(id)
	return e.Checks, ok
}

// Passive takes what the data plane counted for a server since the last call: new
// connections, and those among them that were not answered or were reset.
func (m *Monitor) Passive(id ID, new, bad int) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.server(id)
	if s == nil || len(s.checks) == 0 || s.service.health.Passive.Percent <= 0 {
		return
	}
	c, p, begin := s.service.health.Passive, &s.passive, s.passive.since
	total, failed := p.new+new, p.bad+bad
	answer, ok := p.step(c, now, new, bad)
	if !answer || !p.trial.up || m.pulse.lag(begin, now, now) > m.cfg.Stall {
		return
	}
	if p.trial.step(&s.checks[0].conf, ok) {
		m.judge(s, WhyPassive, passiveText(failed, total, c.Window), now)
	}
}
