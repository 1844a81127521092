package packet

import (
	"encoding/binary"
	"math/bits"
)

// Bad says why a frame is not an IP packet the director can judge. It is a counter's
// name, not an error: outside bytes are expected to be wrong now and then.
type Bad uint8

const (
	None           Bad = iota // a whole IP packet; every field of the Frame is set
	Short                     // no full Ethernet header, or no full fixed IP header
	NotIP                     // another ethertype: VLAN tags, MPLS, 802.3 lengths
	ARP                       // ethertype 0x0806: for ParseARP
	BadVersion                // the version field is not the ethertype's, or neither 4 nor 6
	BadHeaderLen              // IHL below 5, or a header or extension header that leaves the packet
	BadLength                 // the IP length is beyond the frame or shorter than the header
	BadIPChecksum             // wrong IPv4 header checksum; the kernel's ip_rcv drops it too
	ShortTransport            // no full fixed TCP, UDP, SCTP or ICMP header
	BadTransport              // TCP data offset below 5 or beyond the packet

	// NumBad is how many values there are, for tables of counters.
	NumBad = int(iota)
)

var badNames = [NumBad]string{
	None: "none", Short: "short", NotIP: "not_ip", ARP: "arp", BadVersion: "bad_version",
	BadHeaderLen: "bad_header_len", BadLength: "bad_length", BadIPChecksum: "bad_ip_checksum",
	ShortTransport: "short_transport", BadTransport: "bad_transport",
}

// String is the value's name in lower_snake words, as counters are labelled.
func (b Bad) String() string {
	if int(b) < len(badNames) {
		return badNames[b]
	}
	return "unknown"
}

// Lengths of fixed headers in bytes: RFC 894, RFC 791 section 3.1, RFC 8200 sections
// 3 and 4.5, RFC 9293 section 3.1, RFC 768, RFC 9260 section 3.1, RFC 792 (and RFC
// 4443, whose messages all fill 8 bytes).
const (
	etherLen   = 14
	ipv4Len    = 20
	ipv6Len    = 40
	fragHdrLen = 8
	tcpLen     = 20
	udpLen     = 8
	sctpLen    = 12
	icmpLen    = 8

	// minFragment is the least that a fragment which is not the last carries: RFC 791
	// section 3.2, offsets count in units of 8 bytes.
	minFragment = 8
)

// Parse reads the frame's headers and sets every field of f below "set by Parse"; it
// neither allocates nor changes a byte. When the result is not None those fields are
// partly set and mean nothing.
//
// After None: the fixed headers are inside Buf[L3:IPEnd], the IPv4 header checksum was
// right, and an unfragmented TCP, UDP, SCTP or ICMP packet has its whole fixed header
// (TCP: its options too). Of a first fragment only the first 8 transport bytes are
// sure, enough for ports, and TCPFlags is 0 if they are cut off. A later fragment has
// no ports; its L4 is the first byte of the fragment's payload. The transport checksum
// is not looked at.
//
// The IP length decides where the packet ends, so Ethernet padding is left out; a
// super-frame whose length field is 0, being too long for it (BIG TCP), ends with the
// frame.
func (f *Frame) Parse() Bad {
	b := f.Buf[f.Start:f.End]
	if !f.L2 {
		f.L3 = f.Start
		if len(b) == 0 {
			return Short
		}
		switch b[0] >> 4 {
		case 4:
			return f.parse4(b)
		case 6:
			return f.parse6(b)
		}
		return BadVersion
	}
	if len(b) < etherLen {
		return Short
	}
	f.L3 = f.Start + etherLen
	switch binary.BigEndian.Uint16(b[12:]) {
	case EtherIPv4:
		return f.parse4(b[etherLen:])
	case EtherIPv6:
		return f.parse6(b[etherLen:])
	case EtherARP:
		return ARP
	}
	return NotIP
}

