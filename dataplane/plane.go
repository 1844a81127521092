package dataplane

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
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
	ftp       ftpTable
	available func() int
	icmpRate  int
	neighbors *arp.Cache
	clock     Clock
	random    func(n uint64) uint64 // for twos; nil: the scheduler's own
	table     atomic.Pointer[Table]
	servers   serverTable
	echo      bool // answer echo requests to VIPs
	resolver  func(packet.Addr) packet.MAC
	ipID      uint16 // shared by the workers of a replay
	workers   []*Worker
	stats     stats
	watchers  atomic.Pointer[[]*Watcher] // nil: none

	mu       sync.Mutex // guards what follows
	env      Environment
	sysctl   conf.Sysctl
	timeouts conntrack.Timeouts
	marks    []conf.Mark
	draft    Table // the next table: what Publish lets the workers see
	services map[conf.ServiceKey]*Service
	engines  int // how many of services countEngine counts
	order    serviceOrder
	members  map[memberKey]*Server // the servers of all services
	trash    trash
	pins     pins
	svcIDs   uint32
	added    uint64 // servers so far
	orphans  bool   // ExpireOrphans has found some
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
	ICMPRate       int        // ICMP errors the director makes in a second; 0: no limit
	// Resolver, if set, gives the link address of every next hop, and the neighbour cache is
	// not asked. It makes a replay: workers then also share one counter of outer IP ids.
	Resolver func(packet.Addr) packet.MAC
	NoEcho   bool // leave echo requests to VIPs to the host, which has those addresses itself
}

// New makes a data plane without ports, services or workers.
func New(cfg Config) (*Plane, error) {
	p := &Plane{clock: cfg.Clock, random: cfg.Random, neighbors: cfg.Neighbors, echo: !cfg.NoEcho, resolver: cfg.Resolver, available: cfg.Available, icmpRate: cfg.ICMPRate, services: map[conf.ServiceKey]*Service{}, members: map[memberKey]*Server{}}
	p.timeouts = conntrack.DefaultTimeouts()
	p.sysctl = conf.Default().Sysctl
	p.env.HostPort = -1
	p.draft = Table{gen: 1, hostPort: -1}
	var err error
	p.conns, err = conntrack.New(conntrack.Config{Max: cfg.MaxConnections, Seed: cfg.Seed, Owner: p})
	if err != nil {
		return nil, err
	}
	p.engine = conntrack.NewEngine(p.conns)
	p.dropper.OnePacket = p.onePacket
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
	if c.Flags&conntrack.FlagApp != 0 {
		p.ftp.drop(r)
	}
	if c.Server != conntrack.NoServer {
		p.servers.at(c.Server).unbind(c)
	}
}

// SetEnvironment replaces ports and routes; Publish makes it seen.
func (p *Plane) SetEnvironment(env Environment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.env = env
	p.compileEnvironment()
}

// SetSysctl replaces the kernel-named settings; Publish makes it seen.
func (p *Plane) SetSysctl(s conf.Sysctl) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sysctl = s
	for svc := range p.order.all() {
		r := svc.rules.Load()
		if e, ok := r.sched.(sched.Expirer); ok {
			if r.schedName == "lblcr" {
				e.SetExpiration(s.LBLCRExpiration)
			} else {
				e.SetExpiration(s.LBLCExpiration)
			}
		}
	}
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
	p.compileMarks()
}

// onePacket reports whether a server's service schedules every packet anew.
func (p *Plane) onePacket(server uint32) bool {
	return p.servers.at(server).service.Load().rules.Load().onePacket
}
