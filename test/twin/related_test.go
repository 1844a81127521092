package twin

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
)

// icmpHeader is the length of an ICMP header, behind which an error has its quote: RFC
// 792, RFC 4443 section 3.
const icmpHeader = 8

// isError reports whether a packet is an ICMP error that may concern a connection:
// unreachable, source quench, time exceeded; in IPv6 all types below 128.
func (p *ip) isError() bool {
	switch {
	case p.proto == protoICMP && !p.v6:
		return p.l4[0] == 3 || p.l4[0] == 4 || p.l4[0] == 11
	case p.proto == protoICMPv6 && p.v6:
		return p.l4[0] < 128
	}
	return false
}

// quote is the beginning of a packet that an ICMP error is about. Of it no more is
// certain to be there than its addresses and ports.
type quote struct {
	proto    uint8
	src, dst netip.AddrPort
	l4       int // where its ports are in the ICMP message
}

// quoted takes the quote apart. It is none if it is cut off before the ports, begins
// in the midst of a packet, or has a protocol that nobody balances.
func (p *ip) quoted() (q quote, ok bool) {
	b := p.l4[icmpHeader:]
	var src, dst netip.Addr
	if p.v6 {
		if len(b) < 40 || b[0]>>4 != 6 {
			return q, false
		}
		src, _ = netip.AddrFromSlice(b[8:24])
		dst, _ = netip.AddrFromSlice(b[24:40])
		q.proto, q.l4 = b[6], 40
		for q.proto == 0 || q.proto == 43 || q.proto == 60 || q.proto == protoFrag {
			if len(b) < q.l4+8 {
				return q, false
			}
			size := 8 + 8*int(b[q.l4+1])
			if q.proto == protoFrag {
				if size = 8; binary.BigEndian.Uint16(b[q.l4+2:])>>3 != 0 {
					return q, false
				}
			}
			q.proto, q.l4 = b[q.l4], q.l4+size
		}
	} else {
		if len(b) < 20 || b[0]>>4 != 4 || b[0]&15 < 5 || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return q, false
		}
		src, _ = netip.AddrFromSlice(b[12:16])
		dst, _ = netip.AddrFromSlice(b[16:20])
		q.proto, q.l4 = b[9], int(b[0]&15)*4
	}
	if q.proto != protoTCP && q.proto != protoUDP && q.proto != protoSCTP || len(b) < q.l4+4 {
		return q, false
	}
	q.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b[q.l4:]))
	q.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[q.l4+2:]))
	q.l4 += icmpHeader
	return q, true
}

// asks is the quote of an ICMP error.
func (p *ip) asks() (q quote, ok bool) {
	if !p.isError() {
		return q, false
	}
	return p.quoted()
}

// reversed is a packet the other way than the quoted one: that of its connection which
// a client or a server would send.
func (q quote) reversed() *ip {
	p := &ip{v6: q.src.Addr().Is6(), proto: q.proto, src: q.dst.Addr(), dst: q.src.Addr()}
	p.l4 = binary.BigEndian.AppendUint16(nil, q.dst.Port())
	p.l4 = binary.BigEndian.AppendUint16(p.l4, q.src.Port())
	return p
}

// rightICMP reports whether an ICMP message's checksum is right.
func (p *ip) rightICMP() bool {
	if !p.v6 {
		return sum16(p.l4) == 0xffff
	}
	pseudo := binary.BigEndian.AppendUint32(append(p.src.AsSlice(), p.dst.AsSlice()...), uint32(len(p.l4)))
	return sum16(append(append(pseudo, 0, 0, 0, protoICMPv6), p.l4...)) == 0xffff
}

