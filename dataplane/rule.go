package dataplane

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// ruleTexts say for each reason which rule or setting decides so, in the operator's
// words. What stands in braces is the packet's own: see words. What follows a semicolon is
// what the sender is told, which no ICMP error's sender is.
var ruleTexts = [Reasons]string{
	ForwardNAT:    "{server} is served by nat: destination address and port are replaced",
	ForwardDR:     "{server} is served by dr: only the link addresses are replaced",
	ForwardTunnel: "{server} is served by tun: the packet is wrapped for it",
	ForwardLocal:  "{server} is on the director's own host, which host_port leads to",
	ForwardBypass: "{service} has no server available and sysctl cache_bypass is on: the packet goes on to where it was sent",
	ForwardReply:  "an answer of {server}: its source becomes the virtual service",
	RelatedICMP:   "an ICMP error about a connection: it is told to the client as one about the virtual service",
	Resolving:     "the link address of the next hop is asked for, and the packet waits for the answer",

	AnsweredEcho:  "the address belongs to a virtual service and to no host, so the director answers its pings",
	TunnelError:   "an ICMP error about a tunnel packet of the director: the client whose packet was in it is told",
	TunnelPathMTU: "the MTU of the path to a tunnel server was learnt, and the packet inside was one that may be cut",
	FragmentHeld:  "a fragment: it waits for the rest of its packet, 30 s for IPv4 and 60 s for IPv6",
	Neighbor:      "ARP and neighbour discovery end at the director's neighbour cache",

	NotIP:          "neither IPv4, IPv6 nor ARP by its Ethernet type: the host's",
	NotForUs:       "sent to another link address than the port's",
	NotBalanced:    "only TCP, UDP and SCTP are balanced, and this is IP protocol {proto}: the host's",
	NoService:      "no virtual service listens on {key}: the host's",
	NoConnection:   "belongs to no connection, and only a SYN opens one of TCP (sysctl sloppy_tcp is off): the host's",
	FTPData:        "of FTP service {service} only port 21 opens connections, other ports wait to be announced there: the host's",
	ReplyUntouched: "the connection's method is {method}, whose servers answer their clients themselves: the host's",

	Short:          "shorter than an Ethernet and an IP header",
	BadVersion:     "the IP version is not that of the Ethernet type",
	BadHeaderLen:   "an IP header or extension header that leaves the packet",
	BadLength:      "the IP length is beyond the frame or shorter than the header",
	BadIPChecksum:  "wrong IPv4 header checksum",
	ShortTransport: "no whole TCP, UDP, SCTP or ICMP header",
	BadTransport:   "a TCP header that leaves the packet",

	FragmentRefused:      "its fragments make no packet",
	ICMPError:            "an ICMP error, and the packet that it quotes belongs to no connection (sysctl schedule_icmp is off): the host's",
	BadICMPChecksum:      "wrong ICMP checksum, which a rewritten copy would hide",
	BadTransportChecksum: "wrong TCP checksum on an FTP control connection, whose text the director reads",
	NotAnswered:          "the server of this FTP control connection has not answered the client's SYN yet",
	NoCallID:             "{service} keeps clients by Call-ID (persistence engine sip), and the packet has none",
	Defended:             "{service} would take a new connection, which the sysctl drop_packet drops: one of each am_droprate",
	Martian:              "nobody on a link has the source address {src}: loopback, this net, multicast or broadcast",
	SourceRouted:         "IPv4 source route option, which is not followed",
	StrayAnswer:          "{src} is a nat server and the packet belongs to no connection (sysctl nat_icmp_send is on); the server is told port unreachable",
	RefusalWithheld:      "{server} refuses the connection, and the client is not told (redispatch of {service}): it asks again, and goes to another server if there is one",
	NoDestination:        "no server of {service} can take the connection; the client is told port unreachable",
	PortMismatch:         "{service} takes other ports than its own only while it is persistent, and it is not; the client is told port unreachable",
	ServerGone:           "the connection's server {server} was removed (sysctl expire_nodest_conn is off, so the connection stays)",
	TableFull:            "the connection table is full (conntrack.max_connections), so {service} gets no new connection",
	TTLExceeded:          "TTL {ttl} is spent on the way to {server}; the client is told time exceeded",
	TooBig:               "longer than the {mtu} bytes of the way to {server}, and not to be cut (DF, or IPv6); the client is told the MTU",
	NoRoute:              "no route leads to {server}; the client is told host unreachable",
	NoHostPort:           "{server} is on the director's own host, and no host_port leads there",
	TunnelTooSmall:       "the tunnel to {server} leaves {mtu} bytes, fewer than the least MTU of its IP family",
	NotEncapsulated:      "the packet cannot be wrapped for the tunnel to {server}",
	NotSegmented:         "a super-frame of a kind that cannot be cut into packets",
}

