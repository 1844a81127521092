package twin

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/dataplane"
)

// icmpKind is an ICMP error by meaning.
type icmpKind int

const (
	portUnreachable icmpKind = iota
	hostUnreachable
	timeExceeded
	tooBig
	protocolUnreachable
)

// Types and codes: RFC 792, RFC 1191 section 4, RFC 4443.
var icmpTypes = map[icmpKind][2][2]uint8{
	portUnreachable:     {{3, 3}, {1, 4}},
	hostUnreachable:     {{3, 1}, {1, 3}},
	timeExceeded:        {{11, 0}, {3, 0}},
	tooBig:              {{3, 4}, {2, 0}},
	protocolUnreachable: {{3, 2}, {4, 1}},
}

// tell makes the director's own ICMP error about p, from src to p's source, and routes
// it: at most 576 bytes long, 1280 in IPv6 (RFC 1812 section 4.3.2.3, RFC 4443 section
// 2.4 (c)), with the precedence that icmp_send gives it. Nobody is told who is not one
// host, nor about a packet to many.
func (t *forwarder) tell(port int, p *ip, src netip.Addr, kind icmpKind, mtu int, d drawn) []frame {
	rt := t.routeTo(p.src)
	if rt == nil || p.isError() || p.dst.IsMulticast() {
		return nil
	}
	if p.src.Is4() && p.src.As4()[0] >= 240 { // class E: RFC 1122 section 3.2.2
		return nil
	}
	quote := p.bytes()
	q := ip{v6: p.v6, src: src, dst: p.src, ttl: 64}
	if p.v6 {
		code := icmpTypes[kind][1]
		quote = quote[:min(len(quote), 1280-48)]
		q.proto, q.next, q.label = protoICMPv6, protoICMPv6, d.label
		q.l4 = make([]byte, 4, 4+len(quote)) // gopacket's header ends before the MTU
		binary.BigEndian.PutUint32(q.l4, uint32(mtu))
		q.l4 = icmp6(&q, code[0], code[1], append(q.l4, quote...))
	} else {
		code := icmpTypes[kind][0]
		quote = quote[:min(len(quote), 576-28)]
		q.proto, q.id, q.tos = protoICMP, d.id, 0xc0|p.tos&0x1e
		q.l4 = serialize(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(code[0], code[1]), Seq: uint16(mtu)}, gopacket.Payload(quote))
	}
	return t.send(&q, rt, q.dst, d)
}

// icmp6 is an ICMPv6 message with its checksum; body begins with the second word.
func icmp6(p *ip, typ, code uint8, body []byte) []byte {
	m := layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
	must(m.SetNetworkLayerForChecksum(p.header()))
	return serialize(&m, gopacket.Payload(body))
}

// oneHost: RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.
func oneHost(a netip.Addr) bool {
	if a.IsMulticast() || a.IsLoopback() || a.IsUnspecified() {
		return false
	}
	return a.Is6() || a.As4()[0] != 0 && a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) // 240/4 is taken by the kernel
}

// icmp answers echo requests to a virtual address (RFC 1122 section 3.2.2.6, RFC 4443
// section 4.2); what else there is concerns the host.
func (t *forwarder) icmp(p *ip, d drawn) outcome {
	request := byte(8)
	if p.v6 {
		request = 128
	}
	ours := false
	for _, s := range t.services {
		ours = ours || s.Key.Addr == p.dst
	}
	if p.l4[0] != request || p.l4[1] != 0 || !ours {
		return passed("ICMP, of no concern")
	}
	if !oneHost(p.src) {
		return dropped("martian source")
	}
	q := *p
	q.src, q.dst, q.ttl, q.wire = p.dst, p.src, 64, nil
	if p.v6 {
		q.label = d.label
		q.l4 = icmp6(&q, 129, 0, p.l4[4:])
	} else {
		q.flags, q.id = 0, d.id
		echo := layers.ICMPv4{Id: binary.BigEndian.Uint16(p.l4[4:]), Seq: binary.BigEndian.Uint16(p.l4[6:])}
		q.l4 = serialize(&echo, gopacket.Payload(p.l4[8:]))
	}
	if !p.rightICMP() {
		return dropped("echo request with a wrong checksum")
	}
	return outcome{verdict: dataplane.Taken, rule: "echo reply", frames: t.send(&q, t.routeTo(q.dst), q.dst, d)}
}

