package arp

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/packet"
)

// PortConfig is what the cache needs to know of one port. The zero PortConfig is a
// port without Ethernet (a tun): nothing is asked, answered or announced there.
type PortConfig struct {
	MAC packet.MAC // source of everything sent, and the answer for every VIP
	// Addresses are the director's own addresses (DIPs) on the port with their
	// subnets: the sources of its queries.
	Addresses []netip.Prefix
	// VIPs are the addresses the port answers for and announces. One that is also among
	// Addresses, as when a host carries it, is no source of queries: that would move the
	// neighbours' traffic for it (arp_announce=2).
	VIPs []packet.Addr
	// AnswerAddresses: answer for Addresses too, for those the host's own stack does
	// not hold and so does not answer for.
	AnswerAddresses bool
}

// port is a PortConfig compiled.
type port struct {
	mac       packet.MAC
	prefixes  []netip.Prefix         // the own addresses
	sources   []source               // those that are no VIP of any port
	vips      map[packet.Addr]uint64 // with the turn at which each came: they are announced in that order
	turn      uint64
	addresses map[packet.Addr]bool
	answer    bool // for addresses too
}

// source is an own address and the length of its subnet's prefix.
type source struct {
	addr packet.Addr
	bits int
}

// SetPorts replaces the ports; a port's index is its number everywhere else. VIPs that
// the port did not own before under the same MAC are announced from the next Step on,
// the others are not announced again. Neighbours of a port that is gone, or has
// another MAC and so is another port, are forgotten, except static ones.
func (c *Cache) SetPorts(configs []PortConfig) {
	ports, owned := make([]port, len(configs)), make(map[packet.Addr]int)
	for i := range configs {
		ports[i] = compile(&configs[i], owned)
	}
	for i := range ports {
		ports[i].findSources(owned)
	}
	c.mu.Lock()
	defer c.unlock()
	old := c.ports
	c.ports, c.owned = ports, owned
	kept := func(i int) bool {
		return i >= 0 && i < min(len(old), len(c.ports)) && old[i].mac == c.ports[i].mac
	}
	for i := range c.table.slab {
		if e := &c.table.slab[i]; e.state != 0 && e.state != Permanent && !kept(int(e.key.port)) {
			c.forget(ref(i))
		}
	}
	c.announce.keep(func(a announcement) bool { return kept(a.port) && c.ports[a.port].owns(a.vip) })
	c.announce.start(c.vips(func(i int, vip packet.Addr) bool {
		return !kept(i) || !old[i].owns(vip)
	}), c.cfg.Announcements)
}

// VIPChange says that a port owns an address from now on, or that it does no more.
type VIPChange struct {
	Port int
	VIP  packet.Addr
	Own  bool
}

// ChangeVIPs is SetPorts for a few VIPs of ports that stay as they are; it costs what it
// changes. New VIPs are announced from the next Step on.
func (c *Cache) ChangeVIPs(changes []VIPChange) {
	c.mu.Lock()
	defer c.unlock()
	var came []announcement
	type place struct {
		port int
		vip  packet.Addr
	}
	lost := map[place]bool{}
	for _, ch := range changes {
		p := &c.ports[ch.Port]
		if p.owns(ch.VIP) == ch.Own {
			continue
		}
		if ch.Own {
			p.own(ch.VIP, c.owned)
			if p.mac != (packet.MAC{}) {
				came = append(came, announcement{port: ch.Port, vip: ch.VIP})
			}
		} else {
			delete(p.vips, ch.VIP)
			if c.owned[ch.VIP]--; c.owned[ch.VIP] == 0 {
				delete(c.owned, ch.VIP)
			}
			lost[place{ch.Port, ch.VIP}] = true
		}
		for i := range c.ports {
			if c.ports[i].addresses[ch.VIP] {
				c.ports[i].findSources(c.owned)
			}
		}
	}
	if len(lost) > 0 {
		c.announce.keep(func(a announcement) bool { return !lost[place{a.port, a.vip}] })
	}
	came = slices.DeleteFunc(came, func(a announcement) bool { return !c.ports[a.port].owns(a.vip) })
	c.announce.start(came, c.cfg.Announcements)
}

