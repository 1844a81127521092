package twin

import (
	"bytes"
	"encoding/binary"

	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/dataplane"
)

// refuse is what a host of the virtual address says to a packet that was not balanced:
// the director says it, since here it alone has those addresses. o is the outcome so far.
func (t *forwarder) refuse(port int, p *ip, o outcome, d drawn) outcome {
	ours := false
	for _, s := range t.services {
		ours = ours || s.Key.Addr == p.dst
	}
	if o.verdict != dataplane.Pass || !ours {
		return o
	}
	o.verdict = dataplane.Taken
	switch p.proto {
	case protoTCP:
		o.frames = t.reset(p, d)
	case protoSCTP:
		o.frames = t.abort(p, d)
	case protoUDP:
		if p.rightUDP() {
			o.frames = t.tell(port, p, p.dst, portUnreachable, 0, d)
			return o
		}
	case protoICMP, protoICMPv6, protoIPIP, protoIPv6, 47:
	default:
		o.frames = t.tell(port, p, p.dst, protocolUnreachable, p.namedAt(), d)
		return o
	}
	if o.frames == nil {
		o.verdict = dataplane.Pass
	}
	return o
}

// isIPsec reports whether a packet is ESP or AH.
func (p *ip) isIPsec() bool { return p.proto == 50 || p.proto == 51 }

// namedAt is where in an IPv6 packet its protocol is named; 0 in IPv4.
func (p *ip) namedAt() int {
	if !p.v6 {
		return 0
	}
	at, next := 6, 40
	for e := p.ext; len(e) > 0; {
		n := 8 + 8*int(e[1])
		at, next, e = next, next+n, e[n:]
	}
	return at
}

func (p *ip) rightUDP() bool {
	sum := binary.BigEndian.Uint16(p.l4[6:])
	size := int(binary.BigEndian.Uint16(p.l4[4:]))
	if size < 8 || size > len(p.l4) {
		return false
	}
	return sum == 0 && !p.v6 || sum != 0 && ones(int(sum)) == ones(int(p.rightSum()))
}

// answer begins a host's own packet back to where p came from.
func (p *ip) answer(tos uint8, d drawn) *ip {
	return &ip{v6: p.v6, src: p.dst, dst: p.src, ttl: 64, tos: tos, proto: p.proto, next: p.proto, flags: 2, label: d.label}
}

// sendOwn routes such a packet; nobody answers what is not one host.
func (t *forwarder) sendOwn(q *ip, d drawn) []frame {
	rt := t.routeTo(q.dst)
	if rt == nil || rt.port < 0 || !oneHost(q.dst) || q.dst.Is4() && q.dst.As4()[0] >= 224 {
		return nil
	}
	return t.send(q, rt, q.dst, d)
}

// reset is RFC 9293 section 3.10.7.1: a reset is not answered, what has an ACK gets one
// from there, the rest a reset that acknowledges all of it.
func (t *forwarder) reset(p *ip, d drawn) []frame {
	b := p.l4
	if b[13]&flagRST != 0 || ones(int(binary.BigEndian.Uint16(b[16:]))) != ones(int(p.rightSum())) {
		return nil
	}
	src, dst := p.ports()
	r := layers.TCP{SrcPort: layers.TCPPort(dst), DstPort: layers.TCPPort(src), RST: true, DataOffset: 5}
	if b[13]&0x10 != 0 {
		r.Seq = binary.BigEndian.Uint32(b[8:])
	} else {
		text := len(b) - int(b[12]>>4)*4 + int(b[13]>>1&1) + int(b[13]&1)
		r.ACK, r.Ack = true, binary.BigEndian.Uint32(b[4:])+uint32(text)
	}
	q := p.answer(p.tos&^3, d)
	must(r.SetNetworkLayerForChecksum(q.header()))
	q.l4 = serialize(&r)
	return t.sendOwn(q, d)
}

// abort is RFC 9260 section 8.4: with the tag that an INIT proposes, or the packet's own
// and the T bit.
func (t *forwarder) abort(p *ip, d drawn) []frame {
	right := ip{l4: bytes.Clone(p.l4)}
	if right.setCRC(); !bytes.Equal(right.l4, p.l4) {
		return nil
	}
	tag, bit := p.l4[4:8], byte(1)
	for b := p.l4[sctpHeader:]; len(b) >= 4; {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			break
		}
		switch b[0] {
		case chunkABORT, 14:
			return nil
		case chunkINIT:
			if n >= 8 {
				tag, bit = b[4:8], 0
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	q := p.answer(2, d)
	q.l4 = append(append(append(bytes.Clone(p.l4[2:4]), p.l4[0:2]...), tag...), 0, 0, 0, 0, chunkABORT, bit, 0, 4)
	q.setCRC()
	return t.sendOwn(q, d)
}