// related is an ICMP error: ip_vs_out_icmp, which is about what clients have sent, then
// ip_vs_in_icmp, which is about answers to them.
func (t *forwarder) related(port int, p *ip, d drawn) outcome {
	q, ok := p.quoted()
	if !ok {
		return passed("ICMP error, which quotes nothing of use")
	}
	back := q.reversed()
	if c := t.conns.out(back); c != nil {
		return t.relatedToClient(port, p, q, c, d)
	}
	c := t.conns.in(back)
	if c == nil && !t.sysctl.ScheduleICMP.On() {
		return passed("ICMP error about no connection")
	}
	if c == nil {
		var o outcome
		back.mark, back.asked = p.mark, true
		if c, o = t.schedule(port, back, d); c == nil {
			o.frames = nil
			return o
		}
		t.met["ICMP error that made a connection (schedule_icmp)"]++
	}
	if !p.v6 && !p.rightICMP() { // nobody looks at that of IPv6 on this side
		return dropped("ICMP error with a wrong checksum")
	}
	o := t.transmit(port, p, c, d)
	o.rule += ", ICMP error"
	return o
}

// relatedToServer is an error about a server's answer, as NAT makes it.
func (p *ip) relatedToServer(server netip.AddrPort) ip {
	q, _ := p.quoted()
	return p.about(q.l4, func(n *ip, inner []byte) {
		n.dst = server.Addr()
		copy(sourceOf(inner), server.Addr().AsSlice())
		binary.BigEndian.PutUint16(n.l4[q.l4:], server.Port())
	})
}

// relatedToClient is an error from the servers' side. Routing, TTL and MTU are
// ip_forward's, which answers no error by another (RFC 1122 section 3.2.2).
func (t *forwarder) relatedToClient(port int, p *ip, q quote, c *conn, d drawn) outcome {
	if c.method != conf.NAT {
		return passed("ICMP error of a server that needs no translation")
	}
	rt := t.routeTo(p.dst)
	switch {
	case rt == nil:
		return dropped("no route, ICMP error")
	case p.ttl <= 1:
		return dropped("TTL spent, ICMP error")
	case p.tooLong(t.mtuOf(rt)) && p.df():
		return dropped("longer than the MTU, ICMP error")
	case !p.rightICMP():
		return dropped("ICMP error with a wrong checksum")
	}
	p.hop()
	p.recordRoute(t.ownAddr(rt.port, false))
	n := p.about(q.l4, func(n *ip, inner []byte) {
		n.src = c.virtual.Addr()
		copy(destOf(inner), c.virtual.Addr().AsSlice())
		binary.BigEndian.PutUint16(n.l4[q.l4+2:], c.virtual.Port())
	})
	return outcome{verdict: dataplane.Send, rule: "to the client, ICMP error", frames: t.send(&n, rt, p.dst, d)}
}

// about is an ICMP error with its own addresses and those that it quotes changed by set,
// and the checksums of both IP headers and of the message computed anew (ip_vs_nat_icmp).
func (p *ip) about(l4 int, set func(n *ip, inner []byte)) ip {
	n := *p
	n.l4, n.wire = bytes.Clone(p.l4), nil
	inner := n.l4[icmpHeader:]
	set(&n, inner)
	if n.v6 {
		n.l4 = icmp6(&n, n.l4[0], n.l4[1], n.l4[4:])
		return n
	}
	inner[10], inner[11] = 0, 0
	binary.BigEndian.PutUint16(inner[10:], ^sum16(inner[:l4-icmpHeader]))
	m := layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(n.l4[0], n.l4[1]), Id: binary.BigEndian.Uint16(n.l4[4:]), Seq: binary.BigEndian.Uint16(n.l4[6:])}
	n.l4 = serialize(&m, gopacket.Payload(inner))
	return n
}

// sourceOf and destOf are the addresses in an IP header.
func sourceOf(b []byte) []byte {
	if b[0]>>4 == 6 {
		return b[8:24]
	}
	return b[12:16]
}

func destOf(b []byte) []byte {
	if b[0]>>4 == 6 {
		return b[24:40]
	}
	return b[16:20]
}
