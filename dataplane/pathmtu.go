package dataplane

import (
	"encoding/binary"
	"time"

	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// A tunnel's path may be narrower than its first link: routers on it say so by ICMP
// frag needed about the outer packet. What they say holds for pathMTUAge, as in the
// kernel's route exceptions (sysctl ip_rt_mtu_expires), and no less than leastPathMTU is
// believed (ip_rt_min_pmtu).
const (
	pathMTUAge   = 10 * time.Minute
	leastPathMTU = 552
)

// pathMTU is the MTU of the way to s, at most the link's.
func (s *Server) pathMTU(link int, now time.Duration) int {
	if m := s.mtu.Load(); m != 0 && int64(now) < s.mtuUntil.Load() {
		return min(link, int(m))
	}
	return link
}

// learnMTU takes a router's word for the MTU of the way to s.
func (s *Server) learnMTU(mtu int, now time.Duration) {
	s.mtu.Store(int32(max(mtu, leastPathMTU)))
	s.mtuUntil.Store(int64(now + pathMTUAge))
}

// leastPathMTU6 is the least MTU of an IPv6 path, whatever a router says (RFC 8201
// section 4).
const leastPathMTU6 = 1280

// tunnelTooBig learns what a router says of a tunnel packet with IPv6 outside, inside or
// both, if a connection's packet is in it. With the kernel it is the host's own stack
// that keeps it, as a route exception (ip6_update_pmtu, ipv4_update_pmtu); here too the
// client is not told before its next packet. It is not done when the message is about anything else.
func (w *Worker) tunnelTooBig(f *packet.Frame) (Verdict, Reason, bool) {
	var outer, inner quote
	if !quotedIP(f, f.L4+icmpHeader, f.Flow.V6, &outer) {
		return 0, 0, false
	}
	typ, code := f.ICMPType()
	mtu := binary.BigEndian.Uint32(f.Buf[f.L4+4:])
	if f.Flow.V6 {
		if typ != packet.ICMPv6TooBig { // RFC 4443 section 3.2
			return 0, 0, false
		}
		mtu = max(mtu, leastPathMTU6)
	} else if mtu &= 0xffff; typ != packet.ICMPUnreachable || code != 4 { // RFC 1191 section 4
		return 0, 0, false
	}
	at, v6, ok := w.tunnelPayload(f, &outer)
	if !ok || !quotedIP(f, at, v6, &inner) || !quotedPorts(f, &inner) {
		return 0, 0, false
	}
	fl := &inner.flow
	s, h := w.conns.Lock(fl.Proto, &fl.Src, fl.SrcPort, w.tick)
	r := s.In(h, &conntrack.Key{Client: fl.Src, ClientPort: fl.SrcPort, Other: fl.Dst, OtherPort: fl.DstPort, Proto: fl.Proto, V6: v6})
	var server *Server
	if r != 0 {
		server = w.serverOf(s.At(r))
		w.explainConn(s.At(r))
	}
	s.Unlock()
	switch {
	case server == nil:
		w.explainWhy(whyQuoteInner)
		return Pass, ICMPError, true
	case !icmpSumOK(f):
		return Drop, BadICMPChecksum, true
	}
	server.learnMTU(int(min(mtu, 1<<16)), w.now)
	return Taken, TunnelPathMTU, true
}
