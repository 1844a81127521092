package arp

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

const (
	etherLen     = 14
	nextHeaderAt = etherLen + 6  // RFC 8200 section 3
	icmpv6TypeAt = etherLen + 40 // without extension headers, which ND has none of
	ethertypeAt  = 12
	noReason     = Reason(NumReasons)
)

// parse reads a received frame as a message. The reason is noReason if it is one.
func (p *port) parse(frame []byte) (message, Reason) {
	if len(frame) < etherLen {
		return message{}, NotNeighbour
	}
	dst, src := packet.MAC(frame), packet.MAC(frame[6:])
	var m message
	reason := NotNeighbour
	switch binary.BigEndian.Uint16(frame[ethertypeAt:]) {
	case packet.EtherARP:
		m, reason = p.parseARP(frame)
	case packet.EtherIPv6:
		if len(frame) <= icmpv6TypeAt || frame[nextHeaderAt] != packet.ICMPv6 {
			return message{}, NotNeighbour
		}
		if t := frame[icmpv6TypeAt]; t != packet.NDPSolicit && t != packet.NDPAdvert {
			return message{}, NotNeighbour
		}
		m, reason = p.parseNDP(frame, src)
	}
	if reason != noReason {
		return message{}, reason
	}
	if src == p.mac {
		return message{}, Own
	}
	if dst != p.mac && !dst.Multicast() {
		return message{}, OtherHost // seen because the port is promiscuous
	}
	m.solicited = m.solicited && dst == p.mac // as arp_process: only what came to this host confirms
	return m, noReason
}

func (p *port) parseARP(frame []byte) (message, Reason) {
	h, ok := packet.ParseARP(frame)
	switch {
	case !ok:
		return message{}, Malformed
	case h.Op != packet.ARPRequest && h.Op != packet.ARPReply:
		return message{}, NotNeighbour // RARP, InARP
	}
	m := message{
		query:  h.Op == packet.ARPRequest && h.SPA != h.TPA, // else an announcement, RFC 5227 section 1.1
		target: h.TPA,
		addr:   h.SPA, mac: h.SHA, asker: h.SHA,
		solicited: h.Op == packet.ARPReply && p.isSource(h.TPA),
		override:  true,
	}
	probe := m.query && m.addr == unspecified4
	if !isHostMAC(m.mac) || !isUnicast(m.addr) && !probe {
		return message{}, Malformed
	}
	return m, noReason
}

func (p *port) parseNDP(frame []byte, src packet.MAC) (message, Reason) {
	n, ok := packet.ParseNDP(frame)
	// An IPv4-mapped target would be found among the IPv4 addresses.
	if !ok || n.Src.Is4() || n.Target.Is4() || n.HasLLA && !isHostMAC(n.LLA) || !isHostMAC(src) {
		return message{}, Malformed
	}
	m := message{
		query:  n.Type == packet.NDPSolicit,
		target: n.Target,
		addr:   n.Src,
		mac:    n.LLA,
		asker:  src, // unless the solicitation says otherwise
	}
	if m.query {
		if n.HasLLA {
			m.asker = n.LLA
		}
		m.override = true // RFC 4861 section 7.2.3
		if !isUnicast(m.addr) && !isUnspecified(m.addr) {
			return message{}, Malformed
		}
		return m, noReason
	}
	m.addr = n.Target
	m.solicited = n.Flags&packet.NDPSolicited != 0 && p.isSource(n.Dst)
	m.override = n.Flags&packet.NDPOverride != 0
	return m, noReason
}

// isHostMAC reports whether m can be one host's: a neighbour claiming a group or zero
// address is not believed (RFC 1812 section 3.3.2).
func isHostMAC(m packet.MAC) bool { return m != packet.MAC{} && !m.Multicast() }

// query builds the question to everybody who has target, from src at mac.
func query(mac packet.MAC, src, target packet.Addr) []byte {
	if target.Is4() {
		return packet.AppendARP(nil, packet.Broadcast, mac, packet.ARPHeader{
			Op: packet.ARPRequest, SHA: mac, SPA: src, THA: packet.MAC{}, TPA: target,
		})
	}
	group := packet.SolicitedNode(target) // RFC 4861 section 7.2.2
	return packet.AppendNDP(nil, packet.MulticastMAC(group), mac, packet.NDP{
		Type: packet.NDPSolicit, Src: src, Dst: group, Target: target, HasLLA: true, LLA: mac,
	})
}

// probe builds the question to the host at dst alone whether it has target.
func probe(dst, mac packet.MAC, src, target packet.Addr) []byte {
	if target.Is4() {
		return packet.AppendARP(nil, dst, mac, packet.ARPHeader{
			Op: packet.ARPRequest, SHA: mac, SPA: src, THA: packet.MAC{}, TPA: target,
		})
	}
	return packet.AppendNDP(nil, dst, mac, packet.NDP{
		Type: packet.NDPSolicit, Src: src, Dst: target, Target: target, HasLLA: true, LLA: mac,
	})
}

// answer builds the answer to m, to its asker alone, except that duplicate address
// detection has no address to answer to and is answered to all (RFC 4861 section
// 7.2.4).
func answer(mac packet.MAC, m *message, router bool) []byte {
	if m.target.Is4() {
		return packet.AppendARP(nil, m.asker, mac, packet.ARPHeader{
			Op: packet.ARPReply, SHA: mac, SPA: m.target, THA: m.asker, TPA: m.addr,
		})
	}
	if isUnspecified(m.addr) {
		return announce(mac, m.target, false, router)
	}
	return packet.AppendNDP(nil, m.asker, mac, packet.NDP{
		Type: packet.NDPAdvert, Flags: flags(router) | packet.NDPSolicited,
		Src: m.target, Dst: m.addr, Target: m.target, HasLLA: true, LLA: mac,
	})
}

// announce builds the announcement that vip is at mac. IPv4 has two forms, of which
// some stacks hear only one: a request for the own address (RFC 5227 section 1.1) and
// a reply to nobody. IPv6 has the unsolicited advertisement (RFC 4861 section 7.2.6),
// sent from the VIP itself.
func announce(mac packet.MAC, vip packet.Addr, reply, router bool) []byte {
	if !vip.Is4() {
		return packet.AppendNDP(nil, packet.MulticastMAC(packet.AllNodes), mac, packet.NDP{
			Type: packet.NDPAdvert, Flags: flags(router),
			Src: vip, Dst: packet.AllNodes, Target: vip, HasLLA: true, LLA: mac,
		})
	}
	h := packet.ARPHeader{Op: packet.ARPRequest, SHA: mac, SPA: vip, TPA: vip}
	if reply {
		h.Op, h.THA = packet.ARPReply, mac
	}
	return packet.AppendARP(nil, packet.Broadcast, mac, h)
}

func flags(router bool) uint8 {
	if router {
		return packet.NDPOverride | packet.NDPRouter
	}
	return packet.NDPOverride
}
