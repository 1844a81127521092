package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// A Pin leads one connection of the director's own host, a health probe's, to one real
// server by the server's method, past service, template, scheduler, weight and threshold.
//
// It is an entry of the connection table, made before the connection's first packet: the
// workers find it as any other, so that packets without one cost what they did. The
// entry is bound to a server object of its own, which stands in no service's list: what a
// probe sends counts for no service and no scheduler, and a server that was taken out of
// the list can be asked whether it is well again. A Pin is held: no timer and no defence
// ends the entry before Unpin, or a late packet would be scheduled to somebody else.
type Pin struct {
	ref conntrack.Ref
	key conntrack.Key // client's and service's ends
}

// pins are the pins that exist. Guarded by Plane.mu.
type pins struct {
	servers map[ServerOf]*Server
	used    int      // pins made and not yet gone
	ending  []ending // after Unpin, the oldest first
}

type ending struct {
	pin Pin
	at  time.Duration
}

const (
	// MaxPins bounds how many Pins exist.
	MaxPins = 1 << 16

	// pinLinger is how long an entry stays after Unpin: the connection's last packets, its
	// reset above all, are still under way to the server.
	pinLinger = 2 * time.Second
)

// Errors of Pin.
var (
	// ErrPinned says that a connection of these ends exists: take another source port.
	ErrPinned = errors.New("there is a connection of these ends")
	// ErrPins says that there are MaxPins.
	ErrPins = errors.New("too many pinned connections")
)