// parse4 parses ip, which runs from the IPv4 header to the end of the frame, in the
// order of the kernel's ip_rcv: version and IHL, checksum, length.
func (f *Frame) parse4(ip []byte) Bad {
	if len(ip) < ipv4Len {
		return Short
	}
	hlen := uint32(ipv4Len)
	first := binary.LittleEndian.Uint64(ip)
	if uint8(first) != 0x45 {
		hlen = uint32(ip[0]&0x0f) * 4
		switch {
		case ip[0]>>4 != 4:
			return BadVersion
		case hlen < ipv4Len || hlen > uint32(len(ip)):
			return BadHeaderLen
		}
		if fold64(sum64(ip[:hlen])) != 0xffff {
			return BadIPChecksum
		}
	} else {
		// The common header is summed straight through. Whether a sum is all ones does
		// not depend on the order of bytes: RFC 1071 section 2 (B). Folding keeps the
		// remainder by 65535, and this sum is not 0.
		s, c := bits.Add64(first, binary.LittleEndian.Uint64(ip[8:]), 0)
		s, c = bits.Add64(s, uint64(binary.LittleEndian.Uint32(ip[16:])), c)
		if (s+c)%0xffff != 0 {
			return BadIPChecksum
		}
	}
	total := uint32(binary.BigEndian.Uint16(ip[2:]))
	if total == 0 && f.Vnet.GSOType != VnetGSONone {
		total = uint32(len(ip))
	}
	if total > uint32(len(ip)) || total < hlen {
		return BadLength
	}
	frag := binary.BigEndian.Uint16(ip[6:])
	f.L4 = f.L3 + hlen
	f.IPEnd = f.L3 + total
	f.TTL = ip[8]
	f.DF = frag&0x4000 != 0
	f.MoreFrag = frag&0x2000 != 0
	f.FragOff = frag << 3 // the shift pushes the three flag bits out
	f.Flow.V6 = false
	putAddr4(&f.Flow.Src, ip[12:16])
	putAddr4(&f.Flow.Dst, ip[16:20])
	return f.parseTransport(ip[hlen:total], ip[9])
}

// putAddr4 is AddrFrom4 in whole words: a value returned by byte stores and then moved
// as 16 bytes waits for those stores, which cost more than the rest of Parse.
func putAddr4(a *Addr, b []byte) {
	binary.BigEndian.PutUint64(a[:8], 0)
	binary.BigEndian.PutUint32(a[8:12], 0xffff)
	binary.NativeEndian.PutUint32(a[12:], binary.NativeEndian.Uint32(b))
}

// parseTransport sets ports and TCP flags from t, the IP packet's transport bytes.
func (f *Frame) parseTransport(t []byte, proto uint8) Bad {
	f.Flow.Proto = proto
	if proto == TCP && len(t) >= tcpLen && !f.Fragment() { // most packets
		f.Flow.SrcPort = binary.BigEndian.Uint16(t)
		f.Flow.DstPort = binary.BigEndian.Uint16(t[2:])
		f.TCPFlags = t[13]
		if hlen := int(t[12]>>4) * 4; hlen < tcpLen || hlen > len(t) {
			return BadTransport
		}
		return None
	}
	f.Flow.SrcPort, f.Flow.DstPort, f.TCPFlags = 0, 0, 0
	if f.FragOff != 0 {
		return None
	}
	need := 0
	switch proto {
	case TCP:
		need = tcpLen
	case UDP:
		need = udpLen
	case SCTP:
		need = sctpLen
	case ICMP, ICMPv6:
		need = icmpLen
	default:
		return None
	}
	if f.MoreFrag {
		need = minFragment
	}
	if len(t) < need {
		return ShortTransport
	}
	if proto == ICMP || proto == ICMPv6 {
		return None
	}
	f.Flow.SrcPort = binary.BigEndian.Uint16(t)
	f.Flow.DstPort = binary.BigEndian.Uint16(t[2:])
	if proto != TCP || len(t) < tcpLen {
		return None // the rest of a first fragment's TCP header comes with the next one
	}
	f.TCPFlags = t[13]
	if hlen := int(t[12]>>4) * 4; hlen < tcpLen || hlen > len(t) && !f.MoreFrag {
		return BadTransport
	}
	return None
}

// IsICMPError reports whether the parsed frame is an ICMP error as IPVS relates errors
// to connections (ip_vs_in_icmp): destination unreachable, source quench and time
// exceeded of ICMP; every type below 128 of ICMPv6 (RFC 4443 section 2.1). A first
// fragment of one counts, a later one does not.
func (f *Frame) IsICMPError() bool {
	if f.Flow.Proto != ICMP && f.Flow.Proto != ICMPv6 || f.FragOff != 0 {
		return false
	}
	typ := f.Buf[f.L4]
	if f.Flow.V6 {
		return f.Flow.Proto == ICMPv6 && typ < ICMPv6EchoRequest
	}
	return f.Flow.Proto == ICMP &&
		(typ == ICMPUnreachable || typ == ICMPSourceQuench || typ == ICMPTimeExceeded)
}

// ICMPType returns the first two bytes of the ICMP or ICMPv6 header of a parsed frame.
// It must be one of those protocols and no later fragment.
func (f *Frame) ICMPType() (typ, code uint8) { return f.Buf[f.L4], f.Buf[f.L4+1] }
