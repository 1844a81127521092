package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/packet"
)

// A vocabulary pairs the words of the file with the values of the model. Each word
// stands here once; reading, writing and error messages all use the same table.
type vocabulary[T comparable] []struct {
	word  string
	value T
}

func (v vocabulary[T]) value(word string) (value T, ok bool) {
	for _, e := range v {
		if e.word == word {
			return e.value, true
		}
	}
	return value, false
}

func (v vocabulary[T]) word(value T) string {
	for _, e := range v {
		if e.value == value {
			return e.word
		}
	}
	return ""
}

func (v vocabulary[T]) words() (words []string) {
	for _, e := range v {
		words = append(words, e.word)
	}
	return words
}

var (
	drivers  = vocabulary[Driver]{{"afpacket", AFPacket}, {"tun", TUN}, {"pcap", PCAP}}
	guards   = vocabulary[Guard]{{"on", GuardOn}, {"off", GuardOff}}
	modes    = vocabulary[Mode]{{"ring", RingMode}, {"batch", BatchMode}, {"blocks", BlocksMode}}
	latency  = vocabulary[Latency]{{"low", Low}, {"balanced", Balanced}, {"throughput", Throughput}}
	routes   = vocabulary[RouteKind]{{"unicast", Unicast}, {"local", LocalRoute}, {"unreachable", Unreachable}}
	families = vocabulary[bool]{{"ipv4", false}, {"ipv6", true}}
	forwards = vocabulary[Forward]{{"nat", NAT}, {"dr", DR}, {"tun", Tunnel}, {"fullnat", FullNAT}, {"local", Local}}
	tunnels  = vocabulary[TunType]{{"ipip", TunIPIP}, {"gue", TunGUE}, {"gre", TunGRE}}
	// IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM, _CSUM, _REMCSUM of linux/ip_vs.h
	checksums = vocabulary[uint8]{{"none", 0}, {"full", 1}, {"remote", 2}}
	engines   = vocabulary[string]{{"sip", "sip"}}

	serviceProtocols = vocabulary[uint8]{{"tcp", packet.TCP}, {"udp", packet.UDP}, {"sctp", packet.SCTP}}
	// markProtocols are the names of IANA's registry that mark rules are written for.
	markProtocols = vocabulary[uint8]{
		{"tcp", packet.TCP}, {"udp", packet.UDP}, {"sctp", packet.SCTP}, {"icmp", packet.ICMP},
		{"icmpv6", packet.ICMPv6}, {"gre", packet.GRE}, {"esp", packet.ESP}, {"ah", packet.AH}, {"ipip", packet.IPIP},
	}
)

// schedulers are the names that ipvsadm -s takes; "none" is a service without one.
var schedulers = []string{
	"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos", "none",
}

// schedulerFlags returns what ipvsadm --sched-flags calls the three flag bits of a
// scheduler; sh and mh have names of their own for two of them.
func schedulerFlags(scheduler string) vocabulary[uint8] {
	plain := vocabulary[uint8]{{"flag-1", SchedFlag1}, {"flag-2", SchedFlag2}, {"flag-3", SchedFlag3}}
	switch scheduler {
	case "sh":
		return append(vocabulary[uint8]{{"sh-fallback", SchedFlag1}, {"sh-port", SchedFlag2}}, plain...)
	case "mh":
		return append(vocabulary[uint8]{{"mh-fallback", SchedFlag1}, {"mh-port", SchedFlag2}}, plain...)
	}
	return plain
}

// spoken are the words other tools use for the forwarding methods: ipvsadm,
// ldirectord and keepalived, in that order.
var spoken = map[string]string{
	"masquerading": "nat", "masq": "nat", "gatewaying": "dr", "gate": "dr", "route": "dr", "ipip": "tun", "tunnel": "tun",
}

// oneOf lists what is allowed: "one of a, b, c".
func oneOf(words []string) string {
	if len(words) == 1 {
		return "only " + words[0]
	}
	return "one of " + strings.Join(words, ", ")
}

// String is the method's word in the file; a value that has none is a number.
func (f Forward) String() string {
	if w := forwards.word(f); w != "" {
		return w
	}
	return "method " + strconv.Itoa(int(f))
}

// V6Service reports whether the service takes IPv6 packets.
func (k ServiceKey) V6Service() bool {
	if k.Fwmark != 0 {
		return k.V6
	}
	return k.Addr.Is6()
}

// String is the service as the file spells it: "tcp/192.0.2.1:80",
// "udp/[2001:db8::1]:*" for all ports, "fwmark 3", "fwmark 3 ipv6".
func (k ServiceKey) String() string {
	if k.Fwmark != 0 {
		return fmt.Sprintf("fwmark %d%s", k.Fwmark, map[bool]string{true: " ipv6"}[k.V6])
	}
	proto := serviceProtocols.word(k.Proto)
	if proto == "" {
		proto = strconv.Itoa(int(k.Proto))
	}
	if k.Port == 0 {
		return proto + "/" + host(k.Addr) + ":*"
	}
	return proto + "/" + host(k.Addr) + ":" + strconv.Itoa(int(k.Port))
}

// canonical drops what does not tell services apart, so that equal keys are ==.
func (k ServiceKey) canonical() ServiceKey {
	if k.Fwmark != 0 {
		return ServiceKey{Fwmark: k.Fwmark, V6: k.V6}
	}
	return ServiceKey{Proto: k.Proto, Addr: k.Addr.Unmap(), Port: k.Port}
}

// String is the server's address and, unless it is 0, its port.
func (s *Server) String() string {
	if s.Port == 0 {
		return s.Addr.String()
	}
	return netip.AddrPortFrom(s.Addr, s.Port).String()
}

// host writes an address as it stands before a port.
func host(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// ServerID tells the servers of one service apart.
type ServerID struct {
	Addr netip.Addr
	Port uint16
}

// ID is the server's identity within its service.
func (s *Server) ID() ServerID { return ServerID{s.Addr.Unmap(), s.Port} }

func (id ServerID) String() string { return (&Server{Addr: id.Addr, Port: id.Port}).String() }

// Server returns the server of that identity, or nil. It points into the service.
func (s *Service) Server(id ServerID) *Server {
	i := slices.IndexFunc(s.Servers, func(d Server) bool { return d.ID() == id })
	if i < 0 {
		return nil
	}
	return &s.Servers[i]
}
