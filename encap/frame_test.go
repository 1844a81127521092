package encap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// spec describes a packet; gopacket builds it, so that what we expect never comes from
// the code under test.
type spec struct {
	v6             bool
	proto          uint8
	src, dst       packet.Addr
	sport, dport   uint16
	ttl, tos       uint8
	id             uint16
	df, mf         bool
	fragOff        uint16 // bytes
	opts           []layers.IPv4Option
	hopByHop       bool // IPv6: with a hop-by-hop header
	seq            uint32
	flags          uint8 // TCP flag bits, ECE and CWR included
	tcpOpts        int   // bytes of no-operation options
	payload        []byte
	noSum          bool // UDP without checksum
	l2             bool
	dstMAC, srcMAC packet.MAC
}

func ip(a packet.Addr) net.IP { return net.IP(a[:]) }

// layersOf is the IP packet of s as gopacket layers.
func (s spec) layersOf() []gopacket.SerializableLayer {
	var ls []gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	if s.v6 {
		l := &layers.IPv6{Version: 6, TrafficClass: s.tos, HopLimit: s.ttl, SrcIP: ip(s.src), DstIP: ip(s.dst), NextHeader: layers.IPProtocol(s.proto)}
		ls, network = append(ls, l), l
		if s.hopByHop {
			l.NextHeader = layers.IPProtocolIPv6HopByHop
			// Six bytes of PadN: RFC 8200 section 4.2.
			ls = append(ls, gopacket.Payload{s.proto, 0, 1, 4, 0, 0, 0, 0})
		}
	} else {
		l := &layers.IPv4{Version: 4, TOS: s.tos, TTL: s.ttl, Id: s.id, SrcIP: ip(s.src).To4(), DstIP: ip(s.dst).To4(), Protocol: layers.IPProtocol(s.proto), Options: s.opts, FragOffset: s.fragOff / 8}
		if s.df {
			l.Flags |= layers.IPv4DontFragment
		}
		if s.mf {
			l.Flags |= layers.IPv4MoreFragments
		}
		ls, network = append(ls, l), l
	}
	if s.fragOff != 0 || s.mf {
		return append(ls, gopacket.Payload(s.payload))
	}
	switch s.proto {
	case packet.TCP:
		l := &layers.TCP{SrcPort: layers.TCPPort(s.sport), DstPort: layers.TCPPort(s.dport), Seq: s.seq, Ack: ^s.seq, Window: 4321}
		l.FIN, l.SYN, l.RST, l.PSH = s.flags&1 != 0, s.flags&2 != 0, s.flags&4 != 0, s.flags&8 != 0
		l.ACK, l.URG, l.ECE, l.CWR = s.flags&16 != 0, s.flags&32 != 0, s.flags&64 != 0, s.flags&128 != 0
		for range s.tcpOpts {
			l.Options = append(l.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop})
		}
		must(l.SetNetworkLayerForChecksum(network))
		ls = append(ls, l)
	case packet.UDP:
		l := &layers.UDP{SrcPort: layers.UDPPort(s.sport), DstPort: layers.UDPPort(s.dport)}
		must(l.SetNetworkLayerForChecksum(network))
		ls = append(ls, l)
	case packet.SCTP:
		ls = append(ls, &layers.SCTP{SrcPort: layers.SCTPPort(s.sport), DstPort: layers.SCTPPort(s.dport), VerificationTag: s.seq})
	case packet.ICMPv6:
		l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
		must(l.SetNetworkLayerForChecksum(network))
		ls = append(ls, l)
	}
	return append(ls, gopacket.Payload(s.payload))
}

// wire is the whole frame of s with complete checksums.
func (s spec) wire() []byte {
	b := serialize(s.layersOf()...)
	s.fixUDP(b)
	return s.link(b, s.v6)
}

// link puts the Ethernet header of s before an IP packet, if s has one.
func (s spec) link(ipPacket []byte, v6 bool) []byte {
	if !s.l2 {
		return ipPacket
	}
	etherType := layers.EthernetTypeIPv4
	if v6 {
		etherType = layers.EthernetTypeIPv6
	}
	// By hand: gopacket would pad to 60 bytes.
	b := append(append([]byte{}, s.dstMAC[:]...), s.srcMAC[:]...)
	return append(binary.BigEndian.AppendUint16(b, uint16(etherType)), ipPacket...)
}

// fixUDP writes what gopacket leaves to its user: no checksum where none is wanted, and
// 0xffff for a computed 0 (RFC 768).
func (s spec) fixUDP(ipPacket []byte) {
	if s.proto != packet.UDP || s.fragOff != 0 || s.mf {
		return
	}
	check := ipPacket[s.headerLen()+6:][:2]
	switch {
	case s.noSum:
		check[0], check[1] = 0, 0
	case check[0]|check[1] == 0:
		check[0], check[1] = 0xff, 0xff
	}
}

// headerLen is the length of the IP headers before the transport header.
func (s spec) headerLen() int {
	n := 20
	switch {
	case s.v6 && s.hopByHop:
		n = 48
	case s.v6:
		n = 40
	}
	optLen := 0
	for _, o := range s.opts {
		if o.OptionType <= 1 {
			optLen++
		} else {
			optLen += int(o.OptionLength)
		}
	}
	return n + (optLen+3)&^3
}

func serialize(ls ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	must(gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...))
	return bytes.Clone(buf.Bytes())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// frame parses s's wire form; with partial its transport checksum is unfinished.
