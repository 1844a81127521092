package health

import (
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
)

// InForce says which servers a service must have now, and with what weights, by its
// desired state, which Update was told before: those that are up, those that are down
// with weight 0 if it says Quiesce, and the sorry server last where it is needed or kept.
// sorry says that it stands for the others, which are withdrawn then, up or not. The
// order is the desired one. A service without Health has its servers unchanged. The
// slice is the caller's.
func (m *Monitor) InForce(svc *conf.Service) (servers []conf.Server, sorry bool) {
	if svc.Health == nil {
		return slices.Clone(svc.Servers), false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.services[svc.Key]
	if s == nil {
		return slices.Clone(svc.Servers), false
	}
	h := svc.Health
	servers = make([]conf.Server, 0, len(svc.Servers)+1)
	for i := range svc.Servers {
		is := svc.Servers[i]
		srv := s.servers[is.ID()]
		switch {
		case s.sorry || srv != nil && !srv.up:
			if h.OnFailure != conf.Quiesce {
				continue
			}
			is.Weight = 0
		case srv != nil:
			is.Weight = srv.force(is.Weight)
		}
		servers = append(servers, is)
	}
	if h.Sorry == nil || !s.sorry && !h.SorryKeep {
		return servers, s.sorry
	}
	is := *h.Sorry
	is.Weight = 0
	if s.sorry {
		is.Weight = max(1, h.Sorry.Weight) // with 0 it would answer nobody
	}
	return append(servers, is), s.sorry
}
