package dataplane

import (
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
)

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

// ServersOf lists the servers of a service, the oldest first; ok is false if there is no
// such service. Safe for concurrent use.
func (p *Plane) ServersOf(k conf.ServiceKey) (list []conf.Server, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc := p.services[k]
	if svc == nil {
		return nil, false
	}
	for _, s := range slices.Backward(svc.servers) {
		list = append(list, s.rules.Load().conf)
	}
	return list, true
}
