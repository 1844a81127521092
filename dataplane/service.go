package dataplane

import (
	"sync/atomic"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/sched"
)

// Service is a virtual service as the workers see it. The object lives as long as the
// service is configured; what an edit changes is in rules, swapped at once.
type Service struct {
	ID      uint32
	Key     conf.ServiceKey
	vip     packet.Addr // zero for a fwmark service
	rules   atomic.Pointer[serviceRules]
	servers []*Server // list order of the kernel: newest first. Control plane only
	at      int       // place in Plane.order
}

// serviceRules is what an edit of a service replaces.
type serviceRules struct {
	conf       conf.Service // without its servers
	sched      sched.Scheduler
	schedName  string
	persistent bool
	timeout    conntrack.Tick // of templates
	mask       packet.Addr    // ANDed with the client's address
	onePacket  bool
	service    *Service
}

// Server is a real server as the workers see it. It outlives its removal as long as
// connections refer to it (the kernel's dest trash), and comes back with its counts
// when it is added again meanwhile.
type Server struct {
	sched.Server // ID is the number that connections keep
	key          serverKey
	added        uint64 // when it was added last: the count of additions
	service      atomic.Pointer[Service]
	rules        atomic.Pointer[serverRules]
	persistent   atomic.Int32 // templates bound to it (kernel: persistconns)
	upper, lower atomic.Int32
	down         atomic.Bool  // see SetDown
	refusals     atomic.Int32 // since Signs looked: those that clients were not told of, and those after them
	mtu          atomic.Int32 // of the path, as a router said; see pathMTU
	mtuUntil     atomic.Int64
	trashAt      int           // place in the trash
	idleSince    time.Duration // in the trash, or of pins, and unreferenced since; 0: not yet seen so
	pinned       bool          // of a Pin's connections, and in no list
}

// serverKey is what a server must agree in to be taken out of the trash
// (ip_vs_trash_get_dest): for an address service the service's end counts too.
type serverKey struct {
	addr   packet.Addr
	port   uint16
	v6     bool
	proto  uint8
	vip    packet.Addr
	vport  uint16
	fwmark uint32
}

// serverRules is what an edit of a server replaces.
type serverRules struct {
	conf   conf.Server
	method conf.Forward
	tunnel encap.Tunnel // for connections of method conf.Tunnel, also older ones; its source address comes from the route
}

// References is how many entries are bound to s.
func (s *Server) References() int {
	return int(s.Active.Load() + s.Inactive.Load() + s.persistent.Load())
}

// bind counts a new entry for its server (ip_vs_bind_dest), and tells the schedulers
// when the upper threshold is reached.
func (s *Server) bind(c *conntrack.Conn) {
	switch {
	case c.Template():
		s.persistent.Add(1)
	case c.Flags&conntrack.FlagInactive != 0:
		s.Inactive.Add(1)
	default:
		s.Active.Add(1)
	}
	if u := s.upper.Load(); u != 0 && s.Active.Load()+s.Inactive.Load() >= u {
		s.Overload.Store(true)
	}
}

// unbind takes the entry's count back (ip_vs_unbind_dest).
func (s *Server) unbind(c *conntrack.Conn) {
	switch {
	case c.Template():
		s.persistent.Add(-1)
	case c.Flags&conntrack.FlagInactive != 0:
		s.Inactive.Add(-1)
	default:
		s.Active.Add(-1)
	}
	if !s.Overload.Load() {
		return
	}
	total, u, l := s.Active.Load()+s.Inactive.Load(), s.upper.Load(), s.lower.Load()
	switch {
	case l != 0:
		if total < l {
			s.Overload.Store(false)
		}
	case u != 0:
		if int64(total)*4 < int64(u)*3 {
			s.Overload.Store(false)
		}
	default:
		s.Overload.Store(false)
	}
}

// setThresholds changes the thresholds and judges the load anew by them, as Linux 6.1.192
// does: a server that is already at its upper one is taken out at once.
func (s *Server) setThresholds(u, l int32) {
	changed := u != s.upper.Load() || l != s.lower.Load()
	s.upper.Store(u)
	s.lower.Store(l)
	total := s.Active.Load() + s.Inactive.Load()
	switch {
	case u == 0:
		s.Overload.Store(false)
	case changed && total >= u:
		s.Overload.Store(true)
	case changed && (l != 0 && total < l || l == 0 && total < u-u/4):
		s.Overload.Store(false)
	}
}

// moved follows a connection's change between active and inactive.
func (s *Server) moved(ch conntrack.Change) {
	switch {
	case ch&conntrack.Activated != 0:
		s.Active.Add(1)
		s.Inactive.Add(-1)
	case ch&conntrack.Deactivated != 0:
		s.Active.Add(-1)
		s.Inactive.Add(1)
	}
}

// flags are the entry flags that a server gives its connections: its method, NOOUTPUT
// unless it is NAT, and INACTIVE always (ip_vs_bind_dest with dest->conn_flags).
func (r *serverRules) flags() conntrack.Flags {
	f := conntrack.Flags(r.method) | conntrack.FlagInactive
	if r.method != conf.NAT {
		f |= conntrack.FlagNoOutput
	}
	if r.conf.Addr.Is6() {
		f |= conntrack.FlagDestV6
	}
	return f
}
