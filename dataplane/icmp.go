package dataplane

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// icmp handles ICMP and ICMPv6: neighbour discovery and echo requests to a virtual
// service's address are answered here, as nobody else has that address; errors follow
// the connection of the packet they quote. The rest is the host's.
func (w *Worker) icmp(f *packet.Frame) (Verdict, Reason, bool) {
	typ, code := f.ICMPType()
	switch {
	case f.IsICMPError():
		v, r := w.icmpError(f)
		return v, r, true
	case code == 0 && (typ == 8 && !f.Flow.V6 || typ == 128 && f.Flow.V6) && w.plane.echo && w.table.ours(f) && !w.hosts(f.Flow.Dst) && !sourceRouted(f):
		rt := w.route(&f.Flow.Src)
		if rt == nil || rt.kind != Unicast {
			w.explainWhy(whyNoWayToAsker)
			return Drop, NoRoute, true
		}
		if !f.EchoReply() {
			return Drop, BadICMPChecksum, true
		}
		v, r := w.emit(f, rt, &f.Flow.Dst, AnsweredEcho)
		if v == Send {
			v = Taken
		}
		return v, r, true
	}
	return Pass, noReason, false
}

// icmpError takes an ICMP error to where the packet it quotes came from: to the client
// for a packet to a server (ip_vs_out_icmp), to the server for a packet to a client
// (ip_vs_in_icmp), and to the client for one of the director's own tunnel packets.
func (w *Worker) icmpError(f *packet.Frame) (Verdict, Reason) {
	if martian(f) {
		return Drop, Martian
	}
	if sourceRouted(f) {
		return Drop, SourceRouted
	}
	if w.table.own[f.Flow.Dst] {
		if !f.Flow.V6 {
			if v, r, done := w.tunnelError(f); done {
				return v, r
			}
		}
		if v, r, done := w.tunnelTooBig(f); done {
			return v, r
		}
	}
	q, ok := quoted(f)
	if !ok || !w.table.serves(f.Flow.V6) {
		if w.explainWhy(whyQuoteFamily); !ok {
			w.explainWhy(whyBadQuote)
		}
		return Pass, ICMPError
	}
	if a, bound, ok := w.quotedToServer(&q, true); ok {
		return w.errorToClient(f, &q, &a, bound)
	}
	return w.errorToServer(f, &q)
}

// quotedToServer finds the connection whose client sent the quoted packet to a server.
func (w *Worker) quotedToServer(q *quote, explain bool) (a action, s *Server, ok bool) {
	fl := &q.flow
	sh, h := w.conns.Lock(fl.Proto, &fl.Src, fl.SrcPort, w.tick)
	defer sh.Unlock()
	r := sh.Out(h, &conntrack.Key{Client: fl.Src, ClientPort: fl.SrcPort, Other: fl.Dst, OtherPort: fl.DstPort, Proto: fl.Proto, V6: fl.V6})
	if r == 0 {
		return a, nil, false
	}
	c := sh.At(r)
	if explain {
		w.explainConn(c)
	}
	s = w.serverOf(c)
	return action{addr: c.Virtual, port: c.VirtualPort, method: conf.Forward(c.Method()), server: s}, s, true
}

// errorToClient makes the error one about the packet the client sent to the virtual
// service, from the virtual service, whoever reported it.
func (w *Worker) errorToClient(f *packet.Frame, q *quote, a *action, s *Server) (Verdict, Reason) {
	if a.method != conf.NAT {
		w.countOut(s, f)
		w.explainWhy(whyErrorUntouched)
		return Pass, ReplyUntouched
	}
	if !icmpSumOK(f) {
		return Drop, BadICMPChecksum
	}
	rt := w.route(&f.Flow.Dst)
	if rt == nil || rt.kind != Unicast {
		if rt != nil && rt.kind == ToHost && w.table.hostPort >= 0 {
			w.countOut(s, f)
			rewriteQuote(f, q, false, a.addr, a.port)
			return w.send(f, uint16(w.table.hostPort), &noHop, RelatedICMP)
		}
		w.explainWhy(whyNoWayBack)
		return Drop, NoRoute
	}
	if f.TTL <= 1 {
		w.explainWhy(whyErrorTTL)
		return Drop, TTLExceeded
	}
	if f.DF && w.tooLong(f, int(rt.mtu)) { // ip_forward, which answers no error
		return Drop, TooBig
	}
	w.countOut(s, f)
	encap.DecTTL(f)
	recordRoute(f, w.table.source(rt, f.Flow.V6))
	rewriteQuote(f, q, false, a.addr, a.port)
	return w.emit(f, rt, &f.Flow.Dst, RelatedICMP)
}

// errorToServer takes an error about a server's answer to that server.
func (w *Worker) errorToServer(f *packet.Frame, q *quote) (Verdict, Reason) {
	fl := &q.flow
	k := conntrack.Key{Client: fl.Dst, ClientPort: fl.DstPort, Other: fl.Src, OtherPort: fl.SrcPort, Proto: fl.Proto, V6: fl.V6}
	var a action
	s, h := w.conns.Lock(fl.Proto, &k.Client, k.ClientPort, w.tick)
	r := s.In(h, &k)
	if r != 0 {
		c := s.At(r)
		a = actionOf(c, w.serverOf(c))
		if a.method != conf.NAT && c.InPkts != ^uint32(0) {
			c.InPkts++
		}
		w.explainConn(c)
	}
	s.Unlock()
	if r == 0 {
		if !w.table.sysctl.ScheduleICMP.On() {
			return Pass, ICMPError
		}
		inverse := packet.Flow{Src: fl.Dst, SrcPort: fl.DstPort, Dst: fl.Src, DstPort: fl.SrcPort, Proto: fl.Proto, V6: fl.V6}
		var v Verdict
		var why Reason
		if a, v, why = w.schedule(f, &inverse, true, attempt{}); why != noReason {
			return v, why
		}
	}
	if !f.Flow.V6 && !icmpSumOK(f) { // ip_vs_in_icmp_v6 does not look
		return Drop, BadICMPChecksum
	}
	w.countIn(a.server, f)
	a.quote = q
	v, why := w.forward(f, &a)
	w.release(&a)
	return v, why
}

