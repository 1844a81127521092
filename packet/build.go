package packet

import "encoding/binary"

// Spec describes a packet to build: what probes send, and what tests are written in.
// Zero fields get the usual value where one is named.
type Spec struct {
	Flow
	EthDst, EthSrc MAC

	TTL uint8  // TTL or hop limit; 0: 64
	TOS uint8  // TOS or traffic class
	ID  uint16 // IPv4 identification
	DF  bool   // IPv4 don't fragment

	TCPFlags   uint8
	Seq, Ack   uint32
	Window     uint16 // 0: 65535
	TCPOptions []byte // a multiple of 4 bytes, 40 at most

	UDPNoSum bool // checksum 0

	ICMPType, ICMPCode uint8
	ICMPRest           uint32 // second word of the header: id and sequence number, an MTU

	Payload []byte // behind the transport header; behind the IP header for other protocols
}

// Frame builds the whole Ethernet frame, not padded, with right checksums and lengths.
func (s Spec) Frame() []byte {
	ethertype := uint16(EtherIPv4)
	if s.V6 {
		ethertype = EtherIPv6
	}
	return append(appendEther(nil, s.EthDst, s.EthSrc, ethertype), s.IP()...)
}

// IP builds the IP packet alone.
func (s Spec) IP() []byte {
	ttl := s.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	t := s.transport()
	if s.V6 {
		return append(appendIPv6(nil, s.Src, s.Dst, s.TOS, s.Proto, ttl, len(t)), t...)
	}
	h := ipv4Fields{tos: s.TOS, proto: s.Proto, ttl: ttl, id: s.ID, df: s.DF}
	return append(appendIPv4(nil, s.Src, s.Dst, h, len(t)), t...)
}

// transport builds the transport header and the payload.
func (s Spec) transport() []byte {
	var b []byte
	check := 0
	switch s.Proto {
	case TCP:
		if s.Window == 0 {
			s.Window = 65535
		}
		check = tcpCheck
		b = s.appendPorts(b)
		b = binary.BigEndian.AppendUint32(b, s.Seq)
		b = binary.BigEndian.AppendUint32(b, s.Ack)
		b = append(b, byte(tcpLen+len(s.TCPOptions))<<2, s.TCPFlags)
		b = binary.BigEndian.AppendUint16(b, s.Window)
		b = append(b, 0, 0, 0, 0) // checksum, urgent pointer
		b = append(b, s.TCPOptions...)
	case UDP:
		check = udpCheck
		b = s.appendPorts(b)
		b = binary.BigEndian.AppendUint16(b, uint16(udpLen+len(s.Payload)))
		b = append(b, 0, 0)
	case SCTP:
		b = s.appendPorts(b)
		b = append(b, make([]byte, 8)...) // verification tag, checksum
		b = append(b, s.Payload...)
		binary.LittleEndian.PutUint32(b[sctpCheck:], SCTPChecksum(b))
		return b
	case ICMP:
		return setICMPChecksum(appendICMP(b, s.ICMPType, s.ICMPCode, s.ICMPRest, s.Payload), 0, 0)
	case ICMPv6:
		b = appendICMP(b, s.ICMPType, s.ICMPCode, s.ICMPRest, s.Payload)
		return setICMPChecksum(b, 0, PseudoSum(s.Flow, ICMPv6, len(b)))
	default:
		return s.Payload
	}
	b = append(b, s.Payload...)
	if s.Proto == UDP && s.UDPNoSum {
		return b
	}
	sum := ^Fold(Sum(b, PseudoSum(s.Flow, s.Proto, len(b))))
	if sum == 0 && s.Proto == UDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[check:], sum)
	return b
}

func (s Spec) appendPorts(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, s.SrcPort)
	return binary.BigEndian.AppendUint16(b, s.DstPort)
}

// NewFrame returns a frame of its own with a copy of the Ethernet frame b behind
// Headroom free bytes. It is not parsed.
func NewFrame(b []byte) *Frame {
	f := NewIPFrame(b)
	f.L2 = true
	return f
}

// NewIPFrame is NewFrame for an IP packet without Ethernet header.
func NewIPFrame(b []byte) *Frame {
	buf := make([]byte, Headroom+len(b))
	copy(buf[Headroom:], b)
	return &Frame{Buf: buf, Start: Headroom, End: uint32(len(buf))}
}

// ipv4Fields are the fields of an IPv4 header that differ from packet to packet, beside
// its addresses and length.
type ipv4Fields struct {
	tos, proto, ttl uint8
	id              uint16
	df              bool
}

// appendIPv4 appends an IPv4 header without options, for size bytes of payload.
func appendIPv4(b []byte, src, dst Addr, h ipv4Fields, size int) []byte {
	at := len(b)
	frag := uint16(0)
	if h.df {
		frag = 0x4000
	}
	b = append(b, 0x45, h.tos)
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4Len+size))
	b = binary.BigEndian.AppendUint16(b, h.id)
	b = binary.BigEndian.AppendUint16(b, frag)
	b = append(b, h.ttl, h.proto, 0, 0)
	b = append(b, src[12:]...)
	b = append(b, dst[12:]...)
	setIPv4Checksum(b[at:])
	return b
}

// appendIPv6 appends an IPv6 header with flow label 0, for size bytes of payload.
func appendIPv6(b []byte, src, dst Addr, class, next, hopLimit uint8, size int) []byte {
	b = append(b, 0x60|class>>4, class<<4, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(b, next, hopLimit)
	b = append(b, src[:]...)
	return append(b, dst[:]...)
}
