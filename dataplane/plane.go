package dataplane

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/sched"
)

// Plane is the data plane as its one writer sees it: services and servers are changed
// through it, and Publish lets the workers see the result. Its methods are for one
// caller at a time, but for those that say otherwise.
type Plane struct {
	conns     *conntrack.Table
	engine    *conntrack.Engine
	defence   conntrack.Defence
	available func() int
	neighbors *arp.Cache
	clock     Clock
	random    func(n uint64) uint64 // for twos; nil: the scheduler's own
	table     atomic.Pointer[Table]
	servers   atomic.Pointer[[]*Server] // by id; only grows, freed slots are nil and used again
	echo      bool                      // answer echo requests to VIPs
	resolver  func(packet.Addr) packet.MAC
	ipID      uint16 // shared by the workers of a replay
	workers   []*Worker
	stats     stats

	mu       sync.Mutex // guards what follows
	env      Environment
	sysctl   conf.Sysctl
	timeouts conntrack.Timeouts
	marks    []conf.Mark
	services map[conf.ServiceKey]*Service
	order    []*Service // in the order they were added
	trash    []*Server
	freeIDs  []uint32
	svcIDs   uint32
	orphans  bool // ExpireOrphans has found some
	dropper  conntrack.Dropper
}

// Config of a Plane.
type Config struct {
	MaxConnections int
	Clock          Clock
	Seed           [2]uint64             // of the connection table's hash; zero: random
	Random         func(n uint64) uint64 // uniform in [0, n), for twos; nil: random
	Neighbors      *arp.Cache
	Available      func() int // free and buffer memory in pages of 4 KiB, for the defences; nil: plenty
	// Resolver, if set, gives the link address of every next hop, and the neighbour cache is
	// not asked. It makes a replay: workers then also share one counter of outer IP ids.
	Resolver func(packet.Addr) packet.MAC
	NoEcho   bool // leave echo requests to VIPs to the host, which has those addresses itself
}

// New makes a data plane without ports, services or workers.
func New(cfg Config) (*Plane, error) {
	p := &Plane{clock: cfg.Clock, random: cfg.Random, neighbors: cfg.Neighbors, echo: !cfg.NoEcho, resolver: cfg.Resolver, available: cfg.Available, services: map[conf.ServiceKey]*Service{}}
	p.servers.Store(&[]*Server{})
	p.timeouts = conntrack.DefaultTimeouts()
	p.sysctl = conf.Sysctl{ConnReuseMode: 1, PMTUDisc: true, AmDroprate: 10, Amemthresh: 1024,
		LBLCExpiration: 24 * time.Hour, LBLCRExpiration: 24 * time.Hour}
	p.env.HostPort = -1
	var err error
	p.conns, err = conntrack.New(conntrack.Config{Max: cfg.MaxConnections, Seed: cfg.Seed, Owner: p})
	if err != nil {
		return nil, err
	}
	p.engine = conntrack.NewEngine(p.conns)
	p.table.Store(&Table{hostPort: -1, timeouts: p.timeouts, sysctl: p.sysctl})
	return p, nil
}

// Conns is the connection table.
func (p *Plane) Conns() *conntrack.Table { return p.conns }

// Neighbors is the neighbour cache.
func (p *Plane) Neighbors() *arp.Cache { return p.neighbors }

// Now reads the data plane's clock.
func (p *Plane) Now() time.Duration { return p.clock() }

// Ended gives back what an entry counted for its server; the connection table calls it.
func (p *Plane) Ended(r conntrack.Ref, c *conntrack.Conn) {
	if c.Template() {
		p.engine.Drop(r)
	}
	if c.Server != conntrack.NoServer {
		(*p.servers.Load())[c.Server].unbind(c)
	}
}

// SetEnvironment replaces ports and routes; Publish makes it seen.
func (p *Plane) SetEnvironment(env Environment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.env = env
}

// SetSysctl replaces the kernel-named settings; Publish makes it seen.
func (p *Plane) SetSysctl(s conf.Sysctl) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sysctl = s
	p.defend()
}

