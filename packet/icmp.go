package packet

import "encoding/binary"

// ICMP types and codes: RFC 792; frag needed is RFC 1191 section 4.
const (
	ICMPEchoReply    = 0
	ICMPUnreachable  = 3
	ICMPSourceQuench = 4 // deprecated by RFC 6633, still related by IPVS
	ICMPRedirect     = 5
	ICMPEchoRequest  = 8
	ICMPTimeExceeded = 11
	ICMPParamProblem = 12

	ICMPHostUnreachable = 1 // codes of ICMPUnreachable
	ICMPProtUnreachable = 2
	ICMPPortUnreachable = 3
	ICMPFragNeeded      = 4 // the rest of the header is the next hop's MTU
	ICMPTTLExceeded     = 0 // code of ICMPTimeExceeded
)

// ICMPv6 types and codes: RFC 4443; neighbour discovery is RFC 4861.
const (
	ICMPv6Unreachable  = 1
	ICMPv6TooBig       = 2 // the rest of the header is the next hop's MTU
	ICMPv6TimeExceeded = 3
	ICMPv6ParamProblem = 4
	ICMPv6EchoRequest  = 128 // also the first type that is not an error
	ICMPv6EchoReply    = 129

	ICMPv6NoRoute          = 0 // codes of ICMPv6Unreachable
	ICMPv6AddrUnreachable  = 3
	ICMPv6PortUnreachable  = 4
	ICMPv6HopLimitExceeded = 0 // code of ICMPv6TimeExceeded
)

const (
	defaultTTL = 64 // RFC 1700; sysctl net.ipv4.ip_default_ttl

	// An ICMP error quotes what keeps it within these many bytes of IP packet.
	maxICMPError   = 576  // RFC 1812 section 4.3.2.3; room in icmp_send
	maxICMPv6Error = 1280 // RFC 4443 section 2.4 (c): the minimum IPv6 MTU

	// icmpTOS is precedence internetwork control: RFC 1812 section 4.3.2.5,
	// IPTOS_PREC_INTERNETCONTROL in icmp_send.
	icmpTOS = 0xc0
	// tosBits of the offending packet come beside it, as icmp_send does (IPTOS_TOS_MASK).
	tosBits = 0x1e
	// maxICMPKnown is the kernel's NR_ICMP_TYPES: what is above it may be an error.
	maxICMPKnown = 18
)

// AppendICMPError appends to dst a whole IP packet, IPv4 or IPv6 as f, that tells the
// sender of the parsed frame f about it, and returns the longer slice. src is the
// packet's source address, rest the second word of the ICMP header as a number (an MTU,
// or 0). f's packet is quoted as it stands, from the IP header on, up to a whole packet
// of 576 bytes (IPv4) or 1280 (IPv6); dst must not overlap it. The IPv4 header has TTL
// 64, id 0, no DF and no options; its TOS is 0xc0 and the packet's four TOS bits.
//
// About some packets nobody may be told: RFC 1812 section 4.3.2.7, RFC 4443 section 2.4
// (e). dst comes back unchanged for an ICMP error (or what may be one), a fragment that
// is not the first, a source that is not one host's, and a broadcast or multicast
// destination at either layer.
func AppendICMPError(dst []byte, f *Frame, src Addr, typ, code uint8, rest uint32) []byte {
	if !f.answerable() {
		return dst
	}
	at := len(dst)
	if f.Flow.V6 {
		quote := f.Buf[f.L3:min(f.IPEnd, f.L3+maxICMPv6Error-ipv6Len-icmpLen)]
		dst = appendIPv6(dst, src, f.Flow.Src, 0, ICMPv6, defaultTTL, icmpLen+len(quote))
		dst = appendICMP(dst, typ, code, rest, quote)
		reply := Flow{Src: src, Dst: f.Flow.Src, V6: true}
		return setICMPChecksum(dst, at+ipv6Len, PseudoSum(reply, ICMPv6, icmpLen+len(quote)))
	}
	quote := f.Buf[f.L3:min(f.IPEnd, f.L3+maxICMPError-ipv4Len-icmpLen)]
	tos := icmpTOS | quote[1]&tosBits
	dst = appendIPv4(dst, src, f.Flow.Src, ipv4Fields{tos: tos, proto: ICMP, ttl: defaultTTL}, icmpLen+len(quote))
	dst = appendICMP(dst, typ, code, rest, quote)
	return setICMPChecksum(dst, at+ipv4Len, 0)
}

// answerable reports whether an ICMP error may be sent about f.
func (f *Frame) answerable() bool {
	switch {
	case f.FragOff != 0, !f.oneHost(f.Flow.Src), f.multicast(f.Flow.Dst):
		return false
	case f.L2 && f.DstMAC().Multicast():
		return false
	case f.Flow.V6:
		return f.Flow.Proto != ICMPv6 || f.Buf[f.L4] >= ICMPv6EchoRequest
	case f.Flow.Proto != ICMP:
		return true
	}
	switch typ, _ := f.ICMPType(); typ {
	case ICMPUnreachable, ICMPSourceQuench, ICMPRedirect, ICMPTimeExceeded, ICMPParamProblem:
		return false
	default:
		return typ <= maxICMPKnown
	}
}