// why tells apart the rules that share a reason. The zero value is the reason's first.
type why uint8

const (
	firstWhy why = iota
	whyNoFamily
	whyFragmentFamily
	whyMarked
	whyReset
	whyNoInit
	whyFTPSource
	whyICMP
	whyIPsec
	whyBadQuote
	whyQuoteFamily
	whyQuoteInner
	whyErrorUntouched
	whyNoServers
	whyAllQuiesced
	whyAllOverloaded
	whyHashed
	whyAllAtWeight
	whySchedulerNone
	whyAnswerTTL
	whyErrorTTL
	whyAnswerTooBig
	whyTunnelTooBig
	whyUncuttable
	whyDeadEnd
	whyNoWayBack
	whyNoWayToAsker
	whyNoTunnel
	whyFragmentTwice
	whyFragmentOverlaps
	whyFragmentTooMany
	whyFragmentOversize
	whyFragmentLength
	whyFragmentECN
	whyFragmentMalformed
	whyNoMethod
	whyServerBegins
	whyAstray
	whys // their number
)

var whyTexts = [whys]struct {
	of   Reason
	text string
}{
	whyNoFamily:       {NoService, "there is no virtual service of {family}, so nothing of it is looked at: the host's"},
	whyFragmentFamily: {NoService, "a fragment, and there is no virtual service of {family} for which it would be collected: the host's"},
	whyMarked:         {NoService, "no virtual service listens on {key}, and none is for fwmark {mark}, which a mark rule gave it: the host's"},
	whyReset:          {NoConnection, "belongs to no connection, and a RST or ABORT opens none: the host's"},
	whyNoInit:         {NoConnection, "belongs to no connection, and only an INIT opens one of SCTP (sysctl sloppy_sctp is off): the host's"},
	whyFTPSource:      {FTPData, "from port 20, which FTP servers call back from: it opens no connection of {service}: the host's"},

	whyICMP:           {NotBalanced, "ICMP that is neither an error nor a ping to an address that only virtual services have: the host's"},
	whyIPsec:          {NotBalanced, "AH and ESP go the way of a connection between UDP ports 500, and there is none: the host's"},
	whyBadQuote:       {ICMPError, "an ICMP error that quotes no readable TCP, UDP or SCTP packet: the host's"},
	whyQuoteFamily:    {ICMPError, "an ICMP error, and there is no virtual service of {family}: the host's"},
	whyQuoteInner:     {ICMPError, "an ICMP error about a tunnel packet of the director, and what was in it belongs to no connection: the host's"},
	whyErrorUntouched: {ReplyUntouched, "an ICMP error about a connection whose method is {method}, which names real addresses already: the host's"},

	whyNoServers:     {NoDestination, "{service} has no server; the client is told port unreachable"},
	whyAllQuiesced:   {NoDestination, "all servers of {service} have weight 0; the client is told port unreachable"},
	whyAllOverloaded: {NoDestination, "all servers of {service} have weight 0 or are overloaded (upper threshold); the client is told port unreachable"},
	whyHashed:        {NoDestination, "the server of {service} that scheduler {scheduler} leads this packet to has weight 0 or is overloaded, and no fallback is set; the client is told port unreachable"},
	whyAllAtWeight:   {NoDestination, "every server of {service} has as many connections as its weight, which scheduler ovf takes for a limit; the client is told port unreachable"},
	whySchedulerNone: {NoDestination, "{service} has scheduler none, which chooses no server; the client is told port unreachable"},

	whyAnswerTTL:    {TTLExceeded, "TTL {ttl} of the answer of {server} is spent; the server is told time exceeded"},
	whyErrorTTL:     {TTLExceeded, "TTL {ttl} of the ICMP error is spent"},
	whyAnswerTooBig: {TooBig, "the answer of {server} is longer than the {mtu} bytes of the way to the client, and not to be cut (DF, or IPv6); the server is told the MTU"},
	whyTunnelTooBig: {TooBig, "longer than the {mtu} bytes that the tunnel to {server} leaves, and not to be cut (DF, or IPv6; sysctl pmtu_disc); the client is told the MTU"},
	whyUncuttable:   {TooBig, "longer than the {mtu} bytes of its way out, and cannot be cut"},
	whyDeadEnd:      {NoRoute, "the route to {server} is a dead end (unreachable); the client is told host unreachable"},
	whyNoWayBack:    {NoRoute, "no route out of a port leads back to the client {dst}"},
	whyNoWayToAsker: {NoRoute, "no route out of a port leads back to {src}, which asks for an echo"},
	whyNoTunnel:     {NoRoute, "the tunnel's server or the route to it is gone, so its MTU is not learnt"},

	whyFragmentTwice:     {FragmentRefused, "a fragment that is there already"},
	whyFragmentOverlaps:  {FragmentRefused, "a fragment that overlaps another: its whole packet is given up (RFC 5722)"},
	whyFragmentTooMany:   {FragmentRefused, "one fragment too many for a packet"},
	whyFragmentOversize:  {FragmentRefused, "a fragment that reaches beyond the longest IP packet"},
	whyFragmentLength:    {FragmentRefused, "a fragment that is empty, no multiple of 8 bytes, or contradicts the packet's end"},
	whyFragmentECN:       {FragmentRefused, "its fragments have congestion marks that do not go together (RFC 3168): the packet is given up"},
	whyFragmentMalformed: {FragmentRefused, "its fragments came together, and make no well-formed packet"},

	whyServerBegins: {ForwardReply, "{server} itself begins a call of {service} (persistence engine sip): its source becomes the virtual service"},

	whyAstray: {StrayAnswer, "{src} answers a connection of the director's own by another port than its requests leave by: a client's answer would pass the director by"},

	whyNoMethod: {NotEncapsulated, "{server} has a forwarding method that the director does not know"},
}