// compile counts in owned which VIPs the ports have.
func compile(cfg *PortConfig, owned map[packet.Addr]int) port {
	p := port{
		mac:       cfg.MAC,
		vips:      make(map[packet.Addr]uint64, len(cfg.VIPs)),
		addresses: make(map[packet.Addr]bool, len(cfg.Addresses)),
		answer:    cfg.AnswerAddresses,
	}
	for _, vip := range cfg.VIPs {
		if !p.owns(vip) {
			p.own(vip, owned)
		}
	}
	for _, prefix := range cfg.Addresses {
		if prefix.IsValid() {
			p.prefixes = append(p.prefixes, prefix)
			p.addresses[packet.AddrFrom(prefix.Addr())] = true
		}
	}
	return p
}

func (p *port) own(vip packet.Addr, owned map[packet.Addr]int) {
	p.turn++
	p.vips[vip] = p.turn
	owned[vip]++
}

func (p *port) owns(vip packet.Addr) bool { return p.vips[vip] != 0 }

// findSources takes the own addresses that no port has as a VIP.
func (p *port) findSources(owned map[packet.Addr]int) {
	p.sources = nil
	for _, prefix := range p.prefixes {
		if addr := packet.AddrFrom(prefix.Addr()); owned[addr] == 0 {
			p.sources = append(p.sources, source{addr, prefix.Bits()})
		}
	}
}

// port returns port i, or nil when there is none or it has no Ethernet.
func (c *Cache) port(i int) *port {
	if i < 0 || i >= len(c.ports) || c.ports[i].mac == (packet.MAC{}) {
		return nil
	}
	return &c.ports[i]
}

// vips lists the VIPs of all Ethernet ports that which accepts, in the order they came.
func (c *Cache) vips(which func(port int, vip packet.Addr) bool) (all []announcement) {
	for i := range c.ports {
		p := c.port(i)
		if p == nil {
			continue
		}
		first := len(all)
		for vip := range p.vips {
			if which(i, vip) {
				all = append(all, announcement{port: i, vip: vip})
			}
		}
		slices.SortFunc(all[first:], func(a, b announcement) int { return cmp.Compare(p.vips[a.vip], p.vips[b.vip]) })
	}
	return all
}

// answersFor reports whether queries for addr are ours to answer on this port, as
// with arp_ignore=1.
func (p *port) answersFor(addr packet.Addr) bool {
	return p.owns(addr) || p.answer && p.addresses[addr]
}

// isSource reports whether source can have given addr, so that an answer to a query of
// ours may be addressed to it.
func (p *port) isSource(addr packet.Addr) bool {
	any4 := false
	for _, s := range p.sources {
		if s.addr == addr {
			return true
		}
		any4 = any4 || s.addr.Is4()
	}
	return addr == unspecified4 && !any4
}

// source is the address to ask for target with, as with arp_announce=2: the own one
// with the longest prefix that holds target; else, for IPv6, a link-local one; else the
// first of the family. IPv4 without one asks with 0.0.0.0, as the kernel's arp_solicit
// and any RFC 5227 probe do; IPv6 cannot, since that would be duplicate address
// detection (RFC 4862 section 5.4.2), and gives false.
func (p *port) source(target packet.Addr) (best packet.Addr, ok bool) {
	score := -1
	for _, s := range p.sources {
		if s.addr.Is4() != target.Is4() {
			continue
		}
		fits := 0
		switch {
		case s.addr.Mask(s.bits) == target.Mask(s.bits):
			fits = 2 + s.bits
		case isLinkLocal6(s.addr):
			fits = 1
		}
		if fits > score {
			best, score = s.addr, fits
		}
	}
	if score < 0 && target.Is4() {
		return unspecified4, true
	}
	return best, score >= 0
}

// mayAsk reports whether addr can be a neighbour's: a unicast address, not one of the
// port's own, nor a broadcast address of its subnets.
func (p *port) mayAsk(addr packet.Addr) bool {
	if !isUnicast(addr) || p.owns(addr) || p.addresses[addr] {
		return false
	}
	for _, s := range p.sources {
		if s.isBroadcast(addr) {
			return false
		}
	}
	return true
}

// isBroadcast reports whether a is the directed broadcast address of s's IPv4 subnet,
// or the network's own (RFC 1122 section 3.2.1.3); /31 and /32 have none (RFC 3021).
func (s source) isBroadcast(a packet.Addr) bool {
	if !s.addr.Is4() || !a.Is4() || s.bits > 30 || a.Mask(s.bits) != s.addr.Mask(s.bits) {
		return false
	}
	host := binary.BigEndian.Uint32(a[12:]) << s.bits
	return host == 0 || host == ^uint32(0)<<s.bits
}