// oneHost reports whether a, of f's family, can be the address of one remote host: not
// unspecified, loopback, multicast or reserved (RFC 1122 section 3.2.1.3, RFC 4291
// section 2.5). A subnet's broadcast address cannot be told from here.
func (f *Frame) oneHost(a Addr) bool {
	if f.Flow.V6 {
		return a != Addr{} && a != Addr{15: 1} && !f.multicast(a)
	}
	return a[12] != 0 && a[12] != 127 && a[12] < 224
}

// multicast reports whether a, of f's family, is a multicast address (RFC 4291 section
// 2.7, RFC 1112 section 4) or the limited broadcast address.
func (f *Frame) multicast(a Addr) bool {
	if f.Flow.V6 {
		return a[0] == 0xff
	}
	return a[12]>>4 == 0xe || a == Addr{10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff}
}

// EchoReply turns an ICMP or ICMPv6 echo request into its reply in place, and reports
// whether it did: IP and Ethernet addresses (if there are any) swapped, TTL 64, DF
// clear, checksums right, f.Flow as the reply's. Identifier, sequence number and data
// stay, IPv6 extension headers do not: a reply has none of its own (icmpv6_echo_reply), and
// the fragment header of an atomic fragment (RFC 6946) would be another's in front of that
// of a reply that has to be cut. RFC 1122 section 3.2.2.6, RFC 4443 section 4.2.
//
// Not answered, and left untouched: anything else, fragments, a wrong checksum, a
// destination that is a group or a source that is not one host.
func (f *Frame) EchoReply() bool {
	request, reply := uint8(ICMPEchoRequest), uint8(ICMPEchoReply)
	proto := uint8(ICMP)
	if f.Flow.V6 {
		request, reply, proto = ICMPv6EchoRequest, ICMPv6EchoReply, ICMPv6
	}
	if f.Flow.Proto != proto || f.Fragment() || f.Buf[f.L4] != request ||
		!f.oneHost(f.Flow.Src) || f.multicast(f.Flow.Dst) || !f.VerifyTransport() {
		return false
	}
	icmp := f.Buf[f.L4:f.IPEnd]
	icmp[0] = reply
	if !f.unfinished() { // swapped addresses leave the pseudo-header's sum as it was
		diff := Diff16(uint16(request)<<8, uint16(reply)<<8, 0)
		field := icmp[icmpCheck:]
		binary.BigEndian.PutUint16(field, UpdateComplete(binary.BigEndian.Uint16(field), diff))
	}

	f.dropExtensions()
	f.Flow.Src, f.Flow.Dst = f.Flow.Dst, f.Flow.Src
	f.TTL = defaultTTL
	ip := f.Buf[f.L3:f.IPEnd]
	if f.Flow.V6 {
		ip[7] = defaultTTL
		copy(ip[8:], f.Flow.Src[:])
		copy(ip[24:], f.Flow.Dst[:])
	} else {
		f.DF = false
		ip[6], ip[7], ip[8] = 0, 0, defaultTTL
		copy(ip[12:], f.Flow.Src[12:])
		copy(ip[16:], f.Flow.Dst[12:])
		f.SetIPChecksum()
	}
	if f.L2 {
		dst, src := f.SrcMAC(), f.DstMAC()
		f.SetMACs(&dst, &src)
	}
	return true
}

// dropExtensions takes the extension headers out of an IPv6 packet that is whole: what is
// before them moves up to the transport header.
func (f *Frame) dropExtensions() {
	if !f.Flow.V6 || f.L4 == f.L3+ipv6Len {
		return
	}
	n := f.L4 - f.L3 - ipv6Len
	copy(f.Buf[f.Start+n:f.L4], f.Buf[f.Start:f.L3+ipv6Len])
	f.Start, f.L3 = f.Start+n, f.L3+n
	if f.Vnet.Flags&VnetNeedsCsum != 0 {
		f.Vnet.CsumStart -= uint16(n)
	}
	ip := f.Buf[f.L3:]
	binary.BigEndian.PutUint16(ip[4:], uint16(f.IPEnd-f.L4))
	ip[6] = f.Flow.Proto
}

// appendICMP appends an ICMP or ICMPv6 message whose checksum is still 0.
func appendICMP(b []byte, typ, code uint8, rest uint32, body []byte) []byte {
	b = append(b, typ, code, 0, 0)
	b = binary.BigEndian.AppendUint32(b, rest)
	return append(b, body...)
}

// setICMPChecksum completes the message that runs from at to the end of b.
func setICMPChecksum(b []byte, at int, pseudo uint32) []byte {
	binary.BigEndian.PutUint16(b[at+icmpCheck:], ^Fold(Sum(b[at:], pseudo)))
	return b
}