// Rule says which rule or setting decides so, for a packet that is not at hand. For one
// that is, Trace.Rule names its objects and tells apart the rules that share a reason.
func (r Reason) Rule() string { return genericWords.Replace(ruleTexts[r]) }

var genericWords = strings.NewReplacer("{service}", "the service", "{server}", "the server", "{src}", "the source",
	"{dst}", "its destination", "{key}", "its destination", "{family}", "its IP family", "{method}", "dr or tun", "{proto}", "another", "{mtu}", "MTU",
	"{ttl}", "of 1 or 0", "{mark}", "of the packet", "{scheduler}", "of the service")

// Rule says which rule or setting decided that the frame ended with reason r, with the
// service, server and figures that the trace has: one sentence without a full stop.
func (t *Trace) Rule(r Reason) string {
	text := ruleTexts[r]
	if y := whyTexts[t.why]; t.why != firstWhy && y.of == r {
		text = y.text
	}
	text = t.words().Replace(text)
	if t.Flow.Proto == packet.ICMP || t.Flow.Proto == packet.ICMPv6 { // no error about an error: RFC 1122 section 3.2.2
		text, _, _ = strings.Cut(text, "; ")
	}
	if t.refused {
		text = strings.TrimSuffix(text, ": the host's") + ": refused as its host would, for only the director has the address"
	}
	switch t.Ended {
	case "":
	case redispatch:
		text = "its server refused the connection before (redispatch), then: " + text
	default:
		text = "its older connection was ended (sysctl " + t.Ended + "), then: " + text
	}
	return text
}

// words fill the braces.
func (t *Trace) words() *strings.Replacer {
	service, server, method := "the service", "the server", "dr or tun"
	if c := t.Conn; c != nil {
		server, method = c.Dest.String(), c.Method.String()
		service = conf.ServiceKey{Proto: c.Proto, Addr: c.Virtual.Addr(), Port: c.Virtual.Port()}.String()
	}
	if t.Service != nil {
		service = t.Service.Key.String()
	}
	key := conf.ServiceKey{Proto: t.Flow.Proto, Addr: t.Flow.Dst.Netip(), Port: t.Flow.DstPort}
	family := "IPv4"
	if t.Flow.V6 {
		family = "IPv6"
	}
	return strings.NewReplacer("{service}", service, "{server}", server, "{method}", method, "{family}", family,
		"{src}", end(t.Flow.Src, t.Flow.SrcPort), "{dst}", end(t.Flow.Dst, t.Flow.DstPort), "{key}", key.String(),
		"{proto}", strconv.Itoa(int(t.Flow.Proto)), "{mtu}", strconv.Itoa(t.mtu), "{ttl}", strconv.Itoa(int(t.ttl)),
		"{mark}", strconv.FormatUint(uint64(t.mark), 10), "{scheduler}", t.asked)
}

func end(a packet.Addr, port uint16) string {
	if port == 0 {
		return a.Netip().String()
	}
	return netip.AddrPortFrom(a.Netip(), port).String()
}