// SetTimeouts is ipvsadm --set: a zero leaves its timeout as it is. Later packets use
// the new ones; running timers are not touched.
func (p *Plane) SetTimeouts(tcp, fin, udp time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if tcp > 0 {
		p.timeouts.TCP[conntrack.TCPEstablished] = conntrack.Ticks(tcp)
	}
	if fin > 0 {
		p.timeouts.TCP[conntrack.TCPFinWait] = conntrack.Ticks(fin)
	}
	if udp > 0 {
		p.timeouts.UDP = conntrack.Ticks(udp)
	}
}

// SetMarks replaces the classification rules; Publish makes it seen.
func (p *Plane) SetMarks(m []conf.Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marks = slices.Clone(m)
}

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
	p.order = append(p.order, s)
	return nil
}

func (p *Plane) newRules(c conf.Service, old *Service) (*serviceRules, error) {
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
		p.discard(srv)
	}
	s.servers = nil
	delete(p.services, k)
	p.order = slices.DeleteFunc(p.order, func(o *Service) bool { return o == s })
	p.stats.forget(s.ID)
	return nil
}

// discard puts a server, out of its service's list by now, into the trash.
func (p *Plane) discard(s *Server) {
	s.idleSince = 0
	p.trash = append(p.trash, s)
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
	key := trashKey(k, &c)
	if find(svc.servers, key) != nil {
		return fmt.Errorf("add server %v to %v: %w", c.Addr, k, conf.ErrExists)
	}
	s := find(p.trash, key)
	if s != nil {
		p.trash = slices.DeleteFunc(p.trash, func(o *Server) bool { return o == s })
		if s.service.Load() != svc { // a service made anew: its servers' figures begin at 0
			p.stats.zeroServer(s.ID)
		}
	} else {
		s = &Server{key: key}
		s.Addr, s.V6, s.Port = key.addr, key.v6, key.port
		s.ID = p.newID(s)
	}
	p.setServer(s, &c)
	s.LastWeight.Store(int32(c.Weight))
	s.service.Store(svc)
	s.Available.Store(true)
	svc.servers = slices.Insert(svc.servers, 0, s)
	svc.rules.Load().sched.Add(&s.Server)
	return nil
}

// newID gives s a number and makes the workers able to find it.
func (p *Plane) newID(s *Server) uint32 {
	list := *p.servers.Load()
	if n := len(p.freeIDs); n > 0 {
		id := p.freeIDs[n-1]
		p.freeIDs = p.freeIDs[:n-1]
		list = slices.Clone(list)
		list[id] = s
		p.servers.Store(&list)
		return id
	}
	list = append(list, s)
	p.servers.Store(&list)
	return uint32(len(list) - 1)
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
	p.setServer(s, &c)
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
	p.discard(s)
	return nil
}

func (p *Plane) server(verb string, k conf.ServiceKey, c *conf.Server) (*Service, *Server, error) {
	svc := p.services[k]
	if svc == nil {
		return nil, nil, fmt.Errorf("%s server %v of %v: %w", verb, c.Addr, k, conf.ErrNoService)
	}
	s := find(svc.servers, trashKey(k, c))
	if s == nil {
		return nil, nil, fmt.Errorf("%s server %v port %d of %v: %w", verb, c.Addr, c.Port, k, conf.ErrNoServer)
	}
	return svc, s, nil
}

func find(list []*Server, k serverKey) *Server {
	for _, s := range list {
		if s.key == k {
			return s
		}
	}
	return nil
}

// Publish compiles a new table and lets the workers take it up with their next batch.
func (p *Plane) Publish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.publish()
}

