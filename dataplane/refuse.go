package dataplane

import "github.com/dirigo-lb/dirigo/packet"

// pass is the end of a packet that is not the director's: the host has its own copy. Two
// kinds it has not, and they are seen to here: those for a VIP that only the director
// has, and those that the guard keeps from the host.
func (w *Worker) pass(f *packet.Frame, r Reason) (Verdict, Reason) {
	switch {
	case w.table.ours(f) && !w.hosts(f.Flow.Dst):
		if w.refuse(f) {
			w.explainRefused()
			return Taken, r
		}
	case w.table.ports[f.Port].guarded && w.table.hostPort >= 0 && w.kept(f):
		w.send(f, uint16(w.table.hostPort), &noHop, r)
	}
	return Pass, r
}

// refuse answers a packet to a VIP, which nobody there wants, as that address's host
// would, and reports whether there was something to say.
func (w *Worker) refuse(f *packet.Frame) bool {
	if f.Fragment() { // of ESP or AH: a host would collect them first
		return false
	}
	switch f.Flow.Proto {
	case packet.TCP, packet.SCTP:
	case packet.UDP:
		if !f.VerifyTransport() {
			return false
		}
		w.sendICMP(f, f.Flow.Dst, icmpPortUnreachable, 0)
		return true
	case packet.ICMP, packet.ICMPv6, packet.GRE, packet.IPIP, packet.IPv6: // a host knows them
		return false
	default:
		w.sendICMP(f, f.Flow.Dst, icmpProtocolUnreachable, nextHeaderAt(f))
		return true
	}
	rt := w.route(&f.Flow.Src)
	if rt == nil || rt.kind != Unicast {
		return false
	}
	out := w.arena.frame(packet.Headroom + 128)
	b := packet.AppendRefusal(out.Buf[packet.Headroom:packet.Headroom], f)
	if len(b) == 0 {
		return false
	}
	*out = packet.Frame{Buf: out.Buf, Start: packet.Headroom, End: packet.Headroom + uint32(len(b)), Port: f.Port}
	if out.Parse() != packet.None {
		return false
	}
	w.emit(out, rt, &out.Flow.Dst, ForwardReply)
	return true
}

// nextHeaderAt is what an IPv6 parameter problem points at (RFC 4443 section 3.4): the
// field that names the protocol. 0 for IPv4, whose error says all by its code.
func nextHeaderAt(f *packet.Frame) uint32 {
	if !f.Flow.V6 {
		return 0
	}
	at, p := uint32(6), f.L3+40
	for p+2 <= f.L4 { // extension headers: RFC 8200 section 4
		at = p - f.L3
		p += (uint32(f.Buf[p+1]) + 1) * 8
	}
	return at
}

// kept reports whether the guard keeps a packet from the host although it belongs to no
// connection: one to a service, a marked one, and what looks like an answer of a NAT
// server (host.Guard's rules).
func (w *Worker) kept(f *packet.Frame) bool {
	t, fl := w.table, f.Flow
	if f.IsICMPError() {
		q, ok := quoted(f)
		if !ok {
			return false
		}
		if t.fwmarks.get(fwmarkKey{t.markOf(f.Port, reversed(&q.flow)), fl.V6}) != nil {
			return true
		}
		fl.Src, fl.SrcPort, fl.DstPort, fl.Proto = q.flow.Dst, q.flow.DstPort, q.flow.SrcPort, q.flow.Proto
		return t.answers(&fl) && !w.hosts(fl.Dst) || w.toProbe(&fl)
	}
	if isIPsec(f) {
		fl.Proto, fl.SrcPort, fl.DstPort = packet.UDP, isakmp, isakmp
	}
	if t.services.get(serviceAddr{fl.Dst, fl.DstPort, fl.Proto, fl.V6}) != nil ||
		t.port0 > 0 && t.services.get(serviceAddr{fl.Dst, 0, fl.Proto, fl.V6}) != nil ||
		t.fwmarks.get(fwmarkKey{t.mark(f), fl.V6}) != nil {
		return true
	}
	return (t.answers(&fl) || f == w.reassembly.whole && t.piecesKept(&fl)) && !w.hosts(fl.Dst) || w.toProbe(&fl)
}

// piecesKept reports whether the later fragments of a packet, which have no ports, are
// kept from the host, so that it cannot put the packet together itself.
func (t *Table) piecesKept(fl *packet.Flow) bool {
	k := serviceAddr{addr: fl.Src, proto: fl.Proto, v6: fl.V6}
	if t.natHosts.get(k) > 0 {
		return true
	}
	if k.proto = 0; t.natHosts.get(k) > 0 {
		return true
	}
	for i := range t.marks {
		m := &t.marks[i]
		if (m.AnyFamily || m.V6 == fl.V6) && (m.Proto == 0 || m.Proto == fl.Proto) && within(m.source, fl.Src) && within(m.dest, fl.Dst) &&
			t.fwmarks.get(fwmarkKey{m.Value, fl.V6}) != nil {
			return true
		}
	}
	return false
}

// reversed is a flow seen from its other end.
func reversed(fl *packet.Flow) *packet.Flow {
	r := *fl
	r.Src, r.Dst, r.SrcPort, r.DstPort = fl.Dst, fl.Src, fl.DstPort, fl.SrcPort
	return &r
}

// answers reports whether a flow begins at a NAT server's port, or at any that its fwmark
// service's marks may lead to.
func (t *Table) answers(fl *packet.Flow) bool {
	k := serviceAddr{fl.Src, fl.SrcPort, fl.Proto, fl.V6}
	if t.natServers.get(k) > 0 {
		return true
	}
	if k.proto = 0; t.natServers.get(k) > 0 {
		return true
	}
	for _, mark := range t.natMarks.get(serviceAddr{addr: fl.Src, v6: fl.V6}) {
		for i := range t.marks {
			if m := &t.marks[i]; m.Value == mark && (m.Proto == 0 || m.Proto == fl.Proto) && inRange(m.DestPorts, fl.SrcPort) {
				return true
			}
		}
	}
	return false
}
