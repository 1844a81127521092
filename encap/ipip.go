package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// ECN codepoints: RFC 3168 section 5.
const (
	ecnMask = 3
	ecnECT0 = 2
	ecnCE   = 3
)

// outerTOS is the outer header's DSCP and ECN: the inner ones, but ECT(0) for CE, so
// that the tunnel's own congestion can be told (RFC 6040 section 4.1 compatibility with
// RFC 3168 full functionality; kernel: INET_ECN_encapsulate).
func outerTOS(tos uint8) uint8 {
	if tos&ecnMask == ecnCE {
		return tos&^ecnMask | ecnECT0
	}
	return tos
}

// putIPv4 writes the outer IPv4 header (RFC 791 section 3.1) at f.L3 from f's fields:
// Flow, TTL, DF, IPEnd. It is put together and summed in registers: sums of 64-bit
// loads over bytes just stored one by one make the processor wait for its stores.
//
//	| version IHL | TOS | total length | identification | flags offset |
//	| TTL | protocol | checksum | source |
//	| destination |
func putIPv4(f *packet.Frame, in inner, id uint16) {
	frag := uint64(0)
	if f.DF {
		frag, id = 0x4000, 0
	}
	first := 0x45<<56 | uint64(outerTOS(in.tos))<<48 | uint64(f.IPEnd-f.L3)<<32 | uint64(id)<<16 | frag
	second := uint64(f.TTL)<<56 | uint64(f.Flow.Proto)<<48 | uint64(binary.BigEndian.Uint32(f.Flow.Src[12:]))
	dst := binary.BigEndian.Uint32(f.Flow.Dst[12:])

	sum := first>>32 + first&0xffffffff + second>>32 + second&0xffffffff + uint64(dst)
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff // the carry of the line above
	second |= uint64(^packet.Fold(uint32(sum))) << 32

	ip := f.Buf[f.L3:][:ip4Header]
	binary.BigEndian.PutUint64(ip, first)
	binary.BigEndian.PutUint64(ip[8:], second)
	binary.BigEndian.PutUint32(ip[16:], dst)
}

// putIPv6 writes the outer IPv6 header (RFC 8200 section 3) at f.L3 from f's fields.
// The flow label is 0, as IPVS sends it.
func putIPv6(f *packet.Frame, in inner) {
	ip := f.Buf[f.L3:][:ip6Header]
	tc := outerTOS(in.tos)
	binary.BigEndian.PutUint32(ip, 6<<28|uint32(tc)<<20)
	binary.BigEndian.PutUint16(ip[4:], uint16(f.IPEnd-f.L4))
	ip[6] = f.Flow.Proto
	ip[7] = f.TTL
	copy(ip[8:24], f.Flow.Src[:])
	copy(ip[24:40], f.Flow.Dst[:])
}

// putIPChecksum computes the checksum of an IPv4 header, options included (RFC 791
// section 3.1).
func putIPChecksum(ip []byte) {
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip))
}
