package conf

import (
	"net/netip"
	"time"
)

// Config is the desired state of a director, complete: every default is filled in
// and every rule of Validate holds. It is what a file, commands and the API edit.
type Config struct {
	Director  Director
	Metrics   Metrics
	API       API
	Ports     []Port
	Routes    []Route
	Neighbors []Neighbor
	Conntrack Conntrack
	Sysctl    Sysctl
	Marks     []Mark
	Services  []Service
}

// Director holds what concerns the process as a whole.
type Director struct {
	Name         string // names the guard's nftables table; default "dirigo"
	Workers      int    // 0: one per CPU
	Control      string // path of the control socket
	ControlGroup string // group that may use the socket too; "": root alone
	FollowRoutes bool   // take routes and on-link addresses from the kernel (default true)
	Announce     int    // gratuitous ARPs per VIP at start; default 2
	HostPort     string // name of the tun port that leads to the host's own stack; "" for none
	Pin          bool   // each worker to a CPU of its own
}

// Driver says how a port gets its frames.
type Driver uint8

const (
	AFPacket Driver = iota // rings on an interface of the host
	TUN                    // a multi-queue TUN device; IP packets without Ethernet header
	PCAP                   // a capture file, replay only
)

// Guard says whether the director keeps the host's own stack off balanced frames.
type Guard uint8

const (
	GuardOn Guard = iota
	GuardOff
)

// Latency says what a port's frames are waited for with.
type Latency uint8

const (
	Balanced   Latency = iota // a lone frame at once, under load in batches
	Low                       // every frame at once
	Throughput                // in batches, for the least work a frame
)

// BusyPoll is how long a worker looks for the next frame before it sleeps, unless the
// file says otherwise.
func (l Latency) BusyPoll() time.Duration {
	switch l {
	case Low:
		return time.Millisecond
	case Balanced:
		return 50 * time.Microsecond
	}
	return 0
}

// Mode says how an afpacket port receives.
type Mode uint8

const (
	RingMode   Mode = iota // a ring shared with the kernel
	BatchMode              // by recvmmsg(2)
	BlocksMode             // a ring shared with the kernel, in blocks of many frames
)

// Port is one way in and out.
type Port struct {
	Name      string // interface name
	Driver    Driver
	Guard     Guard
	Addresses []netip.Prefix // the director's own addresses on this port (DIPs); empty: those of the interface
	MAC       [6]byte        // zero: the interface's
	MTU       int            // bytes of IP packet; 0: the interface's
	RingSlots int            // receive ring slots for each worker; power of two
	Mode      Mode           // of an afpacket port
	Latency   Latency
	BusyPoll  time.Duration // see Latency.BusyPoll
}

// RouteKind says what a route does with a packet.
type RouteKind uint8

const (
	Unicast     RouteKind = iota // leads out by a port
	LocalRoute                   // to the director's own host, as an address configured there is
	Unreachable                  // a dead end: the sender is told host unreachable
)

// Route says where packets to Dest go. Via invalid means on-link. Of a Kind other than
// Unicast only Dest means something.
type Route struct {
	Dest netip.Prefix
	Kind RouteKind
	Via  netip.Addr
	Port string
	Src  netip.Addr // source address of what the director itself sends that way; invalid: the port's first address
	MTU  int        // 0: the port's
}

// Neighbor is a static binding: it is never asked for and never overwritten.
type Neighbor struct {
	Address netip.Addr
	MAC     [6]byte
	Port    string
}

// Conntrack bounds the connection table and sets its three changeable timeouts.
type Conntrack struct {
	MaxConnections int
	TCP            time.Duration // ESTABLISHED; ipvsadm --set, 900 s
	TCPFin         time.Duration // FIN_WAIT; 120 s
	UDP            time.Duration // 300 s
}

// Sysctl holds the net.ipv4.vs.* settings that mean something here, by the kernel's
// names, units and defaults.
type Sysctl struct {
	ConnReuseMode           int    // conn_reuse_mode, default 1
	ExpireNodestConn        Switch // expire_nodest_conn
	ExpireQuiescentTemplate Switch // expire_quiescent_template
	SloppyTCP               Switch // sloppy_tcp
	SloppySCTP              Switch // sloppy_sctp
	NATICMPSend             Switch // nat_icmp_send
	ScheduleICMP            Switch // schedule_icmp
	PMTUDisc                Switch // pmtu_disc, default on
	CacheBypass             Switch // cache_bypass
	RunEstimation           Switch // run_estimation, default on
	SecureTCP               int    // secure_tcp 0..3
	DropEntry               int    // drop_entry 0..3
	DropPacket              int    // drop_packet 0..3
	AmDroprate              int    // am_droprate, default 10
	Amemthresh              int    // amemthresh in 4 KiB pages, default 1024
	LBLCExpiration          time.Duration
	LBLCRExpiration         time.Duration

	idle [idleNumbers]int // settings without effect, which are only read back
}

