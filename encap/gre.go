package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// greCsum is the C bit of a GRE header, RFC 2784 section 2.1: checksum and reserved1
// are present.
const greCsum = 0x8000

// greHeader is the length of the GRE header IPVS sends: no key, no sequence number.
func greHeader(csum bool) int {
	if csum {
		return 8
	}
	return 4
}

// putGRE writes the GRE header (RFC 2784 section 2) at f.L4, the packet behind it.
//
//	|C|  reserved0  | version |  protocol type  |
//	|  checksum (if C)        |  reserved1 (if C) |
func putGRE(f *packet.Frame, t *Tunnel, in inner) {
	h := f.Buf[f.L4:]
	flags, etherType := uint16(0), uint16(packet.EtherIPv4)
	if in.proto == packet.IPv6 {
		etherType = packet.EtherIPv6
	}
	if t.Csum {
		flags = greCsum
	}
	binary.BigEndian.PutUint16(h, flags)
	binary.BigEndian.PutUint16(h[2:], etherType)
	if t.Csum {
		binary.BigEndian.PutUint32(h[4:], 0)
		binary.BigEndian.PutUint16(h[4:], ^packet.Fold(wireSum(f, f.L4)))
	}
}
