package twin

import (
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
)

// service is a virtual service with its list of servers, newest first.
type service struct {
	conf.Service
	servers []*server
	gone    []*server // removed, waiting to be added again with their connections
	last    int       // index of the server that rr chose last; -1: none yet
	made    map[template]*server
}

type server struct {
	conf.Server
	available bool
}

// template is what sticks clients to servers (ip_vs_sched_persist).
type template struct {
	network netip.Addr // the client's, masked
	virtual netip.AddrPort
}

func newTwinService(c conf.Service) *service {
	s := &service{Service: c, last: -1, made: map[template]*server{}}
	for _, srv := range c.Servers {
		s.add(srv)
	}
	return s
}

// add puts a server at the head of the list (__ip_vs_update_dest).
func (s *service) add(c conf.Server) {
	srv := &server{}
	if i := slices.IndexFunc(s.gone, func(o *server) bool { return o.Addr == c.Addr && o.Port == c.Port }); i >= 0 {
		srv = s.gone[i]
		s.gone = slices.Delete(s.gone, i, i+1)
	}
	srv.Server, srv.available = c, true
	s.servers = slices.Insert(s.servers, 0, srv)
	if s.last >= 0 {
		s.last++
	}
}

// remove takes the i-th server out; rr goes on after the one before it
// (ip_vs_rr_del_dest).
func (s *service) remove(i int) {
	s.servers[i].available = false
	s.gone = append(s.gone, s.servers[i])
	s.servers = slices.Delete(s.servers, i, i+1)
	if s.last >= i {
		s.last--
	}
}

// choose is the scheduler. rr is known; the others' choice is taken from the pipeline if
// it is one that they may make.
func (s *service) choose(chosen func(*server) bool) *server {
	usable := func(srv *server) bool { return srv.Weight > 0 }
	if s.Scheduler != "rr" {
		i := slices.IndexFunc(s.servers, func(srv *server) bool { return usable(srv) && chosen(srv) })
		if i < 0 {
			return nil
		}
		return s.servers[i]
	}
	for n := range s.servers {
		i := (s.last + 1 + n) % len(s.servers)
		if usable(s.servers[i]) {
			s.last = i
			return s.servers[i]
		}
	}
	return nil
}

// anyUsable reports whether a scheduler could choose a server at all.
func (s *service) anyUsable() bool {
	return slices.ContainsFunc(s.servers, func(srv *server) bool { return srv.Weight > 0 })
}

// templateFor is the key of a client's template.
func (s *service) templateFor(p *ip) template {
	mask := s.Persistence.Netmask
	network := p.src
	switch {
	case p.v6 && s.Persistence.Prefix != 0:
		network = netip.PrefixFrom(p.src, s.Persistence.Prefix).Masked().Addr()
	case !p.v6 && mask.IsValid():
		a, m := p.src.As4(), mask.As4()
		for i := range a {
			a[i] &= m[i]
		}
		network = netip.AddrFrom4(a)
	}
	if s.Key.Fwmark != 0 { // whatever the protocol and the address
		return template{network: network}
	}
	port := s.Key.Port
	if p.to().Port() != port || port == 21 {
		port = 0
	}
	return template{network, netip.AddrPortFrom(p.dst, port)}
}

// find looks a packet's service up (ip_vs_service_find).
func find(all []*service, p *ip) *service {
	for _, s := range all {
		if p.mark != 0 && s.Key == (conf.ServiceKey{Fwmark: p.mark, V6: p.v6}) {
			return s
		}
	}
	by := func(port uint16) *service {
		for _, s := range all {
			if s.Key == (conf.ServiceKey{Proto: p.proto, Addr: p.dst, Port: port}) {
				return s
			}
		}
		return nil
	}
	port := p.to().Port()
	if s := by(port); s != nil {
		return s
	}
	if p.proto == protoTCP && (port == 20 || port >= 1024) {
		if s := by(21); s != nil {
			return s
		}
	}
	return by(0)
}
