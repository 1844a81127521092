package dataplane

import (
	"fmt"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/sched"
)

// AddService adds a service without servers.
func (p *Plane) AddService(c conf.Service) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.services[c.Key] != nil {
		return fmt.Errorf("add %v: %w", c.Key, conf.ErrExists)
	}
	r, err := p.newRules(c, nil)
	if err != nil {
		return err
	}
	p.svcIDs++
	s := &Service{ID: p.svcIDs, Key: c.Key, vip: packet.AddrFrom(c.Key.Addr)}
	r.service = s
	s.rules.Store(r)
	p.services[c.Key] = s
	p.countEngine(r, 1)
	p.stats.begin(s.ID)
	p.order.add(s)
	p.draft.addService(p.draft.gen, s)
	return nil
}

func (p *Plane) newRules(c conf.Service, old *Service) (*serviceRules, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("service %v: %w", c.Key, err)
	}
	c.Servers = nil
	r := &serviceRules{conf: c, schedName: c.Scheduler, onePacket: c.OnePacket, service: old}
	if pe := c.Persistence; pe.Timeout > 0 {
		r.persistent, r.timeout, r.mask = true, conntrack.Ticks(pe.Timeout), netmask(c.Key, pe)
	}
	if old != nil && old.rules.Load().schedName == c.Scheduler {
		r.sched = old.rules.Load().sched
		r.sched.SetFlags(sched.Flags(c.SchedFlags))
		return r, nil
	}
	var list []*sched.Server
	if old != nil {
		for _, s := range old.servers {
			list = append(list, &s.Server)
		}
	}
	var err error
	r.sched, err = sched.Config{
		LBLCExpiration: p.sysctl.LBLCExpiration, LBLCRExpiration: p.sysctl.LBLCRExpiration, Random: p.random,
	}.New(c.Scheduler, sched.Flags(c.SchedFlags), list)
	if err != nil {
		return nil, fmt.Errorf("service %v: %w", c.Key, err)
	}
	return r, nil
}

// netmask is what a client's address is ANDed with to make its template's.
func netmask(k conf.ServiceKey, pe conf.Persistence) (m packet.Addr) {
	if k.Addr.Is6() || !k.Addr.IsValid() && k.V6 {
		n := pe.Prefix
		if n == 0 {
			n = 128
		}
		for i := range n {
			m[i/8] |= 0x80 >> (i % 8)
		}
		return m
	}
	for i := range 12 { // the prefix of a 16-byte IPv4 address stays
		m[i] = 0xff
	}
	a := [4]byte{255, 255, 255, 255}
	if pe.Netmask.IsValid() {
		a = pe.Netmask.As4()
	}
	copy(m[12:], a[:])
	return m
}

// EditService replaces everything about a service but its key and its servers.
func (p *Plane) EditService(c conf.Service) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.services[c.Key]
	if s == nil {
		return fmt.Errorf("edit %v: %w", c.Key, conf.ErrNoService)
	}
	r, err := p.newRules(c, s)
	if err != nil {
		return err
	}
	p.countEngine(s.rules.Load(), -1)
	p.countEngine(r, 1)
	s.rules.Store(r)
	return nil
}

// DeleteService removes a service; its servers go to the trash.
func (p *Plane) DeleteService(k conf.ServiceKey) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.services[k]
	if s == nil {
		return fmt.Errorf("delete %v: %w", k, conf.ErrNoService)
	}
	for _, srv := range s.servers {
		srv.Available.Store(false)
		p.discard(s, srv)
	}
	s.servers = nil
	delete(p.services, k)
	p.countEngine(s.rules.Load(), -1)
	p.order.remove(s)
	p.draft.dropService(p.draft.gen, s)
	p.stats.forget(s.ID)
	return nil
}

// discard takes a server of svc out of all but its service's list, and into the trash.
func (p *Plane) discard(svc *Service, s *Server) {
	p.draft.countServer(p.draft.gen, &svc.Key, s, s.rules.Load(), -1)
	delete(p.members, memberKey{svc, s.key.addr, s.key.port, s.key.v6})
	s.idleSince = 0
	p.trash.put(s)
}

// memberKey names a server of a service.
type memberKey struct {
	service *Service
	addr    packet.Addr
	port    uint16
	v6      bool
}

func memberOf(svc *Service, c *conf.Server) memberKey {
	return memberKey{svc, packet.AddrFrom(c.Addr), c.Port, c.Addr.Is6()}
}

