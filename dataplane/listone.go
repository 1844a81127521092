package dataplane

import "github.com/dirigo-lb/dirigo/conf"

// Service reads one service; ok is false if there is none. Safe for concurrent use.
func (p *Plane) Service(k conf.ServiceKey) (st ServiceStatus, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	s := p.services[k]
	if s == nil {
		return ServiceStatus{}, false
	}
	return p.status(s), true
}
