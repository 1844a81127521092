package twin

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// IP protocol numbers, from the IANA registry.
const (
	protoICMP   = 1
	protoIPIP   = 4
	protoTCP    = 6
	protoUDP    = 17
	protoIPv6   = 41
	protoFrag   = 44
	protoICMPv6 = 58
	protoSCTP   = 132
)

const etherLen = 14

// ip is an IP packet taken apart. l4 is everything behind the IP header and, in IPv6,
// behind the extension headers ext, the first of which is a next.
type ip struct {
	v6       bool
	src, dst netip.Addr
	tos, ttl uint8
	proto    uint8  // of l4
	id       uint16 // IPv4
	flags    uint8  // IPv4: three bits, the lowest is MF, the middle one DF
	offset   uint16 // IPv4: in units of 8 bytes
	options  []byte // IPv4
	more     bool   // pieces follow; IPv4 has it in flags too
	fragID   uint32 // IPv6: of a piece
	largest  int    // length of the longest piece that it came in, with its headers; 0 if it came whole
	lengths  []int  // of the data of those pieces
	label    uint32 // IPv6
	next     uint8  // IPv6: what the fixed header names, proto if ext is empty
	ext      []byte // IPv6
	l4       []byte
	mark     uint32 // given by the rules
	asked    bool   // for by an ICMP error only: no more of it is known than its ends
	wire     []byte // the whole packet as it came, nil once something has changed
}

func (p *ip) df() bool { return p.v6 || p.flags&2 != 0 }

// length is that of the whole IP packet in bytes.
func (p *ip) length() int {
	if p.v6 {
		return 40 + len(p.ext) + len(p.l4)
	}
	return 20 + len(p.options) + len(p.l4)
}

// ports are those of TCP, UDP and SCTP.
func (p *ip) ports() (src, dst uint16) {
	return binary.BigEndian.Uint16(p.l4), binary.BigEndian.Uint16(p.l4[2:])
}

func (p *ip) from() netip.AddrPort {
	s, _ := p.ports()
	return netip.AddrPortFrom(p.src, s)
}

func (p *ip) to() netip.AddrPort {
	_, d := p.ports()
	return netip.AddrPortFrom(p.dst, d)
}

// buffer is used again and again: what serialize returns is a copy.
var buffer = gopacket.NewSerializeBuffer()

// serialize lets gopacket write layers and their checksums.
func serialize(ls ...gopacket.SerializableLayer) []byte {
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{ComputeChecksums: true}, ls...); err != nil {
		panic(err)
	}
	return bytes.Clone(buffer.Bytes())
}

// header is the fixed IP header as gopacket has it.
func (p *ip) header() gopacket.NetworkLayer {
	if p.v6 {
		return &layers.IPv6{
			Version: 6, TrafficClass: p.tos, FlowLabel: p.label, Length: uint16(len(p.ext) + len(p.l4)),
			NextHeader: layers.IPProtocol(p.next), HopLimit: p.ttl, SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice(),
		}
	}
	var opts []layers.IPv4Option
	eachOption(p.options, func(o []byte) {
		opt := layers.IPv4Option{OptionType: o[0], OptionLength: uint8(len(o))}
		if len(o) > 1 {
			opt.OptionData = o[2:]
		}
		opts = append(opts, opt)
	})
	return &layers.IPv4{
		Version: 4, IHL: uint8(5 + len(p.options)/4), TOS: p.tos, Length: uint16(p.length()), Id: p.id,
		Flags: layers.IPv4Flag(p.flags), FragOffset: p.offset, TTL: p.ttl, Protocol: layers.IPProtocol(p.proto),
		SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice(), Options: opts,
	}
}

// tooLong reports whether the packet must be cut for a link; an IPv6 packet that came in
// pieces leaves in pieces, so that only their length counts.
func (p *ip) tooLong(mtu int) bool {
	if p.v6 && p.largest > 0 {
		return p.largest > mtu
	}
	return p.length() > mtu
}

// hop is what every forwarder does to a packet (RFC 1812 section 5.3.1).
func (p *ip) hop() {
	p.ttl--
	p.wire = nil
}

// bytes is the packet on the wire: as it came, or with its IPv4 header checksum computed
// anew.
func (p *ip) bytes() []byte {
	if p.wire != nil {
		return p.wire
	}
	return serialize(p.header().(gopacket.SerializableLayer), gopacket.Payload(p.ext), gopacket.Payload(p.l4))
}

