package twin

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/conf"
)

// related is an ICMP error about a packet of a recent connection: about one that a
// server has got, from the servers' side, or about one that the client has got.
func (g *generator) related(p *ip) (port int) {
	c := pick(g.Rand, g.twin.recent...)
	q := ip{ttl: uint8(1 + g.IntN(64)), id: uint16(g.Uint32()), proto: c.proto, tos: p.tos, flags: pick[uint8](g.Rand, 0, 2)}
	from, to := c.virtual, c.client
	if port = g.IntN(2); port == 1 {
		from, to = c.client, c.dest
		if c.method != conf.NAT {
			to = c.virtual
		}
	}
	if g.rarely(8) { // a connection that is hardly there
		from = netip.AddrPortFrom(from.Addr(), from.Port()+uint16(g.IntN(2)))
		to = netip.AddrPortFrom(to.Addr(), to.Port()+uint16(g.IntN(3)))
	}
	p.v6 = c.client.Addr().Is6()
	q.v6, q.src, q.dst = p.v6, from.Addr(), to.Addr()
	g.transport(&q, from.Port(), to.Port())
	if q.next = q.proto; q.v6 && g.rarely(8) {
		q.next, q.ext = protoFrag, []byte{q.proto, 0, 0, byte(pick(g.Rand, 0, 1, 8, 9, 249)), 1, 2, 3, 4}
	} else if q.v6 && g.rarely(8) {
		q.next, q.ext = 60, []byte{q.proto, 0, 1, 4, 0, 0, 0, 0}
	} else if !q.v6 && g.rarely(10) {
		q.options = g.options()
	} else if !q.v6 && g.rarely(12) {
		q.flags, q.offset = uint8(g.IntN(2)), uint16(g.IntN(3))
	}
	p.dst = q.src
	if f := family(p.v6); port == 0 {
		p.src = pick(g.Rand, append(clients[f], c.client.Addr())...)
	} else {
		p.src = pick(g.Rand, servers[f][:5]...)
	}
	g.complain(p, g.shorten(&q))
	return port
}

// shorten is as much of a packet as is quoted: RFC 792 wants 8 bytes behind the IP
// header, RFC 1812 section 4.3.2.3 and RFC 4443 as much as fits. Few are damaged.
func (g *generator) shorten(q *ip) []byte {
	b := q.bytes()
	head := len(b) - len(q.l4)
	switch {
	case g.rarely(12): // some quote all of it
	case g.rarely(3):
		b = b[:min(len(b), 548)]
	case g.rarely(6):
		b = b[:g.IntN(min(len(b), head+6)+1)]
	default:
		b = b[:min(len(b), head+pick(g.Rand, 4, 8, 20, 28))]
	}
	if g.rarely(20) && len(b) > 0 { // also its IP header checksum, its length, its protocol
		b[g.IntN(min(len(b), head+4))] ^= 1 << g.IntN(8)
	}
	return b
}

// complain writes the ICMP message around a quote.
func (g *generator) complain(p *ip, quote []byte) {
	rest := pick[uint32](g.Rand, 0, 0, 1400, 1280, g.Uint32())
	if p.v6 {
		p.proto = protoICMPv6
		p.l4 = icmp6(p, pick[uint8](g.Rand, 1, 2, 3, 4, 1, 2, 3, uint8(g.IntN(128))), uint8(g.IntN(6)), append(binary.BigEndian.AppendUint32(nil, rest), quote...))
	} else {
		p.proto = protoICMP
		m := layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(pick[uint8](g.Rand, 3, 3, 4, 11, 11, 5, 12), uint8(g.IntN(6))), Id: uint16(rest >> 16), Seq: uint16(rest)}
		p.l4 = serialize(&m, gopacket.Payload(quote))
	}
	if g.rarely(12) {
		p.l4[2+g.IntN(2)] ^= 1 << g.IntN(8)
	}
}