// tunnelError handles an error about a tunnel packet that the director made: the client
// whose packet was in it is told (ip_vs_in_icmp, the tunnel part). It is not done when
// the quoted packet is none of ours.
func (w *Worker) tunnelError(f *packet.Frame) (Verdict, Reason, bool) {
	var outer, inner quote
	if !quotedIP(f, f.L4+icmpHeader, false, &outer) {
		return 0, 0, false
	}
	at, v6, ok := w.tunnelPayload(f, &outer)
	if !ok || v6 || !quotedIP(f, at, false, &inner) || !quotedPorts(f, &inner) {
		return 0, 0, false
	}
	fl := &inner.flow
	s, h := w.conns.Lock(fl.Proto, &fl.Src, fl.SrcPort, w.tick)
	r := s.In(h, &conntrack.Key{Client: fl.Src, ClientPort: fl.SrcPort, Other: fl.Dst, OtherPort: fl.DstPort, Proto: fl.Proto})
	if r == 0 {
		s.Unlock()
		w.explainWhy(whyQuoteInner)
		return Pass, ICMPError, true
	}
	c := s.At(r)
	server := w.serverOf(c)
	w.explainConn(c)
	s.Unlock()
	if !icmpSumOK(f) {
		return Drop, BadICMPChecksum, true
	}
	typ, code := f.ICMPType()
	rest := binary.BigEndian.Uint32(f.Buf[f.L4+4:])
	if typ == 3 && code == 4 {
		rt := w.route(&outer.flow.Dst)
		if rt == nil || server == nil {
			w.explainWhy(whyNoTunnel)
			return Drop, NoRoute, true
		}
		before := server.pathMTU(int(rt.mtu), w.now)
		server.learnMTU(int(rest&0xffff), w.now)
		if !inner.df {
			return Taken, TunnelPathMTU, true
		}
		// The client is told the path's MTU as the packet found it, less an outer IPv4 header;
		// what has just been learnt decides about its next packet.
		if rest = uint32(before); rest > 68+20 {
			rest -= 20
		}
	}
	orig := packet.Frame{Buf: f.Buf, Start: inner.l3, End: f.IPEnd, L3: inner.l3, L4: inner.l4, IPEnd: f.IPEnd, Flow: inner.flow, Port: f.Port}
	w.sendICMPError(&orig, inner.flow.Dst, typ, code, rest)
	if server != nil && server.Available.Load() {
		k := w.count.at(server.ID) // what is counted is the quoted packet, as far as it is there
		k.OutPkts++
		k.OutBytes += uint64(f.IPEnd - inner.l3)
	}
	return Taken, TunnelError, true
}

// tunnelPayload is where the inner IP header begins in a quoted tunnel packet, and its
// family, if that is of a kind and to a server that tunnels go to.
func (w *Worker) tunnelPayload(f *packet.Frame, q *quote) (at uint32, v6, ok bool) {
	b := f.Buf[:f.IPEnd]
	t, known := w.table.tunnel(q.flow.Dst)
	if !known {
		return 0, false, false
	}
	var proto uint8
	switch {
	case t.Kind == encap.IPIP:
		at, proto = q.l4, q.flow.Proto
	case q.flow.Proto == packet.UDP && t.Kind == encap.GUE:
		if uint32(len(b)) < q.l4+12 || binary.BigEndian.Uint16(b[q.l4+2:]) != t.Port || b[q.l4+8]&0xe0 != 0 {
			return 0, false, false
		}
		at, proto = q.l4+12+4*uint32(b[q.l4+8]&0x1f), b[q.l4+9]
	case q.flow.Proto == packet.GRE && t.Kind == encap.GRE:
		if uint32(len(b)) < q.l4+4 || b[q.l4]&^0x80 != 0 || b[q.l4+1] != 0 {
			return 0, false, false
		}
		at = q.l4 + 4 + uint32(b[q.l4]>>7)*4
		switch binary.BigEndian.Uint16(b[q.l4+2:]) {
		case packet.EtherIPv4:
			proto = packet.IPIP
		case packet.EtherIPv6:
			proto = packet.IPv6
		}
	}
	return at, proto == packet.IPv6, proto == packet.IPv6 || proto == packet.IPIP
}

func (w *Worker) countIn(s *Server, f *packet.Frame) {
	if s != nil && s.Available.Load() {
		k := w.count.at(s.ID)
		k.InPkts++
		k.InBytes += uint64(f.IPLen())
	}
}

func (w *Worker) countOut(s *Server, f *packet.Frame) {
	if s != nil && s.Available.Load() {
		k := w.count.at(s.ID)
		k.OutPkts++
		k.OutBytes += uint64(f.IPLen())
	}
}

// hosts reports whether an address is the host's own, which then answers for it itself.
func (w *Worker) hosts(a packet.Addr) bool {
	rt := w.route(&a)
	return rt != nil && rt.kind == ToHost
}