// eachOption walks well-formed IPv4 options (RFC 791 section 3.1): end and no-operation
// have one byte, all others a length. It reports whether they are well-formed.
func eachOption(b []byte, f func([]byte)) bool {
	for len(b) > 0 {
		n := 1
		if b[0] > 1 {
			if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
				return false
			}
			n = int(b[1])
		}
		f(b[:n])
		b = b[n:]
	}
	return true
}

// sumField is where the checksum of TCP (RFC 9293 section 3.1) or UDP (RFC 768) is.
func (p *ip) sumField() []byte {
	if p.proto == protoTCP {
		return p.l4[16:18]
	}
	return p.l4[6:8]
}

// rightSum is the checksum that TCP or UDP ought to have here, by gopacket.
func (p *ip) rightSum() uint16 {
	if p.proto == protoTCP {
		b := p.l4
		tcp := layers.TCP{
			SrcPort: layers.TCPPort(binary.BigEndian.Uint16(b)), DstPort: layers.TCPPort(binary.BigEndian.Uint16(b[2:])),
			Seq: binary.BigEndian.Uint32(b[4:]), Ack: binary.BigEndian.Uint32(b[8:]), DataOffset: b[12] >> 4,
			NS: b[12]&1 != 0, CWR: b[13]&0x80 != 0, ECE: b[13]&0x40 != 0, URG: b[13]&0x20 != 0, ACK: b[13]&0x10 != 0,
			PSH: b[13]&8 != 0, RST: b[13]&4 != 0, SYN: b[13]&2 != 0, FIN: b[13]&1 != 0,
			Window: binary.BigEndian.Uint16(b[14:]), Urgent: binary.BigEndian.Uint16(b[18:]),
		}
		must(tcp.SetNetworkLayerForChecksum(p.header()))
		serialize(&tcp, gopacket.Payload(b[20:])) // options go as payload: the sum is the same
		// The three reserved bits are none of gopacket's: a checksum is the complement of a sum.
		return ones(int(tcp.Checksum) - int(b[12]&0x0e)<<8)
	}
	size := int(binary.BigEndian.Uint16(p.l4[4:]))
	if size < 8 || size > len(p.l4) {
		size = len(p.l4)
	}
	udp := layers.UDP{
		SrcPort: layers.UDPPort(binary.BigEndian.Uint16(p.l4)), DstPort: layers.UDPPort(binary.BigEndian.Uint16(p.l4[2:])),
		Length: binary.BigEndian.Uint16(p.l4[4:]),
	}
	must(udp.SetNetworkLayerForChecksum(p.header()))
	serialize(&udp, gopacket.Payload(p.l4[8:size]))
	return udp.Checksum
}

// ones brings n into the range of checksums: they are counted modulo 65535 (RFC 1071
// section 1), with 0 for zero.
func ones(n int) uint16 { return uint16((n%0xffff + 0xffff) % 0xffff) }

// translated is the packet with an end changed by set, as NAT does it: the checksum is
// right if it was right before, and else wrong by as much as it was (tcp_dnat_handler
// updates without verifying). A UDP checksum of 0, which is none, becomes a real one
// (udp_dnat_handler), unless the length field makes that impossible.
func (p ip) translated(set func(*ip)) ip {
	if p.proto == protoSCTP {
		return p.translatedSCTP(set)
	}
	was, right := binary.BigEndian.Uint16(p.sumField()), p.rightSum()
	p.l4, p.wire = bytes.Clone(p.l4), nil
	set(&p)
	sum := ones(int(p.rightSum()) + int(was) - int(right))
	if p.proto == protoUDP {
		if size := int(binary.BigEndian.Uint16(p.l4[4:])); was == 0 && (size < 8 || size > len(p.l4)) {
			return p
		} else if was == 0 {
			sum = ones(int(p.rightSum()))
		}
		if sum == 0 {
			sum = 0xffff
		}
	}
	binary.BigEndian.PutUint16(p.sumField(), sum)
	return p
}

// toServer and toClient are the two translations of NAT.
func (p ip) toServer(server netip.AddrPort) ip {
	return p.translated(func(p *ip) {
		p.dst = server.Addr()
		binary.BigEndian.PutUint16(p.l4[2:], server.Port())
	})
}

func (p ip) toClient(virtual netip.AddrPort) ip {
	return p.translated(func(p *ip) {
		p.src = virtual.Addr()
		binary.BigEndian.PutUint16(p.l4, virtual.Port())
	})
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
