package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

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
		broadcasts: make(map[packet.Addr]bool), natServers: make(map[serviceAddr]bool), natHosts: make(map[serviceAddr]bool), natMarks: make(map[serviceAddr][]uint32),
		sysctl: p.sysctl, timeouts: p.timeouts, starters: p.starters(),
	}
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
	for k, s := range p.services {
		if k.V6Service() {
			t.families[1] = true
		} else {
			t.families[0] = true
		}
		for _, srv := range s.servers {
			r := srv.rules.Load()
			if r.method == conf.NAT && k.Port == ftpPort {
				if k.V6Service() {
					t.tracked[1] = true
				} else {
					t.tracked[0] = true
				}
			}
			switch {
			case r.method == conf.Tunnel:
				t.tunnels[srv.Addr] = r.tunnel
			case r.method == conf.NAT && k.Fwmark != 0 && srv.Port == 0:
				a := serviceAddr{addr: srv.Addr, v6: srv.V6}
				t.natMarks[a] = append(t.natMarks[a], k.Fwmark)
				t.natHosts[a], t.natServers[a] = true, true
			case r.method == conf.NAT:
				t.natServers[serviceAddr{srv.Addr, srv.Port, k.Proto, srv.V6}] = true
				t.natHosts[serviceAddr{srv.Addr, 0, k.Proto, srv.V6}] = true
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
