package dataplane

import (
	"net/netip"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// ServiceStatus is a service as listings show it. Servers are in the kernel's list
// order, newest first.
type ServiceStatus struct {
	conf.Service // without Servers
	Figures
	Servers []ServerStatus
}

// ServerStatus is a real server as listings show it.
type ServerStatus struct {
	conf.Server
	Figures
	Active, Inactive, Persistent int
	Overload                     bool
}

// Services lists all services in the order they were added. Safe for concurrent use.
func (p *Plane) Services() []ServiceStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	out := make([]ServiceStatus, 0, len(p.order))
	for _, s := range p.order {
		out = append(out, p.status(s))
	}
	return out
}

// Zero makes the figures of a service and its servers, or with a nil key all, count
// from 0 again (ipvsadm -Z).
func (p *Plane) Zero(k *conf.ServiceKey) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	list := p.order
	if k != nil {
		s := p.services[*k]
		if s == nil {
			return conf.ErrNoService
		}
		list = []*Service{s}
	} else {
		p.stats.total.reset()
	}
	for _, s := range list {
		if f := p.stats.services[s.ID]; f != nil {
			f.reset()
		}
		for _, srv := range s.servers {
			if int(srv.ID) < len(p.stats.servers) {
				p.stats.servers[srv.ID].reset()
			}
		}
	}
	return nil
}

// Total are the figures of all services together. Safe for concurrent use.
func (p *Plane) Total() Figures {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	return p.stats.total.read()
}

// Conn is one entry of the connection table as listings show it.
type Conn struct {
	Proto                 uint8 // 0: the template of a fwmark service
	State                 string
	Expires               time.Duration // from now
	Client, Virtual, Dest netip.AddrPort
	Method                conf.Forward
	Template              bool
	Packets               uint32
	Engine, EngineData    string // persistence engine and what it found; "" for none
}

func (p *Plane) connOf(c *conntrack.Conn, now conntrack.Tick) Conn {
	left := time.Duration(0)
	if now.Before(c.Expires()) {
		left = time.Duration(c.Expires()-now) * conntrack.TickLen
	}
	virtual := c.Virtual.Netip()
	if c.Flags&conntrack.FlagV6 != 0 {
		virtual = netip.AddrFrom16(c.Virtual)
	}
	return Conn{
		Proto: c.Proto, State: c.StateName(), Expires: left,
		Client:  netip.AddrPortFrom(c.Client.Netip(), c.ClientPort),
		Virtual: netip.AddrPortFrom(virtual, c.VirtualPort),
		Dest:    netip.AddrPortFrom(c.Dest.Netip(), c.DestPort),
		Method:  conf.Forward(c.Method()), Template: c.Template(), Packets: c.InPkts,
	}
}

// EachConn calls f for every entry until it returns false. f may take its time. Safe for
// concurrent use.
func (p *Plane) EachConn(f func(Conn) bool) {
	now := conntrack.TickOf(p.clock())
	p.conns.Each(func(r conntrack.Ref, c *conntrack.Conn) bool {
		conn := p.connOf(c, now)
		if c.Template() && c.ClientPort != 0 { // stored under the digest of what its engine found
			conn.Client = netip.AddrPortFrom(conn.Client.Addr(), 0)
			conn.Engine, conn.EngineData, _ = p.engine.Data(r)
		}
		return f(conn)
	})
}

// Timeouts are the three that ipvsadm --set changes: ESTABLISHED, FIN_WAIT, UDP.
func (p *Plane) Timeouts() (tcp, fin, udp time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := func(t conntrack.Tick) time.Duration { return time.Duration(t) * conntrack.TickLen }
	return d(p.timeouts.TCP[conntrack.TCPEstablished]), d(p.timeouts.TCP[conntrack.TCPFinWait]), d(p.timeouts.UDP)
}

// Lingering lists servers that were removed and still have connections, each in a
// service of its own with the key it had. Safe for concurrent use.
func (p *Plane) Lingering() (list []conf.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.trash {
		if s.References() > 0 {
			svc := s.service.Load()
			c := svc.rules.Load().conf
			c.Servers = []conf.Server{s.rules.Load().conf}
			list = append(list, c)
		}
	}
	return list
}

// Ports are the counters of each port so far, in the environment's order. Safe for
// concurrent use.
func (p *Plane) Ports() []PortCounters {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	return append([]PortCounters(nil), p.stats.ports...)
}

// Serves reports whether the workers take an address for a virtual service's.
func (p *Plane) Serves(a netip.Addr) bool { return p.table.Load().vips[packet.AddrFrom(a)] }
