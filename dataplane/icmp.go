package dataplane

import "github.com/dirigo-lb/dirigo/packet"

// icmpKind is an ICMP error by meaning; each family has its own numbers for it.
type icmpKind uint8

const (
	icmpPortUnreachable icmpKind = iota
	icmpHostUnreachable
	icmpTimeExceeded
	icmpTooBig // with the MTU as its rest
)

// icmpCodes are type and code by family: RFC 792, RFC 1191, RFC 4443.
var icmpCodes = [...][2][2]uint8{
	icmpPortUnreachable: {{3, 3}, {1, 4}},
	icmpHostUnreachable: {{3, 1}, {1, 3}},
	icmpTimeExceeded:    {{11, 0}, {3, 0}},
	icmpTooBig:          {{3, 4}, {2, 0}},
}

// sendICMP tells a packet's source why it goes no further. The error is routed like
// any packet of the director's own.
func (w *Worker) sendICMP(f *packet.Frame, src packet.Addr, kind icmpKind, rest uint32) {
	family := 0
	if f.Flow.V6 {
		family = 1
	}
	code := icmpCodes[kind][family]
	rt := w.route(f.Flow.Src)
	if rt == nil || rt.kind != Unicast {
		return
	}
	out := w.arena.frame(packet.Headroom + 1500)
	b := packet.AppendICMPError(out.Buf[packet.Headroom:packet.Headroom], f, src, code[0], code[1], rest)
	if len(b) == 0 {
		return // not about such a packet: RFC 1122 section 3.2.2
	}
	*out = packet.Frame{Buf: out.Buf, Start: packet.Headroom, End: packet.Headroom + uint32(len(b)), Port: f.Port}
	if out.Parse() != packet.None {
		return
	}
	w.emit(out, rt, out.Flow.Dst, ForwardReply)
}

// icmp handles ICMP and ICMPv6: neighbour discovery and echo requests to a virtual
// service's address are answered here, as nobody else has that address.
func (w *Worker) icmp(f *packet.Frame) (Verdict, Reason, bool) {
	typ, code := f.ICMPType()
	switch {
	case f.Flow.V6 && f.L2 && (typ == 135 || typ == 136): // RFC 4861
		v, r := w.neighbor(f)
		return v, r, true
	case f.IsICMPError():
		if w.table.ours(f) {
			return Drop, ICMPError, true
		}
		return Pass, ICMPError, true
	case code == 0 && (typ == 8 && !f.Flow.V6 || typ == 128 && f.Flow.V6) && w.plane.echo && w.table.ours(f):
		rt := w.route(f.Flow.Src)
		if rt == nil || rt.kind != Unicast {
			return Drop, NoRoute, true
		}
		f.EchoReply()
		v, r := w.emit(f, rt, f.Flow.Dst, AnsweredEcho)
		if v == Send {
			v = Taken
		}
		return v, r, true
	}
	return Pass, noReason, false
}
