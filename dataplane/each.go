package dataplane

import "slices"

// eachRun is how many servers EachService reads before it lets others have the locks.
const eachRun = 256

// EachService calls f for every service, in the order they were added, until it returns
// false. Unlike Services it keeps nobody waiting while it reads, so between services it
// lists the state may change; what is removed meanwhile is left out. The status is f's
// until it returns, and f may take its time. Safe for concurrent use.
func (p *Plane) EachService(f func(*ServiceStatus) bool) {
	p.mu.Lock()
	order := slices.Clone(p.order)
	p.mu.Unlock()
	var run []ServiceStatus
	for len(order) > 0 {
		var n int
		run, n = p.someServices(run[:0], order)
		for i := range run {
			if !f(&run[i]) {
				return
			}
		}
		order = order[n:]
	}
}

// someServices reads the first of the services, and returns how many of them it saw.
func (p *Plane) someServices(run []ServiceStatus, order []*Service) (_ []ServiceStatus, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	servers := 0
	for _, s := range order {
		if servers > eachRun || n > eachRun {
			break
		}
		n++
		if p.services[s.Key] != s { // removed meanwhile
			continue
		}
		servers += len(s.servers)
		run = append(run, p.status(s))
	}
	return run, n
}

// status reads a service's figures. The caller holds both locks.
func (p *Plane) status(s *Service) ServiceStatus {
	st := ServiceStatus{Service: s.rules.Load().conf}
	if len(s.servers) > 0 {
		st.Servers = make([]ServerStatus, 0, len(s.servers))
	}
	if f := p.stats.services[s.ID]; f != nil {
		st.Figures = f.read()
	}
	for _, srv := range s.servers {
		d := ServerStatus{
			Server: srv.rules.Load().conf, Active: int(srv.Active.Load()), Inactive: int(srv.Inactive.Load()),
			Persistent: int(srv.persistent.Load()), Overload: srv.Overload.Load(),
		}
		if int(srv.ID) < len(p.stats.servers) {
			d.Figures = p.stats.servers[srv.ID].read()
		}
		st.Servers = append(st.Servers, d)
	}
	return st
}
