package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// read6 fills g from an IPv6 packet with a fragment header (RFC 8200 section 4.5). What
// Parse says of offset and MF is not taken: it would be that of a second fragment header
// behind the first.
//
//	| next header | reserved | offset in units of 8, 2 bits reserved, M | identification |
func (g *fragment) read6(f *packet.Frame) bool {
	at, names, ok := findFragmentHeader(f)
	if !ok {
		return false
	}
	h := f.Buf[at:][:fragmentHeader]
	field := binary.BigEndian.Uint16(h[2:])
	g.v6 = true
	g.key.id = binary.BigEndian.Uint32(h[4:])
	g.next, g.names = h[0], names-f.Start
	g.data = f.Buf[at+fragmentHeader : f.IPEnd]
	g.off, g.more = uint32(field&^7), field&1 != 0
	g.end = g.off + uint32(len(g.data))
	g.head = at - f.Start
	g.length = f.IPEnd - f.L3
	g.ecn = f.Buf[f.L3+1] >> 4 & 3 // the low bits of the traffic class
	return true
}

// findFragmentHeader returns the places in f.Buf of f's first fragment header and of the
// byte that names it. Parse has seen that the headers before f.L4 are whole.
func findFragmentHeader(f *packet.Frame) (at, names uint32, ok bool) {
	const hopByHop, routing, fragmentation, destination = 0, 43, 44, 60
	at, names = f.L3+ip6Header, f.L3+6
	for at+8 <= f.L4 {
		switch f.Buf[names] {
		case fragmentation:
			return at, names, true
		case hopByHop, routing, destination:
			names = at
			at += (uint32(f.Buf[at+1]) + 1) * 8
		default:
			return 0, 0, false
		}
	}
	return 0, 0, false
}

// finish6 makes the headers before the first fragment's fragment header, which is left
// out, those of the whole packet. head begins with the link's header, ip with IPv6's.
func finish6(head, ip []byte, d *datagram, ecn uint8, length uint32) {
	head[d.names] = d.next
	ip[1] |= ecn << 4
	binary.BigEndian.PutUint16(ip[4:], uint16(length-ip6Header))
}
