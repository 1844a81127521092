package ipvsadm

import (
	"net/netip"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// Stats are totals since the last zeroing. Bytes are of IP packets.
type Stats struct {
	Conns, InPkts, OutPkts, InBytes, OutBytes uint64
}

// Rates are per second; BPS are bytes.
type Rates struct {
	CPS, InPPS, OutPPS, InBPS, OutBPS uint64
}

// ServiceEntry is a virtual service in a listing.
type ServiceEntry struct {
	Service conf.Service // its Servers are not looked at
	Stats   Stats
	Rates   Rates
	Servers []ServerEntry // in the kernel's order: newest first; shown so with --nosort
}

// ServerEntry is a real server in a listing.
type ServerEntry struct {
	Server      conf.Server
	ActiveConn  uint32
	InActConn   uint32
	PersistConn uint32 // persistence templates
	Stats       Stats
	Rates       Rates
}

// ConnEntry is a connection or a persistence template in a listing.
type ConnEntry struct {
	Proto   uint8         // IP protocol number; 0 for the template of a fwmark service
	Expire  time.Duration // left to live; shown in whole seconds, rounded down
	State   string        // the kernel's name: ESTABLISHED, UDP, NONE…
	Client  netip.AddrPort
	Virtual netip.AddrPort // of a fwmark template: the mark as an address
	Dest    netip.AddrPort
	PEName  string // persistence engine; "" for none
	PEData  string // what the engine found, as text
}

// protoName is ip_vs_proto_name of the kernel; "" for a protocol without a name there.
func protoName(proto uint8) string {
	switch proto {
	case 0:
		return "IP"
	case packet.ICMP:
		return "ICMP"
	case packet.TCP:
		return "TCP"
	case packet.UDP:
		return "UDP"
	case packet.ICMPv6:
		return "ICMPv6"
	case packet.SCTP:
		return "SCTP"
	}
	return ""
}
