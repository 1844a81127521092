package packet

import "encoding/binary"

// ARP operations, RFC 826.
const (
	ARPRequest = 1
	ARPReply   = 2
)

// ARPHeader is an ARP packet for IPv4 over Ethernet, RFC 826. The addresses are IPv4
// ones in their 16-byte form.
type ARPHeader struct {
	Op  uint16 // ARPRequest, ARPReply, or another that a reader ignores
	SHA MAC    // sender hardware address
	SPA Addr   // sender protocol address; 0.0.0.0 in a probe (RFC 5227 section 1.1)
	THA MAC    // target hardware address; anything in a request
	TPA Addr   // target protocol address
}

const (
	arpLen      = 28 // RFC 826 with 6-byte hardware and 4-byte protocol addresses
	minEtherLen = 60 // IEEE 802.3 section 4A.4.2: 64 with the frame check sequence
)

// arpPrefix says Ethernet (1), IPv4 (0x0800), lengths 6 and 4.
const arpPrefix = 0x0001_0800_0604

// ParseARP reads an ARP packet from a whole Ethernet frame, padding allowed. It is
// false for anything that is not ARP for IPv4 over Ethernet; whether the content makes
// sense is not judged.
func ParseARP(frame []byte) (h ARPHeader, ok bool) {
	if len(frame) < etherLen+arpLen || binary.BigEndian.Uint16(frame[12:]) != EtherARP {
		return ARPHeader{}, false
	}
	b := frame[etherLen:]
	if binary.BigEndian.Uint64(b)>>16 != arpPrefix {
		return ARPHeader{}, false
	}
	return ARPHeader{
		Op:  binary.BigEndian.Uint16(b[6:]),
		SHA: MAC(b[8:]), SPA: AddrFrom4([4]byte(b[14:])),
		THA: MAC(b[18:]), TPA: AddrFrom4([4]byte(b[24:])),
	}, true
}

// AppendARP appends a whole Ethernet frame with h to dst: 42 bytes, and zeros up to the
// least length of a frame, 60.
func AppendARP(dst []byte, ethDst, ethSrc MAC, h ARPHeader) []byte {
	end := len(dst) + minEtherLen
	dst = appendEther(dst, ethDst, ethSrc, EtherARP)
	dst = binary.BigEndian.AppendUint32(dst, arpPrefix>>16)
	dst = binary.BigEndian.AppendUint16(dst, arpPrefix&0xffff)
	dst = binary.BigEndian.AppendUint16(dst, h.Op)
	dst = append(dst, h.SHA[:]...)
	dst = append(dst, h.SPA[12:]...)
	dst = append(dst, h.THA[:]...)
	dst = append(dst, h.TPA[12:]...)
	return append(dst, make([]byte, end-len(dst))...)
}

// appendEther appends an Ethernet header.
func appendEther(b []byte, dst, src MAC, ethertype uint16) []byte {
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	return binary.BigEndian.AppendUint16(b, ethertype)
}