// Switch is a setting that is on when it is not 0, as the kernel tests it: 5 and -1 are
// taken too, and read back as written.
type Switch int

// On and Off as the file says them.
const (
	Off Switch = 0
	On  Switch = 1
)

// On reports whether the switch is not 0.
func (s Switch) On() bool { return s != 0 }

// onOff is the switch that says b.
func onOff(b bool) Switch {
	if b {
		return On
	}
	return Off
}

// PortRange is an inclusive range of transport ports.
type PortRange struct{ First, Last uint16 }

// Mark is one classification rule: a packet that matches every condition gets
// mark = (mark &^ Mask) | Value. Rules are tried in order, all of them, as iptables
// MARK targets are (non-terminating); so the last match wins where masks overlap.
type Mark struct {
	V6          bool           // family the rule applies to
	AnyFamily   bool           // no address given: both families
	Proto       uint8          // 0: any
	Source      []netip.Prefix // any of; empty: any
	Dest        []netip.Prefix
	SourcePorts []PortRange // any of; empty: any. Needs Proto tcp, udp or sctp
	DestPorts   []PortRange
	InPort      string // name of the port it came in by; "": any
	Value, Mask uint32 // Mask 0xffffffff unless written
}

// ServiceKey identifies a virtual service: either Proto, Addr and Port, or Fwmark.
type ServiceKey struct {
	Proto  uint8      // packet.TCP, UDP or SCTP; 0 for a fwmark service
	Addr   netip.Addr // VIP; invalid for a fwmark service
	Port   uint16     // 0: all ports (persistent services)
	Fwmark uint32
	V6     bool // family of a fwmark service
}

// Forward is the forwarding method of a real server; the values are the kernel's
// IP_VS_CONN_F_FWD_MASK values.
type Forward uint8

const (
	NAT     Forward = 0 // IP_VS_CONN_F_MASQ
	Local   Forward = 1 // IP_VS_CONN_F_LOCALNODE
	Tunnel  Forward = 2 // IP_VS_CONN_F_TUNNEL
	DR      Forward = 3 // IP_VS_CONN_F_DROUTE
	Bypass  Forward = 4 // IP_VS_CONN_F_BYPASS; never configured
	FullNAT Forward = 5 // as in the Alibaba and DPVS trees
)

// TunType is the encapsulation of a Tunnel server (IP_VS_CONN_F_TUNNEL_TYPE_…).
type TunType uint8

const (
	TunIPIP TunType = 0
	TunGUE  TunType = 1
	TunGRE  TunType = 2
)

// Scheduler flag bits as in struct ip_vs_service_user, shifted to bit 0:
// flag-1 (sh-fallback, mh-fallback), flag-2 (sh-port, mh-port), flag-3.
const (
	SchedFlag1 uint8 = 1 << iota
	SchedFlag2
	SchedFlag3
)

// Persistence is a service's stickiness.
type Persistence struct {
	Timeout time.Duration // 0: not persistent; whole seconds
	Netmask netip.Addr    // IPv4: a dotted mask, holes allowed; invalid: 255.255.255.255
	Prefix  int           // IPv6: prefix length; 0: 128
	Engine  string        // persistence engine: "" or "sip"
}

// SameRedispatch is the Redispatch of an EditService that has no word for it.
const SameRedispatch = -1

// Service is one virtual service with its real servers in the order they were added
// (the first is the oldest).
type Service struct {
	Name        string // optional, unique when given; for people, logs and metrics
	Key         ServiceKey
	Scheduler   string // ipvsadm's name: "wlc"
	SchedFlags  uint8
	OnePacket   bool // ipvsadm -o
	Redispatch  int  // how often a server's refusal of a connection is kept from the client, who asks again; 0: never
	Persistence Persistence
	Health      *Health // nil: its servers are not checked
	Servers     []Server
}

// Server is one real server of a service.
type Server struct {
	Name    string
	Addr    netip.Addr
	Port    uint16 // 0: the packet's own port (fwmark and port-0 services)
	Forward Forward
	Weight  int // 0: quiesced
	Upper   int // u-threshold; 0: none
	Lower   int // l-threshold

	TunType  TunType
	TunPort  uint16 // GUE
	TunFlags uint8  // 0 nocsum, 1 csum, 2 remcsum (IP_VS_TUNNEL_ENCAP_FLAG_…)

	Checks []HealthCheck // in place of the service's; nil: those
}
