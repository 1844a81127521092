package health

import (
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// Update takes over the desired state of services that are new or changed, and lets
// those go that are gone or whose Health is nil. InForce says the new state at once. The
// cost is that of what is given.
//
// State is kept as keepalived keeps it over a reload: a server keeps it that the service
// still has, and a check that asks the same question, whatever its times and counts are
// now. A new check of a server begins up, or down with Alpha; so does a new server.
func (m *Monitor) Update(set []conf.Service, gone []conf.ServiceKey) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range gone {
		m.forget(k)
	}
	for i := range set {
		if set[i].Health == nil {
			m.forget(set[i].Key)
			continue
		}
		m.update(&set[i], now)
	}
}

// forget lets a service go.
func (m *Monitor) forget(k conf.ServiceKey) {
	s := m.services[k]
	if s == nil {
		return
	}
	for _, srv := range s.order {
		m.release(srv)
	}
	delete(m.services, k)
	delete(m.dirty, k)
}

// release takes a server out of everything but its service's lists.
func (m *Monitor) release(s *server) {
	for _, c := range s.checks {
		m.leave(c)
	}
	m.alarms.stop(&s.alarm)
	s.service.weight -= s.counted
	if s.up {
		s.service.alive--
	}
}

// update takes one service over.
func (m *Monitor) update(is *conf.Service, now time.Time) {
	s := m.services[is.Key]
	if s == nil {
		m.started++
		s = &service{key: is.Key, seq: m.started}
		m.services[is.Key] = s
	}
	health := *is.Health
	s.name, s.health = is.Name, &health
	was := s.servers
	s.servers, s.order = make(map[conf.ServerID]*server, len(is.Servers)), make([]*server, 0, len(is.Servers))
	for i := range is.Servers {
		id := is.Servers[i].ID()
		if s.servers[id] != nil {
			continue // Validate refuses it
		}
		srv := was[id]
		delete(was, id)
		if srv == nil {
			srv = &server{id: ID{is.Key, id}, service: s, since: now}
			srv.passive.trial = trial{up: true, asked: true} // its first window is no first answer
			srv.alarm.rings = func(now time.Time) {
				m.settle(srv, now)
				m.weigh(s, now)
			}
		}
		s.servers[id] = srv
		s.order = append(s.order, srv)
		m.updateServer(srv, is, &is.Servers[i], now)
	}
	for _, srv := range was {
		m.release(srv)
	}
	for _, srv := range s.order {
		if !srv.started {
			m.start(srv, now)
		}
		m.conclude(srv, WhyNone, "a new check had no answer yet", now)
	}
	m.weigh(s, now) // only now, with all servers and their weights there, does the quorum say something
}

// updateServer takes one server over, and the checks it has.
func (m *Monitor) updateServer(s *server, svc *conf.Service, is *conf.Server, now time.Time) {
	if s.weight == 0 && is.Weight > 0 && s.up {
		s.slowStart(now) // it was drained, and comes back as one that was down
	}
	s.name, s.weight = is.Name, is.Weight
	checks := is.Checks
	if len(checks) == 0 {
		checks = svc.Health.Checks
	}
	was := s.checks
	s.checks = make([]*check, 0, len(checks))
	for i := range checks {
		q := ask(checks[i].Probe, svc, is)
		c := takeOut(was, q)
		if c == nil {
			c = &check{server: s, trial: trial{up: !checks[i].Alpha}, conf: checks[i]}
			m.enter(c, q, now)
		} else {
			c.conf = checks[i]
			m.sooner(c.q, now.Add(jitter(c.conf.Interval, 0))) // it may be shorter now
		}
		s.checks = append(s.checks, c)
	}
	for _, c := range was {
		if c != nil {
			m.leave(c)
		}
	}
}

// takeOut finds the check that asks a question and takes it out of the list.
func takeOut(list []*check, q question) *check {
	for i, c := range list {
		if c != nil && c.q.question == q {
			list[i] = nil
			return c
		}
	}
	return nil
}

// start gives a new server the state it begins with, which is nobody's news. One that
// joins a service that is running begins slowly.
func (m *Monitor) start(s *server, now time.Time) {
	s.started, s.alive = true, true
	for _, c := range s.checks {
		s.alive = s.alive && c.trial.up
	}
	s.up = s.alive
	if s.up {
		s.service.alive++
		if s.service.started {
			s.slowStart(now)
		}
		s.counted = s.full(s.weight)
		s.service.weight += s.counted
	}
	s.inForce = s.force(s.weight)
}
