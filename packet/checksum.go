package packet

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum, RFC 1071. A sum is a uint32 that stands for its value modulo
// 65535: 16-bit words in network byte order, added with the carry brought around. Sums
// may be added to each other with + as long as fewer than 65536 results of Sum,
// PseudoSum or the Diff functions with an accumulator of 0 go into one.

// Sum adds the bytes of b to init. An odd last byte counts as the high half of a word
// (RFC 1071 section 1), so of several pieces only the last may be odd.
func Sum(b []byte, init uint32) uint32 {
	return add(init, uint32(bits.ReverseBytes16(fold64(sum64(b)))))
}

// Fold reduces a sum to 16 bits. It is 0 only if everything added was 0.
func Fold(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum)
}

// Checksum is the checksum of b: the complement of its sum, RFC 1071 section 1. Over
// bytes that include their own right checksum it is 0.
func Checksum(b []byte) uint16 { return ^Fold(Sum(b, 0)) }

// PseudoSum is the sum of the pseudo-header: addresses, protocol, and the length in
// bytes of transport header and payload. RFC 9293 section 3.1 (IPv4), RFC 8200 section
// 8.1 (IPv6). A length beyond 16 bits, of a super-frame, is added in two halves as the
// kernel does (csum_tcpudp_nofold).
func PseudoSum(f Flow, proto uint8, length int) uint32 {
	sum := uint32(length)>>16 + uint32(length)&0xffff + uint32(proto)
	if f.V6 {
		return Sum(f.Dst[:], Sum(f.Src[:], sum))
	}
	return Sum(f.Dst[12:], Sum(f.Src[12:], sum))
}

// Diff16 adds to acc what changes in a sum when a 16-bit word goes from old to new:
// ~m + m' of RFC 1624 section 3. The words are values of big-endian fields.
func Diff16(old, new uint16, acc uint32) uint32 {
	return add(acc, uint32(^old)+uint32(new))
}

// Diff32 is Diff16 for a 32-bit field, such as a TCP sequence number.
func Diff32(old, new uint32, acc uint32) uint32 {
	return add(add(acc, ^old), new)
}

// DiffAddr is Diff16 for an address: all its bytes if v6, else the last four.
func DiffAddr(old, new Addr, v6 bool, acc uint32) uint32 {
	if !v6 {
		return add(acc, uint32(Fold(Diff32(
			binary.BigEndian.Uint32(old[12:]), binary.BigEndian.Uint32(new[12:]), 0))))
	}
	s, c := bits.Add64(^binary.LittleEndian.Uint64(old[:]), ^binary.LittleEndian.Uint64(old[8:]), 0)
	s, c = bits.Add64(s, binary.LittleEndian.Uint64(new[:]), c)
	s, c = bits.Add64(s, binary.LittleEndian.Uint64(new[8:]), c)
	return add(acc, uint32(bits.ReverseBytes16(fold64(s+c))))
}

// UpdateComplete brings a difference into a complete checksum: HC' = ~(~HC + ~m + m'),
// RFC 1624 section 3 equation 3. A wrong checksum stays wrong. UDP writes a result of 0
// as 0xffff (RFC 768), and leaves a checksum of 0 alone: both are the caller's.
func UpdateComplete(check uint16, diff uint32) uint16 {
	return ^Fold(add(uint32(^check), diff))
}

// UpdatePartial brings a difference into an unfinished checksum (VnetNeedsCsum), which
// is the sum of the pseudo-header without the complement: C' = C + ~m + m'. Only fields
// of the pseudo-header belong into diff; ports are summed later, by who finishes it.
func UpdatePartial(check uint16, diff uint32) uint16 {
	return Fold(add(uint32(check), diff))
}

// add adds with the carry brought around, so that no accumulator overflows.
func add(a, b uint32) uint32 {
	s, c := bits.Add32(a, b, 0)
	return s + c
}

// sum64 adds b as little-endian words of 64 bits, which is what loads cost least as;
// folded and byte-swapped it is the sum in network order: RFC 1071 section 2 (B), (C).
func sum64(b []byte) uint64 {
	var s, c uint64
	for len(b) >= 64 {
		v := b[:64:len(b)]
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(v), 0)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(v[8:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(v[16:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(v[24:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(v[32:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(v[40:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(v[48:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(v[56:]), c)
		s += c // cannot carry again: a sum that carried is below its addends
		b = b[64:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), 0)
		s += c
		b = b[8:]
	}
	var last uint64 // of at most 7 bytes
	shift := 0
	if len(b) >= 4 {
		last, shift, b = uint64(binary.LittleEndian.Uint32(b)), 32, b[4:]
	}
	if len(b) >= 2 {
		last |= uint64(binary.LittleEndian.Uint16(b)) << shift
		shift, b = shift+16, b[2:]
	}
	if len(b) == 1 {
		last |= uint64(b[0]) << shift
	}
	s, c = bits.Add64(s, last, 0)
	return s + c
}

// fold64 reduces a 64-bit sum to 16 bits; like Fold it is 0 only for 0.
func fold64(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	return Fold(uint32(s))
}
