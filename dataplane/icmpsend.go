package dataplane

import (
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// icmpKind is an ICMP error by meaning; each family has its own numbers for it.
type icmpKind uint8

const (
	icmpPortUnreachable icmpKind = iota
	icmpHostUnreachable
	icmpProtocolUnreachable // with 0 (IPv4) or where the protocol is named (IPv6) as its rest
	icmpTimeExceeded
	icmpTooBig // with the MTU as its rest
)

// icmpCodes are type and code by family: RFC 792, RFC 1191, RFC 4443.
var icmpCodes = [...][2][2]uint8{
	icmpPortUnreachable:     {{3, 3}, {1, 4}},
	icmpHostUnreachable:     {{3, 1}, {1, 3}},
	icmpProtocolUnreachable: {{3, 2}, {4, 1}},
	icmpTimeExceeded:        {{11, 0}, {3, 0}},
	icmpTooBig:              {{3, 4}, {2, 0}},
}

// sendICMP tells a packet's source why it goes no further.
func (w *Worker) sendICMP(f *packet.Frame, src packet.Addr, kind icmpKind, rest uint32) {
	family := 0
	if f.Flow.V6 {
		family = 1
	}
	code := icmpCodes[kind][family]
	w.sendICMPError(f, src, code[0], code[1], rest)
}

// sendICMPError makes an ICMP error about f from src and sends it to f's source, routed
// like any packet of the director's own.
func (w *Worker) sendICMPError(f *packet.Frame, src packet.Addr, typ, code uint8, rest uint32) {
	if !w.mayTell() {
		return
	}
	rt := w.route(&f.Flow.Src)
	host := rt != nil && rt.kind == ToHost && int(f.Port) == w.table.hostPort // a probe of ours
	if rt == nil || rt.kind != Unicast && !host {
		return
	}
	out := w.arena.frame(packet.Headroom + 1500)
	b := packet.AppendICMPError(out.Buf[packet.Headroom:packet.Headroom], f, src, typ, code, rest)
	if len(b) == 0 {
		return // not about such a packet: RFC 1122 section 3.2.2
	}
	*out = packet.Frame{Buf: out.Buf, Start: packet.Headroom, End: packet.Headroom + uint32(len(b)), Port: f.Port}
	if out.Parse() != packet.None {
		return
	}
	// The director's own errors pass the hook for servers' answers too: one about a packet
	// to a DR or tunnel server counts there (ip_vs_out at LOCAL_OUT).
	if q, ok := quoted(out); ok {
		if a, s, ok := w.quotedToServer(&q, false); ok && a.method != conf.NAT {
			w.countOut(s, out)
		}
	}
	if host {
		w.send(out, f.Port, &noHop, ForwardReply)
		return
	}
	w.emit(out, rt, &out.Flow.Dst, ForwardReply)
}

// mayTell limits the errors the director makes, so that forged packets cannot make it
// flood whom they name: so many a second and a short burst, shared evenly by the workers
// (sysctls icmp_msgs_per_sec and icmp_msgs_burst).
func (w *Worker) mayTell() bool {
	rate := w.plane.icmpRate
	if rate == 0 {
		return true
	}
	share := max(time.Duration(len(w.plane.workers))*time.Second/time.Duration(rate), 1) // time to earn one
	w.icmpCredit = min(w.icmpCredit+w.now-w.icmpSince, icmpBurst*share)
	w.icmpSince = w.now
	if w.icmpCredit < share {
		return false
	}
	w.icmpCredit -= share
	return true
}

// icmpBurst is how many errors may be made at once.
const icmpBurst = 50
