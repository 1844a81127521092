package packet

import "encoding/binary"

// Neighbour discovery, RFC 4861: message types (section 4), flags of an advertisement
// (section 4.4) and options (section 4.6.1).
const (
	NDPSolicit = 135
	NDPAdvert  = 136

	NDPRouter    = 0x80
	NDPSolicited = 0x40
	NDPOverride  = 0x20

	optSourceLLA = 1
	optTargetLLA = 2
)

const (
	ndpLen      = 24  // both messages without options
	llaLen      = 8   // a link-layer address option for Ethernet, RFC 2464 section 6
	ndpHopLimit = 255 // proves that no router forwarded it
)

// AllNodes is ff02::1, where unsolicited advertisements go: RFC 4291 section 2.7.1.
var AllNodes = Addr{0: 0xff, 1: 0x02, 15: 0x01}

// NDP is a neighbour solicitation or advertisement with the addresses of its IPv6
// header. Other options than the link-layer address are left out.
type NDP struct {
	Type   uint8 // NDPSolicit or NDPAdvert
	Flags  uint8 // of an advertisement: NDPRouter, NDPSolicited, NDPOverride
	Src    Addr  // unspecified in a solicitation that probes for duplicates
	Dst    Addr
	Target Addr
	HasLLA bool // LLA is there
	LLA    MAC  // source address of a solicitation, target address of an advertisement
}

// SolicitedNode is the multicast address on which a's owner hears solicitations:
// ff02::1:ff00:0/104 and a's last 24 bits, RFC 4291 section 2.7.1.
func SolicitedNode(a Addr) Addr {
	return Addr{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}
}

// MulticastMAC is the Ethernet address of an IPv6 multicast address: 33:33 and its last
// 32 bits, RFC 2464 section 7.
func MulticastMAC(a Addr) MAC { return MAC{0x33, 0x33, a[12], a[13], a[14], a[15]} }

// ParseNDP reads a neighbour solicitation or advertisement from a whole Ethernet frame.
// It is false for anything else, and for what a node must discard by RFC 4861 sections
// 7.1.1 and 7.1.2: hop limit not 255, wrong checksum, code not 0, an option of length 0,
// a multicast target, a probe that is not sent to a solicited-node address or has a
// link-layer address, a solicited advertisement to a group. Extension headers are not
// accepted: RFC 6980 section 5 forbids the fragment header, nothing needs the others.
func ParseNDP(frame []byte) (n NDP, ok bool) {
	f := Frame{Buf: frame, End: uint32(len(frame)), L2: true}
	if f.Parse() != None || !f.Flow.V6 || f.Flow.Proto != ICMPv6 || f.L4 != f.L3+ipv6Len {
		return NDP{}, false
	}
	b := f.Buf[f.L4:f.IPEnd]
	if len(b) < ndpLen || b[0] != NDPSolicit && b[0] != NDPAdvert || b[1] != 0 ||
		f.TTL != ndpHopLimit || !f.VerifyTransport() {
		return NDP{}, false
	}
	n = NDP{Type: b[0], Src: f.Flow.Src, Dst: f.Flow.Dst, Target: Addr(b[8:24])}
	option := uint8(optSourceLLA)
	if n.Type == NDPAdvert {
		n.Flags = b[4] & (NDPRouter | NDPSolicited | NDPOverride)
		option = optTargetLLA
	}
	if !n.readOptions(b[ndpLen:], option) || !n.lawful() {
		return NDP{}, false
	}
	return n, true
}

// readOptions takes the link-layer address from the options b, of which the first of
// type option counts. It is false if one has length 0 or is cut off.
func (n *NDP) readOptions(b []byte, option uint8) bool {
	for len(b) > 0 {
		if len(b) < 2 || b[1] == 0 || int(b[1])*8 > len(b) {
			return false
		}
		if b[0] == option && b[1] == llaLen/8 && !n.HasLLA {
			n.LLA, n.HasLLA = MAC(b[2:8]), true
		}
		b = b[int(b[1])*8:]
	}
	return true
}

// lawful checks the addresses against each other.
func (n *NDP) lawful() bool {
	toGroup := n.Dst[0] == 0xff
	switch {
	case n.Target[0] == 0xff:
		return false
	case n.Type == NDPAdvert:
		return !toGroup || n.Flags&NDPSolicited == 0
	case n.Src == Addr{}:
		return !n.HasLLA && n.Dst == SolicitedNode(n.Dst)
	}
	return true
}

// AppendNDP appends a whole Ethernet frame with n to dst: 78 bytes, or 86 with a
// link-layer address.
func AppendNDP(dst []byte, ethDst, ethSrc MAC, n NDP) []byte {
	size, option := ndpLen, byte(optSourceLLA)
	if n.HasLLA {
		size += llaLen
	}
	flags := uint32(0)
	if n.Type == NDPAdvert {
		option, flags = optTargetLLA, uint32(n.Flags)<<24
	}
	dst = appendEther(dst, ethDst, ethSrc, EtherIPv6)
	dst = appendIPv6(dst, n.Src, n.Dst, 0, ICMPv6, ndpHopLimit, size)
	at := len(dst)
	dst = append(dst, n.Type, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, flags)
	dst = append(dst, n.Target[:]...)
	if n.HasLLA {
		dst = append(dst, option, llaLen/8)
		dst = append(dst, n.LLA[:]...)
	}
	return setICMPChecksum(dst, at, PseudoSum(Flow{Src: n.Src, Dst: n.Dst, V6: true}, ICMPv6, size))
}
