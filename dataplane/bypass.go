package dataplane

import (
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// bypasses reports whether a packet that a fwmark service has no server for goes on to
// where it was sent: a transparent cache whose servers are down must not cut its clients
// off from the network (sysctl cache_bypass; ip_vs_leave).
func (w *Worker) bypasses(fl *packet.Flow, icmp bool, svc *Service) bool {
	return w.table.sysctl.CacheBypass.On() && svc.Key.Fwmark != 0 && !icmp && w.unicast(fl.Dst)
}

// unicast reports whether an address is one other host's (inet_addr_type: RTN_UNICAST).
func (w *Worker) unicast(a packet.Addr) bool {
	if !a.Is4() {
		return a[0] != 0xff && a != packet.Addr{} && !w.hosts(a)
	}
	return a[12] != 0 && a[12] < 224 && !w.table.broadcasts[a] && !w.hosts(a)
}

// bypass makes the entry of such a connection, which is bound to no server, and takes
// the packet as its first.
func (w *Worker) bypass(f *packet.Frame, fl *packet.Flow, rules *serviceRules) (a action, v Verdict, r Reason) {
	a = action{addr: fl.Dst, port: fl.DstPort, method: conf.Bypass}
	if rules.onePacket && fl.Proto == packet.UDP {
		return a, Pass, noReason
	}
	c := conntrack.Conn{
		Client: fl.Src, ClientPort: fl.SrcPort, Virtual: fl.Dst, VirtualPort: fl.DstPort, Proto: fl.Proto,
		Server: conntrack.NoServer, Flags: conntrack.Flags(conf.Bypass), Timeout: conntrack.Initial,
	}
	if fl.V6 {
		c.Flags |= conntrack.FlagV6 | conntrack.FlagDestV6
	} else {
		c.Dest = packet.AddrFrom4([4]byte{})
	}
	s, h := w.conns.Lock(fl.Proto, &fl.Src, fl.SrcPort, w.tick)
	defer s.Unlock()
	ref, err := s.Insert(h, &c, 0, w.tick)
	if err != nil {
		return a, Drop, TableFull
	}
	w.fromClient(s, ref, s.At(ref), f, nil)
	return a, Pass, noReason
}
