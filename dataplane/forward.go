package dataplane

import (
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// forward sends a client's packet to the server that a names, by its method. The order
// of the checks decides which ICMP error a client sees: route, TTL, MTU
// (__ip_vs_get_out_rt and the transmitters of ip_vs_xmit.c).
func (w *Worker) forward(f *packet.Frame, a *action) (Verdict, Reason) {
	to := &a.addr
	if a.method == conf.Bypass { // whose entry names no server
		to = &f.Flow.Dst
	}
	rt := w.route(to)
	switch {
	case rt == nil || rt.kind == Unreachable || rt.kind == ToHost && a.method == conf.Bypass:
		if rt != nil {
			w.explainWhy(whyDeadEnd)
		}
		w.sendICMP(f, f.Flow.Dst, icmpHostUnreachable, 0)
		return Drop, NoRoute
	case rt.kind == ToHost || a.method == conf.Local:
		return w.toHost(f, a)
	}
	mtu := int(rt.mtu)
	if a.server != nil && a.server.mtu.Load() != 0 {
		mtu = a.server.pathMTU(mtu, w.now)
	}
	if a.method == conf.Tunnel {
		w.outer(a, rt)
		mtu -= encap.Overhead(&w.tunnelTo)
	}
	if f.TTL <= 1 {
		w.sendICMP(f, f.Flow.Dst, icmpTimeExceeded, 0)
		return Drop, TTLExceeded
	}
	encap.DecTTL(f)
	if a.method == conf.Tunnel && (mtu < 68 || w.tunnelTo.V6 && mtu < 1280) { // RFC 791; RFC 8200
		w.explainMTU(firstWhy, mtu)
		return Drop, TunnelTooSmall
	}
	if hasOptions(f) {
		recordRoute(f, &f.Flow.Dst)
	}
	if (a.quote == nil || f.Flow.V6) && w.refusesSize(f, a.method, mtu) {
		if w.explainMTU(firstWhy, mtu); a.method == conf.Tunnel {
			w.explainMTU(whyTunnelTooBig, mtu)
		}
		w.sendICMP(f, f.Flow.Dst, icmpTooBig, uint32(mtu))
		return Drop, TooBig
	}
	switch a.method {
	case conf.NAT:
		if a.app != 0 && a.quote == nil {
			if why := w.ftpCommand(f, a); why != noReason {
				return Drop, why
			}
		}
		w.translate(f, a)
	case conf.Tunnel:
		return w.tunnel(f, &w.tunnelTo, rt, mtu+encap.Overhead(&w.tunnelTo))
	}
	if int(a.method) >= len(methodReason) {
		w.explainWhy(whyNoMethod)
		return Drop, NotEncapsulated
	}
	return w.emit(f, rt, to, methodReason[a.method])
}

// outer makes w.tunnelTo the tunnel to the server that a names, along rt.
func (w *Worker) outer(a *action, rt *route) {
	t := &w.tunnelTo
	if a.server != nil {
		*t = a.server.rules.Load().tunnel
	} else {
		*t = encap.Tunnel{Dst: a.addr, V6: !a.addr.Is4()}
	}
	t.Src, t.PMTUDisc = *w.table.source(rt, t.V6), w.table.sysctl.PMTUDisc.On()
}

// translate makes a client's packet, or an ICMP error that quotes a server's, one for
// the server.
func (w *Worker) translate(f *packet.Frame, a *action) {
	if a.quote != nil {
		rewriteQuote(f, a.quote, true, a.addr, a.port)
		return
	}
	encap.Dest(f, a.addr, a.port)
}

// refusesSize reports whether a packet is longer than mtu and may not be cut. With
// pmtu_disc off a tunnel takes anything of IPv4 and cuts the outer packet.
func (w *Worker) refusesSize(f *packet.Frame, method conf.Forward, mtu int) bool {
	if !w.tooLong(f, mtu) {
		return false
	}
	return f.DF && !(method == conf.Tunnel && !f.Flow.V6 && !w.table.sysctl.PMTUDisc.On())
}

// stopsReply reports whether ip_forward would stop a server's packet before the hook
// that translates it: its TTL is spent, or it is too long for its way out and may not
// be cut. Such a packet does not count for its connection.
func (w *Worker) stopsReply(f *packet.Frame) bool {
	rt := w.route(&f.Flow.Dst)
	return f.TTL <= 1 || rt != nil && rt.kind == Unicast && f.DF && w.tooLong(f, int(rt.mtu))
}

// answer sends a server's packet to the client with the virtual service as its source.
// Only NAT needs that; answers of other methods that come by here are none of ours.
func (w *Worker) answer(f *packet.Frame, a *action) (Verdict, Reason) {
	if a.method != conf.NAT {
		return Pass, ReplyUntouched
	}
	if a.withheld {
		return Drop, RefusalWithheld
	}
	rt := w.route(&f.Flow.Dst)
	if rt == nil || rt.kind != Unicast {
		if rt != nil && rt.kind == ToHost {
			return w.answerHost(f, a)
		}
		w.explainWhy(whyNoWayBack)
		return Drop, NoRoute
	}
	if f.TTL <= 1 {
		w.explainWhy(whyAnswerTTL)
		w.sendICMP(f, w.ownAddr(f), icmpTimeExceeded, 0)
		return Drop, TTLExceeded
	}
	if f.DF && w.tooLong(f, int(rt.mtu)) {
		w.explainMTU(whyAnswerTooBig, int(rt.mtu))
		w.sendICMP(f, w.ownAddr(f), icmpTooBig, rt.mtu)
		return Drop, TooBig
	}
	encap.DecTTL(f)
	if hasOptions(f) {
		recordRoute(f, w.table.source(rt, f.Flow.V6))
	}
	if a.app != 0 {
		if f = w.ftpReply(f, a); f == nil {
			return Drop, BadTransportChecksum
		}
	}
	encap.Source(f, a.addr, a.port)
	return w.emit(f, rt, &f.Flow.Dst, ForwardReply)
}

// toHost delivers a packet to the director's own host by the port that leads there:
// with the server's address and port for NAT, unchanged for the other methods
// (forwarding to a local node knows neither TTL nor MTU).
func (w *Worker) toHost(f *packet.Frame, a *action) (Verdict, Reason) {
	if w.table.hostPort < 0 {
		return Drop, NoHostPort
	}
	if a.method == conf.NAT {
		w.translate(f, a)
	}
	return w.send(f, uint16(w.table.hostPort), &noHop, ForwardLocal)
}

// tunnel wraps a packet and sends it. A super-frame is cut first: no link can be told
// how to cut one behind an outer header. mtu is the path's, which may be less than rt's.
func (w *Worker) tunnel(f *packet.Frame, t *encap.Tunnel, rt *route, mtu int) (Verdict, Reason) {
	if !encap.NeedsSegmenting(f, true, true) {
		return w.wrap(f, t, rt, mtu)
	}
	if !w.seg.Reset(f) {
		return Drop, NotSegmented
	}
	v, r := Send, ForwardTunnel
	for {
		dst := w.arena.frame(w.seg.Size())
		if !w.seg.Next(dst) {
			return v, r
		}
		dst.Port = f.Port
		if sv, sr := w.wrap(dst, t, rt, mtu); sv != Send {
			v, r = sv, sr
		}
	}
}

func (w *Worker) wrap(f *packet.Frame, t *encap.Tunnel, rt *route, mtu int) (Verdict, Reason) {
	*w.ipID++
	if !encap.Encapsulate(f, t, *w.ipID) {
		return Drop, NotEncapsulated
	}
	return w.emitCut(f, rt, &t.Dst, mtu, ForwardTunnel)
}

// emit sends a finished packet along rt, the route of address to, in fragments where it
// is too long (what must not be cut has been refused before).
func (w *Worker) emit(f *packet.Frame, rt *route, to *packet.Addr, reason Reason) (Verdict, Reason) {
	return w.emitCut(f, rt, to, int(rt.mtu), reason)
}

// emitCut is emit for a path whose MTU may be less than its first link's.
func (w *Worker) emitCut(f *packet.Frame, rt *route, to *packet.Addr, mtu int, reason Reason) (Verdict, Reason) {
	hop := &rt.via
	if rt.onLink {
		hop = to
	}
	if w.fits(f, mtu) {
		return w.send(f, rt.port, hop, reason)
	}
	whole, pieces := w.cut(f, mtu)
	switch {
	case whole:
		return w.send(f, rt.port, hop, reason)
	case !pieces:
		w.explainMTU(whyUncuttable, mtu)
		return Drop, TooBig
	}
	v, r := Send, reason
	for {
		dst := w.arena.frame(w.frag.Size())
		if !w.frag.Next(dst) {
			return v, r
		}
		dst.Port = f.Port
		if sv, sr := w.send(dst, rt.port, hop, reason); sv != Send || sr != reason {
			v, r = sv, sr
		}
	}
}

// source is the address the director uses on its way along rt, for outer headers and
// queries: the route's own, else the port's.
func (t *Table) source(rt *route, v6 bool) *packet.Addr {
	switch p := &t.ports[rt.port]; {
	case rt.src != (packet.Addr{}) && rt.src.Is4() != v6:
		return &rt.src
	case v6:
		return &p.addr6
	default:
		return &p.addr4
	}
}

// ownAddr is the director's address on the port a frame came in by.
func (w *Worker) ownAddr(f *packet.Frame) packet.Addr {
	if f.Flow.V6 {
		return w.table.ports[f.Port].addr6
	}
	return w.table.ports[f.Port].addr4
}