func (s spec) frame(t testing.TB, partial bool) *packet.Frame {
	t.Helper()
	f := load(t, s.wire(), s.l2)
	if partial {
		s.unfinish(t, f)
	}
	return f
}

// csumField is where the protocol of s keeps its checksum, -1 if a partial one makes no sense.
func (s spec) csumField() int {
	if s.fragOff != 0 || s.mf || s.noSum {
		return -1
	}
	switch s.proto {
	case packet.TCP:
		return 16
	case packet.UDP:
		return 6
	}
	return -1
}

// unfinish replaces f's transport checksum by the sum of the pseudo-header alone, as
// a local stack does that leaves the rest to the network card.
func (s spec) unfinish(t testing.TB, f *packet.Frame) {
	t.Helper()
	field := s.csumField()
	if field < 0 {
		t.Fatalf("no partial checksum for %+v", s)
	}
	at := len(f.Bytes()) - len(s.payload) - transportLen(s)
	f.Vnet.Flags |= packet.VnetNeedsCsum
	f.Vnet.CsumStart, f.Vnet.CsumOffset = uint16(at), uint16(field)
	size := transportLen(s) + len(s.payload)
	var pseudo []byte
	if s.v6 {
		pseudo = append(append(pseudo, s.src[:]...), s.dst[:]...)
	} else {
		pseudo = append(append(pseudo, s.src[12:]...), s.dst[12:]...)
	}
	pseudo = binary.BigEndian.AppendUint16(append(pseudo, 0, s.proto), uint16(size))
	binary.BigEndian.PutUint16(f.Bytes()[at+field:], slowSum(pseudo))
}

func transportLen(s spec) int {
	switch s.proto {
	case packet.TCP:
		return 20 + (s.tcpOpts+3)&^3
	case packet.UDP:
		return 8
	}
	return 0
}

// slowSum adds words one by one: RFC 1071 section 4.1.
func slowSum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// load puts b behind the headroom of a lent buffer and parses it.
func load(t testing.TB, b []byte, l2 bool) *packet.Frame {
	t.Helper()
	f := lend(b, l2)
	if bad := f.Parse(); bad != packet.None {
		t.Fatalf("parse %x: %v", b, bad)
	}
	return f
}

func lend(b []byte, l2 bool) *packet.Frame {
	buf := make([]byte, packet.Headroom+len(b))
	copy(buf[packet.Headroom:], b)
	return &packet.Frame{Buf: buf, Start: packet.Headroom, End: uint32(len(buf)), L2: l2, Port: 3}
}

// checkFields fails unless f's fields are what a new Parse finds.
func checkFields(t testing.TB, f *packet.Frame) {
	t.Helper()
	g := &packet.Frame{Buf: f.Buf, Start: f.Start, End: f.End, Port: f.Port, L2: f.L2, Vnet: f.Vnet}
	if bad := g.Parse(); bad != packet.None {
		t.Fatalf("the result does not parse: %v: %x", bad, f.Bytes())
	}
	if got, want := fields(f), fields(g); got != want {
		t.Fatalf("fields differ from those of a new Parse\n got %s\nwant %s", got, want)
	}
}

func fields(f *packet.Frame) string {
	c := *f
	c.Buf = nil
	return fmt.Sprintf("%+v", c)
}

func checkBytes(t testing.TB, got, want []byte, what any) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%+v:\n got %x\nwant %x", what, got, want)
	}
}

// randomSpec is any packet a director may meet.
func randomSpec(r *rand.Rand) spec {
	s := spec{
		v6: r.IntN(2) == 0, l2: r.IntN(4) != 0,
		src: randomAddr(r), dst: randomAddr(r),
		sport: uint16(r.Uint32()), dport: uint16(r.Uint32()),
		ttl: uint8(2 + r.IntN(254)), tos: uint8(r.Uint32()), id: uint16(r.Uint32()), df: r.IntN(2) == 0,
		seq: r.Uint32(), flags: uint8(r.Uint32()), tcpOpts: 4 * r.IntN(11),
		payload: make([]byte, r.IntN(80)),
		noSum:   r.IntN(8) == 0,
		dstMAC:  packet.MAC{2, 0, 0, 0, 1, 1}, srcMAC: packet.MAC{2, 0, 0, 0, 1, 0xfe},
	}
	for i := range s.payload {
		s.payload[i] = byte(r.Uint32())
	}
	s.proto = []uint8{packet.TCP, packet.TCP, packet.UDP, packet.UDP, packet.SCTP, packet.ESP, packet.ICMPv6}[r.IntN(7)]
	if !s.v6 {
		s.src, s.dst = packet.AddrFrom4(s.src.As4()), packet.AddrFrom4(s.dst.As4())
		if s.proto == packet.ICMPv6 {
			s.proto = packet.GRE
		}
		if r.IntN(4) == 0 { // record route, not copied; router alert, copied
			s.opts = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}},
				{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}, {OptionType: 1}}
		}
	} else {
		s.hopByHop = r.IntN(6) == 0
		if s.proto == packet.ICMPv6 && len(s.payload) < 4 {
			s.payload = make([]byte, 4)
		}
	}
	if s.proto != packet.UDP || s.v6 {
		s.noSum = false
	}
	return s
}

func randomAddr(r *rand.Rand) (a packet.Addr) {
	for i := range a {
		a[i] = byte(r.Uint32())
	}
	return a
}

func rng(n uint64) *rand.Rand { return rand.New(rand.NewPCG(20, n)) }