// send puts a packet, or its fragments, into frames to the next hop towards to.
func (t *forwarder) send(p *ip, rt *route, to netip.Addr, d drawn) (out []frame) {
	hop := to
	if rt.via.IsValid() {
		hop = rt.via
	}
	dst, src := hostMAC(rt.port, hop), directorMAC[rt.port]
	kind := []byte{0x08, 0x00}
	if p.v6 {
		kind = []byte{0x86, 0xdd}
	}
	for _, q := range p.cut(t.mtuOf(rt), d) {
		b := append(append(append([]byte{}, dst[:]...), src[:]...), kind...)
		out = append(out, frame{rt.port, append(b, q.bytes()...)})
	}
	return out
}

// cut divides a packet that is too long, or that came in pieces, into fragments of the greatest length that is a
// multiple of 8 (RFC 791 section 3.2, RFC 8200 section 4.5).
func (p *ip) cut(mtu int, d drawn) (pieces []ip) {
	if p.largest > 0 {
		mtu = min(mtu, p.largest)
	}
	if p.length() <= mtu {
		return []ip{*p}
	}
	room := mtu - (p.length() - len(p.l4))
	if p.v6 {
		room -= 8
	}
	same := len(p.lengths) > 0 // what came in pieces that still fit leaves in the same
	for i, n := range p.lengths {
		same = same && n <= room && (n%8 == 0 || i == len(p.lengths)-1)
	}
	for at, n := 0, 0; at < len(p.l4); at += n {
		q := *p
		rest := p.l4[at:]
		if n = room; len(rest) > room {
			n = room &^ 7
		}
		if same { // the sender's pieces, one by one
			n = p.lengths[len(pieces)]
		}
		n = min(n, len(rest))
		more := n < len(rest)
		rest = rest[:n]
		if p.v6 {
			off := uint16(at)
			if more {
				off |= 1
			}
			h := []byte{p.next, 0}
			h = binary.BigEndian.AppendUint16(h, off)
			q.next, q.ext = protoFrag, binary.BigEndian.AppendUint32(h, d.fragID)
		} else {
			q.offset, q.flags = uint16(at/8), 0
			if more {
				q.flags = 1
			}
			if at > 0 {
				q.options = firstOnly(p.options)
			}
		}
		q.l4, q.wire = rest, nil
		pieces = append(pieces, q)
		if !more {
			break
		}
	}
	return pieces
}

// firstOnly is the options of a later fragment: those without the copied flag (RFC 791
// section 3.1) are blanked, as ip_options_fragment does it.
func firstOnly(options []byte) []byte {
	out := bytes.Clone(options)
	eachOption(out, func(o []byte) {
		if o[0] > 1 && o[0]&0x80 == 0 {
			for i := range o {
				o[i] = 1
			}
		}
	})
	return out
}

// list is the options one by one.
func (p *ip) list() (all [][]byte) {
	eachOption(p.options, func(o []byte) { all = append(all, o) })
	return all
}

// recordRoute writes an address into a record route option that has room (RFC 791
// section 3.1).
func (p *ip) recordRoute(a netip.Addr) {
	p.options = bytes.Clone(p.options)
	for _, o := range p.list() {
		if o[0] == 7 && len(o) >= 3 && int(o[2]) >= 4 && int(o[2])+3 <= len(o) {
			copy(o[o[2]-1:], a.AsSlice())
			o[2] += 4
		}
	}
}