func (p *Plane) publish() {
	old := p.table.Load()
	links := make([]Link, len(p.env.Ports))
	t := &Table{
		gen: old.gen + 1, ports: make([]portInfo, len(p.env.Ports)), hostPort: p.env.HostPort,
		services: make(map[serviceAddr]*Service, len(p.services)), fwmarks: map[fwmarkKey]*Service{},
		vips: make(map[packet.Addr]bool), own: make(map[packet.Addr]bool), tunnels: make(map[packet.Addr]encap.Tunnel),
		sysctl: p.sysctl, timeouts: p.timeouts,
	}
	for i, e := range p.env.Ports {
		links[i] = e.Link
		t.ports[i] = portInfo{Link: e.Link}
		for _, a := range slices.Backward(e.Addresses) {
			t.own[packet.AddrFrom(a.Addr())] = true
			if a.Addr().Is4() {
				t.ports[i].addr4 = packet.AddrFrom(a.Addr())
			} else if !a.Addr().IsLinkLocalUnicast() {
				t.ports[i].addr6 = packet.AddrFrom(a.Addr())
			}
		}
	}
	t.routes = compileRoutes(p.env.Routes, links)
	for _, m := range p.marks {
		r := markRule{Mark: m, port: -1}
		if m.InPort != "" {
			r.port = slices.IndexFunc(links, func(l Link) bool { return l.Name == m.InPort })
			if r.port < 0 {
				continue // validated before: only a port that could not be opened
			}
		}
		for _, s := range m.Source {
			r.source = append(r.source, newPrefix(s))
		}
		for _, d := range m.Dest {
			r.dest = append(r.dest, newPrefix(d))
		}
		t.marks = append(t.marks, r)
	}
	if p.sysctl.NATICMPSend {
		t.natServers = map[serviceAddr]bool{}
	}
	for k, s := range p.services {
		if k.V6Service() {
			t.families[1] = true
		} else {
			t.families[0] = true
		}
		for _, srv := range s.servers {
			switch r := srv.rules.Load(); {
			case r.method == conf.Tunnel:
				t.tunnels[srv.Addr] = r.tunnel
			case r.method == conf.NAT && t.natServers != nil:
				t.natServers[serviceAddr{srv.Addr, srv.Port, k.Proto, srv.V6}] = true
			}
		}
		if k.Fwmark != 0 {
			t.fwmarks[fwmarkKey{k.Fwmark, k.V6}] = s
			t.port0 = true
			continue
		}
		t.services[serviceAddr{s.vip, k.Port, k.Proto, k.Addr.Is6()}] = s
		t.vips[s.vip] = true
		t.port0 = t.port0 || k.Port == 0
		t.ftp = t.ftp || k.Port == ftpPort && k.Proto == packet.TCP
	}
	p.table.Store(t)
}

// ExpireOrphans ends the connections of servers that are no longer configured, if
// expire_nodest_conn says so (the kernel does it a tick after the removal), and returns
// how many. Parents are passed over while they have children: call it again a tick
// later, until there are none; Housekeep does that too.
func (p *Plane) ExpireOrphans() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expireOrphans()
}

func (p *Plane) expireOrphans() int {
	if !p.sysctl.ExpireNodestConn {
		return 0
	}
	servers, now := *p.servers.Load(), conntrack.TickOf(p.clock())
	p.conns.Advance(now, 0, 1) // children of the last call end, and leave parents without any
	n := p.conns.ExpireIf(now, func(c *conntrack.Conn) bool {
		return c.Server != conntrack.NoServer && !servers[c.Server].Available.Load()
	})
	p.orphans = n > 0
	return n
}

// trashIdle is how long an unreferenced server waits in the trash
// (IP_VS_DEST_TRASH_PERIOD, 120 s).
const trashIdle = 120 * time.Second

// Housekeep does what is due from time to time: schedulers' caches, and servers in the
// trash that nothing refers to. The writer calls it about once a second.
func (p *Plane) Housekeep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	p.defend()
	if p.orphans {
		p.expireOrphans()
	}
	for _, s := range p.order {
		s.rules.Load().sched.Housekeep(now)
	}
	kept := p.trash[:0]
	for _, s := range p.trash {
		switch {
		case s.References() > 0:
			s.idleSince = 0
		case s.idleSince == 0:
			s.idleSince = now
		case now-s.idleSince >= trashIdle:
			list := slices.Clone(*p.servers.Load())
			list[s.ID] = nil
			p.servers.Store(&list)
			p.freeIDs = append(p.freeIDs, s.ID)
			p.stats.forgetServer(s.ID)
			continue
		}
		kept = append(kept, s)
	}
	clear(p.trash[len(kept):])
	p.trash = kept
}
