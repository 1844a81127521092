package dataplane

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// quote is the packet that an ICMP error quotes, as far as it is there: at least its
// IP header and four bytes of ports. Offsets are from the beginning of the frame's Buf.
type quote struct {
	l3, l4 uint32
	flow   packet.Flow
	df     bool // IPv4
}

// icmpHeader is the length of an ICMP or ICMPv6 error's header: RFC 792, RFC 4443 section 3.
const icmpHeader = 8

// quoted parses what the ICMP error f quotes. It is false for anything that can belong
// to no connection: cut off before the ports, a later fragment, another protocol.
func quoted(f *packet.Frame) (q quote, ok bool) {
	if !quotedIP(f, f.L4+icmpHeader, f.Flow.V6, &q) {
		return q, false
	}
	switch q.flow.Proto {
	case packet.TCP, packet.UDP, packet.SCTP:
		return q, quotedPorts(f, &q)
	}
	return q, false
}

// quotedIP parses the IP header at offset at.
func quotedIP(f *packet.Frame, at uint32, v6 bool, q *quote) bool {
	b := f.Buf[:f.IPEnd]
	q.l3 = at
	q.flow = packet.Flow{V6: v6}
	if v6 {
		if uint32(len(b)) < at+40 || b[at]>>4 != 6 {
			return false
		}
		q.flow.Src, q.flow.Dst = packet.Addr(b[at+8:]), packet.Addr(b[at+24:])
		next, l4 := b[at+6], at+40
		for range 8 { // extension headers: RFC 8200 section 4
			switch next {
			case 0, 43, 60: // hop-by-hop, routing, destination options
				if uint32(len(b)) < l4+8 {
					return false
				}
				next, l4 = b[l4], l4+8+8*uint32(b[l4+1])
			case 44: // fragment
				if uint32(len(b)) < l4+8 || binary.BigEndian.Uint16(b[l4+2:])&^7 != 0 {
					return false
				}
				next, l4 = b[l4], l4+8
			default:
				q.flow.Proto, q.l4 = next, l4
				return true
			}
		}
		return false
	}
	if uint32(len(b)) < at+20 || b[at]>>4 != 4 {
		return false
	}
	head := uint32(b[at]&0xf) * 4
	frag := binary.BigEndian.Uint16(b[at+6:])
	if head < 20 || uint32(len(b)) < at+head || frag&0x1fff != 0 {
		return false
	}
	q.flow.Src = packet.AddrFrom4([4]byte(b[at+12:]))
	q.flow.Dst = packet.AddrFrom4([4]byte(b[at+16:]))
	q.flow.Proto, q.l4, q.df = b[at+9], at+head, frag&0x4000 != 0
	return true
}

func quotedPorts(f *packet.Frame, q *quote) bool {
	if f.IPEnd < q.l4+4 {
		return false
	}
	q.flow.SrcPort = binary.BigEndian.Uint16(f.Buf[q.l4:])
	q.flow.DstPort = binary.BigEndian.Uint16(f.Buf[q.l4+2:])
	return true
}

// icmpSumOK verifies the checksum of an ICMP or ICMPv6 message.
func icmpSumOK(f *packet.Frame) bool { return f.VerifyTransport() }

// rewriteQuote is ip_vs_nat_icmp: in the quoted packet the source (towards a server) or
// the destination (towards a client) becomes addr and port, and so does the message's
// own address at the other side. The quoted transport checksum is left as it is, the
// quoted IP header's and the message's are computed anew.
func rewriteQuote(f *packet.Frame, q *quote, toServer bool, addr packet.Addr, port uint16) {
	b := f.Buf
	at, p := q.l3+16, q.l4+2
	if toServer {
		at, p = q.l3+12, q.l4
	}
	if q.flow.V6 {
		at = q.l3 + 24
		if toServer {
			at = q.l3 + 8
		}
		copy(b[at:at+16], addr[:])
	} else {
		copy(b[at:at+4], addr[12:])
		head := b[q.l3:q.l4]
		head[10], head[11] = 0, 0
		binary.BigEndian.PutUint16(head[10:], packet.Checksum(head))
	}
	binary.BigEndian.PutUint16(b[p:], port)
	if toServer {
		encap.Dest(f, addr, 0)
	} else {
		encap.Source(f, addr, 0)
	}
	msg := b[f.L4:f.IPEnd]
	msg[2], msg[3] = 0, 0
	sum := uint32(0)
	if f.Flow.V6 {
		sum = packet.PseudoSum(f.Flow, packet.ICMPv6, len(msg))
	}
	binary.BigEndian.PutUint16(msg[2:], ^packet.Fold(packet.Sum(msg, sum)))
}