// Pin prepares a connection from client, an address of the host, to the service of key k:
// to its address and port, which a service without a port leaves open (host byte order).
// Only address, port, method and tunnel of c count; it need not be a server of the
// service (any more). The connection has to be begun at once, and ended before Unpin.
// Safe for concurrent use.
func (p *Plane) Pin(k conf.ServiceKey, port uint16, c *conf.Server, client netip.AddrPort) (Pin, error) {
	switch {
	case k.Proto != packet.TCP && k.Proto != packet.UDP || !k.Addr.IsValid():
		return Pin{}, fmt.Errorf("pin to %v: want a TCP or UDP service with an address", k)
	case c.Forward != conf.NAT && c.Forward != conf.DR && c.Forward != conf.Tunnel:
		return Pin{}, fmt.Errorf("pin to server %v of %v: forwarding method %v leads to no other machine", c.Addr, k, c.Forward)
	case client.Addr().Is6() != k.Addr.Is6():
		return Pin{}, fmt.Errorf("pin from %v to %v: not of one IP family", client, k)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pins.used >= MaxPins {
		return Pin{}, ErrPins
	}
	s := p.pinServer(k, c)
	e := conntrack.Conn{
		Client: packet.AddrFrom(client.Addr()), ClientPort: client.Port(), Virtual: packet.AddrFrom(k.Addr), VirtualPort: port,
		Dest: s.Addr, DestPort: c.Port, Proto: k.Proto, Server: s.ID, Flags: s.rules.Load().flags(), Timeout: conntrack.Initial,
	}
	if e.DestPort == 0 {
		e.DestPort = port
	}
	if k.Addr.Is6() {
		e.Flags |= conntrack.FlagV6
	}
	in := conntrack.Key{Client: e.Client, ClientPort: e.ClientPort, Other: e.Virtual, OtherPort: e.VirtualPort, Proto: e.Proto, V6: k.Addr.Is6()}
	out := in
	if c.Forward == conf.NAT {
		out.Other, out.OtherPort = e.Dest, e.DestPort
	}
	now := conntrack.TickOf(p.clock())
	sh, h := p.conns.Lock(e.Proto, &e.Client, e.ClientPort, now)
	defer sh.Unlock()
	if sh.In(h, &in) != 0 || sh.Out(h, &out) != 0 {
		return Pin{}, ErrPinned
	}
	ref, err := sh.Insert(h, &e, 0, now)
	if err != nil {
		return Pin{}, err
	}
	p.conns.Hold(ref)
	s.bind(sh.At(ref))
	p.pins.used++
	return Pin{ref, in}, nil
}

// pinServer is the server object of pins to c, by the rules that c has now.
func (p *Plane) pinServer(k conf.ServiceKey, c *conf.Server) *Server {
	of := ServerOf{k, c.ID()}
	s := p.pins.servers[of]
	if s == nil {
		if p.pins.servers == nil {
			p.pins.servers = map[ServerOf]*Server{}
		}
		nobody := &Service{Key: k} // not the service itself: its figures are its clients'
		nobody.rules.Store(&serviceRules{conf: conf.Service{Key: k}, service: nobody})
		s = &Server{pinned: true}
		s.Addr, s.V6, s.Port = packet.AddrFrom(c.Addr), c.Addr.Is6(), c.Port
		s.ID = p.servers.add(s)
		s.service.Store(nobody)
		s.Available.Store(true)
		p.pins.servers[of] = s
	}
	p.setServer(s, &conf.Server{Addr: c.Addr, Port: c.Port, Forward: c.Forward, Weight: 1,
		TunType: c.TunType, TunPort: c.TunPort, TunFlags: c.TunFlags})
	s.idleSince = 0
	return s
}

// Unpin ends a pin whose connection was closed. Safe for concurrent use.
func (p *Plane) Unpin(pin Pin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pins.ending = append(p.pins.ending, ending{pin, p.clock() + pinLinger})
}

// unpin takes away the entries whose time is over, and the server objects that none is
// bound to any more.
func (p *Plane) unpin(now time.Duration) {
	q := p.pins.ending
	for ; len(q) > 0 && now >= q[0].at; q = q[1:] {
		pin, tick := &q[0].pin, conntrack.TickOf(now)
		sh, _ := p.conns.Lock(pin.key.Proto, &pin.key.Client, pin.key.ClientPort, tick)
		sh.Disable(pin.ref)
		p.conns.Release(pin.ref)
		sh.Expire(pin.ref, tick)
		sh.Unlock()
		p.pins.used--
	}
	p.pins.ending = append(p.pins.ending[:0], q...)
	for of, s := range p.pins.servers {
		if p.idle(s, now) {
			delete(p.pins.servers, of)
		}
	}
}

// Pins is how many pins exist. Safe for concurrent use.
func (p *Plane) Pins() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pins.used
}

// answerHost gives a NAT server's answer to a connection of the director's own host to
// the host. It must have come by the port that leads to the server: one that came by
// another was sent to the director as any other address is, by a way that would have
// taken a client's answer past it. Only so a server with a wrong gateway is found.
func (w *Worker) answerHost(f *packet.Frame, a *action) (Verdict, Reason) {
	if w.table.hostPort < 0 {
		return Drop, NoHostPort
	}
	if rt := w.route(&f.Flow.Src); rt == nil || rt.kind != Unicast || rt.port != f.Port {
		w.explainWhy(whyAstray)
		return Drop, StrayAnswer
	}
	encap.Source(f, a.addr, a.port)
	return w.send(f, uint16(w.table.hostPort), &noHop, ForwardReply)
}

// toProbe reports whether the guard keeps a packet from the host as it looks like an
// answer to a connection of the director's own: from a NAT server, or, from others, with
// the service's address.
func (w *Worker) toProbe(fl *packet.Flow) bool {
	t := w.table
	if p := t.ownPorts; p.First == 0 || fl.DstPort < p.First || fl.DstPort > p.Last || !w.hosts(fl.Dst) {
		return false
	}
	return t.answers(fl) || t.services.get(serviceAddr{fl.Src, fl.SrcPort, fl.Proto, fl.V6}) != nil ||
		t.port0 > 0 && t.services.get(serviceAddr{fl.Src, 0, fl.Proto, fl.V6}) != nil
}
