package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/packet"
)

// Publish lets the workers take up all that was changed since, with their next batch.
func (p *Plane) Publish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.publish()
}

func (p *Plane) publish() {
	t := p.draft
	t.sysctl, t.timeouts, t.starters = p.sysctl, p.timeouts, p.starters()
	p.table.Store(&t)
	p.draft.gen++ // what t holds is t's from here on: the draft copies before it changes
}

// compileEnvironment writes what follows from ports and routes into the next table.
func (p *Plane) compileEnvironment() {
	t := &p.draft
	links := make([]Link, len(p.env.Ports))
	t.ports, t.hostPort = make([]portInfo, len(p.env.Ports)), p.env.HostPort
	t.ownPorts = p.env.OwnPorts
	t.own, t.broadcasts = make(map[packet.Addr]bool), make(map[packet.Addr]bool)
	for i, e := range p.env.Ports {
		links[i] = e.Link
		t.ports[i] = portInfo{Link: e.Link, guarded: e.Guarded}
		for _, a := range slices.Backward(e.Addresses) {
			t.own[packet.AddrFrom(a.Addr())] = true
			if b, ok := broadcast(a); ok {
				t.broadcasts[b] = true
			}
			if a.Addr().Is4() {
				t.ports[i].addr4 = packet.AddrFrom(a.Addr())
			} else if !a.Addr().IsLinkLocalUnicast() {
				t.ports[i].addr6 = packet.AddrFrom(a.Addr())
			}
		}
	}
	t.routes = compileRoutes(p.env.Routes, links)
	p.compileMarks()
}

// compileMarks writes the mark rules, which name ports, into the next table.
func (p *Plane) compileMarks() {
	p.draft.marks = nil
	for _, m := range p.marks {
		r := markRule{Mark: m, port: -1}
		if m.InPort != "" {
			r.port = slices.IndexFunc(p.env.Ports, func(e PortEnv) bool { return e.Name == m.InPort })
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
		p.draft.marks = append(p.draft.marks, r)
	}
}

// broadcast is the broadcast address of an interface's IPv4 subnet; links of two
// (RFC 3021) and single addresses have none.
func broadcast(p netip.Prefix) (packet.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return packet.Addr{}, false
	}
	b := p.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|(1<<(32-p.Bits())-1))
	return packet.AddrFrom4(b), true
}
