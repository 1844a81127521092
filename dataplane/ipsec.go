package dataplane

import (
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// isakmp is the UDP port of IKE at both ends (RFC 7296 section 2). An AH or ESP packet
// goes the way of the connection between these ports: it is never scheduled, and has no
// ports of its own (ip_vs_proto_ah_esp.c).
const isakmp = 500

// isIPsec reports whether f is AH or ESP. Their fragments are not collected
// (ip_vs_protocol.dont_defrag): each goes by its addresses.
func isIPsec(f *packet.Frame) bool {
	return f.Flow.Proto == packet.ESP || f.Flow.Proto == packet.AH
}

// ipsec is the journey of an AH or ESP packet. It leaves its connection's state alone
// and renews its timer.
func (w *Worker) ipsec(f *packet.Frame) (Verdict, Reason) {
	ike := f.Flow
	ike.Proto, ike.SrcPort, ike.DstPort = packet.UDP, isakmp, isakmp
	if a, ok := w.ipsecReply(&ike); ok {
		w.countOut(a.server, f)
		return w.answer(f, &a)
	}
	a, ok, gone := w.ipsecRequest(&ike)
	switch {
	case gone:
		return Drop, ServerGone
	case !ok:
		w.explainWhy(whyIPsec)
		return Pass, NotBalanced
	}
	w.countIn(a.server, f)
	return w.forward(f, &a)
}

// ipsecReply finds the connection of a packet from a server.
func (w *Worker) ipsecReply(fl *packet.Flow) (a action, ok bool) {
	s, h := w.conns.Lock(fl.Proto, &fl.Dst, isakmp, w.tick)
	defer s.Unlock()
	r := s.Out(h, &conntrack.Key{Client: fl.Dst, ClientPort: isakmp, Other: fl.Src, OtherPort: isakmp, Proto: fl.Proto, V6: fl.V6})
	if r == 0 {
		return a, false
	}
	c := s.At(r)
	s.Touch(r, w.tick)
	w.explainConn(c)
	return action{addr: c.Virtual, method: conf.Forward(c.Method()), server: w.serverOf(c)}, true
}

// ipsecRequest finds the connection of a packet from a client. gone says that its server
// was removed and expire_nodest_conn is off.
func (w *Worker) ipsecRequest(fl *packet.Flow) (a action, ok, gone bool) {
	s, h := w.conns.Lock(fl.Proto, &fl.Src, isakmp, w.tick)
	defer s.Unlock()
	r := s.In(h, &conntrack.Key{Client: fl.Src, ClientPort: isakmp, Other: fl.Dst, OtherPort: isakmp, Proto: fl.Proto, V6: fl.V6})
	if r == 0 {
		return a, false, false
	}
	c := s.At(r)
	w.explainConn(c)
	server := w.serverOf(c)
	if server != nil && !server.Available.Load() {
		if !w.table.sysctl.ExpireNodestConn.On() {
			return a, false, true
		}
		s.Expire(r, w.tick)
		return a, false, false
	}
	if c.InPkts != ^uint32(0) {
		c.InPkts++
	}
	s.Touch(r, w.tick)
	return actionOf(c, server), true, false
}