func trashKey(k conf.ServiceKey, c *conf.Server) serverKey {
	sk := serverKey{addr: packet.AddrFrom(c.Addr), port: c.Port, v6: c.Addr.Is6(), proto: k.Proto, fwmark: k.Fwmark}
	if k.Fwmark == 0 {
		sk.vip, sk.vport = packet.AddrFrom(k.Addr), k.Port
	}
	return sk
}

// AddServer puts a server at the head of its service's list; one that still waits in
// the trash returns with its connections and counts.
func (p *Plane) AddServer(k conf.ServiceKey, c conf.Server) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc := p.services[k]
	if svc == nil {
		return fmt.Errorf("add server %v to %v: %w", c.Addr, k, conf.ErrNoService)
	}
	if err := c.Check(); err != nil {
		return fmt.Errorf("add server %v to %v: %w", c.Addr, k, err)
	}
	if p.members[memberOf(svc, &c)] != nil {
		return fmt.Errorf("add server %v to %v: %w", c.Addr, k, conf.ErrExists)
	}
	key := trashKey(k, &c)
	s := p.trash.find(key)
	if s == nil { // as in the kernel, one that returns is not judged again
		if err := p.env.oneMachine(c.Addr); err != nil {
			return fmt.Errorf("add server %v to %v: %w", c.Addr, k, err)
		}
	}
	if s != nil {
		p.trash.take(s)
		if s.service.Load() != svc { // a service made anew: its servers' figures begin at 0
			p.stats.zeroServer(s.ID)
		}
	} else {
		s = &Server{key: key}
		s.Addr, s.V6, s.Port = key.addr, key.v6, key.port
		s.ID = p.servers.add(s)
	}
	p.added++
	s.added = p.added
	p.setServer(s, &c)
	s.LastWeight.Store(int32(c.Weight))
	s.service.Store(svc)
	s.down.Store(false)
	s.Available.Store(true)
	svc.servers = slices.Insert(svc.servers, 0, s)
	p.members[memberOf(svc, &c)] = s
	p.draft.countServer(p.draft.gen, &svc.Key, s, s.rules.Load(), 1)
	svc.rules.Load().sched.Add(&s.Server)
	return nil
}

// setServer takes over what a command may change of a server (__ip_vs_update_dest).
func (p *Plane) setServer(s *Server, c *conf.Server) {
	s.rules.Store(&serverRules{conf: *c, method: c.Forward, tunnel: encap.Tunnel{
		Dst: packet.AddrFrom(c.Addr), V6: c.Addr.Is6(), Kind: encap.Kind(c.TunType), Port: c.TunPort, Csum: c.TunFlags != 0,
	}})
	s.setThresholds(int32(c.Upper), int32(c.Lower))
	s.Weight.Store(int32(c.Weight))
}

// EditServer replaces everything about a server but its address and port.
func (p *Plane) EditServer(k conf.ServiceKey, c conf.Server) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc, s, err := p.server("edit", k, &c)
	if err != nil {
		return err
	}
	p.draft.countServer(p.draft.gen, &svc.Key, s, s.rules.Load(), -1)
	p.setServer(s, &c)
	p.draft.countServer(p.draft.gen, &svc.Key, s, s.rules.Load(), 1)
	if c.Weight != 0 {
		s.LastWeight.Store(int32(c.Weight))
	}
	svc.rules.Load().sched.Edit(&s.Server)
	return nil
}

// DeleteServer takes a server out of its service. Its connections stay: packets from
// clients are dropped, answers still pass, unless expire_nodest_conn is set.
func (p *Plane) DeleteServer(k conf.ServiceKey, c conf.Server) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc, s, err := p.server("delete", k, &c)
	if err != nil {
		return err
	}
	s.Available.Store(false)
	svc.servers = slices.DeleteFunc(svc.servers, func(o *Server) bool { return o == s })
	svc.rules.Load().sched.Remove(&s.Server)
	p.discard(svc, s)
	return nil
}

func (p *Plane) server(verb string, k conf.ServiceKey, c *conf.Server) (*Service, *Server, error) {
	svc := p.services[k]
	if svc == nil {
		return nil, nil, fmt.Errorf("%s server %v of %v: %w", verb, c.Addr, k, conf.ErrNoService)
	}
	if verb == "edit" {
		if err := c.Check(); err != nil {
			return nil, nil, fmt.Errorf("edit server %v of %v: %w", c.Addr, k, err)
		}
	}
	s := p.members[memberOf(svc, c)]
	if s == nil {
		return nil, nil, fmt.Errorf("%s server %v port %d of %v: %w", verb, c.Addr, c.Port, k, conf.ErrNoServer)
	}
	return svc, s, nil
}
