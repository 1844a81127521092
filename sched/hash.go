package sched

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// fold makes 32 bits of an address, in host order: the IPv4 address itself, or the XOR
// of the four words of an IPv6 address (ip_vs_addr_fold and its like).
func fold(a packet.Addr, v6 bool) uint32 {
	x := binary.BigEndian.Uint32(a[12:])
	if v6 {
		x ^= binary.BigEndian.Uint32(a[0:]) ^ binary.BigEndian.Uint32(a[4:]) ^ binary.BigEndian.Uint32(a[8:])
	}
	return x
}

// hash32 is the kernel's multiplicative hash: the top bits of x times GOLDEN_RATIO_32
// (linux/hash.h).
func hash32(x uint32, bits uint) uint32 { return x * 0x61C88647 >> (32 - bits) }

// clientPort is the port that sh-port and mh-port hash: the source port of the
// protocols that have one at the place the kernel reads it, else 0.
func clientPort(r *Request, f Flags) uint32 {
	if f&Flag2 != 0 && (r.Proto == packet.TCP || r.Proto == packet.UDP || r.Proto == packet.SCTP) {
		return uint32(r.SrcPort)
	}
	return 0
}
