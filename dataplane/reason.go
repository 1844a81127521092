package dataplane

import (
	"slices"

	"github.com/dirigo-lb/dirigo/packet"
)

// Verdict says what became of a frame.
type Verdict uint8

const (
	Pass  Verdict = iota // not ours: the host has its own copy and does what it likes
	Send                 // rewritten and handed to a port, or kept until its next hop is resolved
	Taken                // answered here: ARP, NDP, ICMP echo to a VIP
	Drop                 // ours, and ends here
)

var verdictNames = [...]string{"pass", "send", "taken", "drop"}

func (v Verdict) String() string { return verdictNames[v] }

// Reason says why. Every frame ends with exactly one; it is the counter's name, the
// metric's label, the trace's word and a test's expectation.
type Reason uint8

const (
	// Send
	ForwardNAT Reason = iota
	ForwardDR
	ForwardTunnel
	ForwardLocal
	ForwardBypass // to where the client sent it, as no server is available (cache_bypass)
	ForwardReply  // a server's answer, with the virtual service as its source
	RelatedICMP   // an ICMP error about a connection, translated to the client
	Resolving     // waits for the next hop's link address

	// Taken
	AnsweredEcho
	TunnelError   // an ICMP error about a tunnel packet, told to the client inside
	TunnelPathMTU // the same, of which only the MTU is taken
	FragmentHeld  // waits for the rest of its packet
	Neighbor      // an ARP or NDP frame, consumed by the neighbour cache

	// Pass; Taken for a VIP that only the director has, which then answers as its host would
	NotIP
	NotForUs     // another link address
	NotBalanced  // a protocol that is never scheduled
	NoService    // nothing listens there
	NoConnection // belongs to no connection and may not open one: TCP without SYN, or with RST
	FTPData      // source port 20 (ip_vs_schedule), or a port of an FTP service other than 21
	ReplyUntouched

	// Drop: what was wrong with the frame
	Short
	BadVersion
	BadHeaderLen
	BadLength
	BadIPChecksum
	ShortTransport
	BadTransport

	// Drop: what stood in the way
	FragmentRefused // overlaps, is too many, or makes no packet
	ICMPError       // belongs to no connection
	BadICMPChecksum
	BadTransportChecksum // of an FTP control connection, whose text must be read
	NotAnswered          // of such a connection: the server has not answered the client's SYN
	NoCallID             // a SIP service, and a packet without a Call-ID
	Defended             // a new connection, refused by the drop_packet defence
	Martian              // a source address that nobody can have
	SourceRouted         // IPv4 source route options
	StrayAnswer          // a NAT server's packet without a connection, with nat_icmp_send
	RefusalWithheld      // a NAT server refuses; the client will ask again (redispatch)
	NoDestination        // no server is available; the client is told port unreachable
	PortMismatch         // the service's port is another and nothing sticks clients together
	ServerGone           // its connection's server was removed
	TableFull            // conntrack.ErrFull
	TTLExceeded          // the sender is told
	TooBig               // with DF; the sender is told
	NoRoute              // the sender is told host unreachable
	NoHostPort           // a local server, and no port leads to the host
	TunnelTooSmall       // the tunnel's MTU is below the family's least
	NotEncapsulated      // no headroom or a method that cannot carry this family
	NotSegmented         // a super-frame of a kind that cannot be split
	Reasons              // their number
)

var reasonNames = [Reasons]string{
	ForwardNAT: "forward_nat", ForwardDR: "forward_dr", ForwardTunnel: "forward_tunnel",
	ForwardLocal: "forward_local", ForwardBypass: "forward_bypass", ForwardReply: "forward_reply", RelatedICMP: "related_icmp", TunnelError: "tunnel_error", TunnelPathMTU: "tunnel_path_mtu", BadICMPChecksum: "bad_icmp_checksum", BadTransportChecksum: "bad_transport_checksum", NotAnswered: "not_answered", SourceRouted: "source_routed", Martian: "martian", Defended: "defended", NoCallID: "no_call_id", StrayAnswer: "stray_answer", RefusalWithheld: "refusal_withheld", Resolving: "resolving",
	AnsweredEcho: "answered_echo", Neighbor: "neighbor",
	NotIP: "not_ip", NotForUs: "not_for_us", NotBalanced: "not_balanced", NoService: "no_service",
	NoConnection: "no_connection", FTPData: "ftp_data", ReplyUntouched: "reply_untouched",
	Short: "short", BadVersion: "bad_version", BadHeaderLen: "bad_header_len", BadLength: "bad_length",
	BadIPChecksum: "bad_ip_checksum", ShortTransport: "short_transport", BadTransport: "bad_transport",
	FragmentRefused: "fragment_refused", FragmentHeld: "fragment_held", ICMPError: "icmp_error",
	NoDestination: "no_dest", PortMismatch: "port_mismatch", ServerGone: "server_gone", TableFull: "table_full",
	TTLExceeded: "ttl_exceeded", TooBig: "too_big", NoRoute: "no_route",
	NoHostPort: "no_host_port", TunnelTooSmall: "tunnel_too_small", NotEncapsulated: "not_encapsulated",
	NotSegmented: "not_segmented",
}

func (r Reason) String() string { return reasonNames[r] }

// badReason turns the parser's finding into ours: packet knows bytes, not counters.
var badReason = [...]Reason{
	packet.Short: Short, packet.NotIP: NotIP, packet.ARP: Neighbor, packet.BadVersion: BadVersion,
	packet.BadHeaderLen: BadHeaderLen, packet.BadLength: BadLength, packet.BadIPChecksum: BadIPChecksum,
	packet.ShortTransport: ShortTransport, packet.BadTransport: BadTransport,
}

// ParseReason finds a reason by its word.
func ParseReason(s string) (Reason, bool) {
	i := slices.Index(reasonNames[:], s)
	return Reason(max(i, 0)), i >= 0
}

// ParseVerdict finds a verdict by its word.
func ParseVerdict(s string) (Verdict, bool) {
	i := slices.Index(verdictNames[:], s)
	return Verdict(max(i, 0)), i >= 0
}

// Drops reports whether frames that end for this reason are dropped.
func (r Reason) Drops() bool { return slices.Contains(r.Verdicts(), Drop) }
