package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// Where a rewrite finds its fields: address offsets from the IP header (RFC 791
// section 3.1, RFC 8200 section 3), port offsets from the transport header (the same
// in RFC 9293 section 3.1, RFC 768 and RFC 9260 section 3.1).
type side struct{ addr4, addr6, port uint32 }

var (
	source = side{addr4: 12, addr6: 8, port: 0}
	dest   = side{addr4: 16, addr6: 24, port: 2}
)

// Dest rewrites the destination address and, for TCP, UDP and SCTP, the destination
// port (host byte order): what NAT does to a client's packet. addr is of the frame's
// family. Nothing is touched when both are there already.
//
// Checksums are updated, not computed, as the kernel's tcp_dnat_handler does: a wrong
// one stays wrong. An unfinished one (VnetNeedsCsum) stays unfinished. Two are computed
// anew, which reads the payload: a UDP checksum of 0, which means none (RFC 768) and for
// which udp_dnat_handler puts in a real one; and SCTP's CRC32c, when the port changes
// (it does not cover addresses), so that a wrong one becomes right. ICMPv6's checksum is
// updated too.
//
// Later fragments, and protocols without ports, get the address alone. A first
// fragment has its checksum updated, but nothing can be computed from it, and if it
// ends before its checksum field that is lost: callers should reassemble first.
func Dest(f *packet.Frame, addr packet.Addr, port uint16) {
	rewrite(f, &f.Flow.Dst, &f.Flow.DstPort, addr, port, dest)
}

// Source is Dest for the source address and port: what NAT does to a server's packet.
func Source(f *packet.Frame, addr packet.Addr, port uint16) {
	rewrite(f, &f.Flow.Src, &f.Flow.SrcPort, addr, port, source)
}

// rewrite changes one end. oldAddr and oldPort are that end's fields in f.Flow.
func rewrite(f *packet.Frame, oldAddr *packet.Addr, oldPort *uint16, addr packet.Addr, port uint16, at side) {
	if !hasPorts(f) {
		port = *oldPort
	}
	if *oldAddr == addr && *oldPort == port {
		return
	}
	// The same difference goes into the IPv4 header checksum and, by way of the
	// pseudo-header, into the transport checksum.
	var addrDiff uint32
	if f.Flow.V6 {
		addrDiff = packet.DiffAddr(*oldAddr, addr, true, 0)
		copy(f.Buf[f.L3+at.addr6:][:16], addr[:])
	} else {
		ip := f.Buf[f.L3:][:ip4Header]
		field := ip[at.addr4:][:4]
		to := binary.BigEndian.Uint32(addr[12:])
		addrDiff = diff4(binary.BigEndian.Uint32(field), to)
		binary.BigEndian.PutUint32(field, to)
		check := binary.BigEndian.Uint16(ip[10:])
		binary.BigEndian.PutUint16(ip[10:], packet.UpdateComplete(check, addrDiff))
	}
	portDiff, ported := uint32(0), port != *oldPort
	if ported {
		binary.BigEndian.PutUint16(f.Buf[f.L4+at.port:], port)
		portDiff = packet.Diff16(*oldPort, port, 0)
	}
	*oldAddr, *oldPort = addr, port
	if f.Flow.Proto == packet.SCTP {
		rewriteSCTP(f, ported)
		return
	}
	rewriteChecksum(f, addrDiff, portDiff)
}

// diff4 is packet.DiffAddr for the commonest case, small enough to be inlined.
func diff4(old, new uint32) uint32 {
	return ^old>>16 + ^old&0xffff + new>>16 + new&0xffff
}

// hasPorts reports whether the transport header starts in this frame with two ports.
func hasPorts(f *packet.Frame) bool {
	switch f.Flow.Proto {
	case packet.TCP, packet.UDP, packet.SCTP:
		return f.FragOff == 0 && f.IPEnd-f.L4 >= 4
	}
	return false
}

// rewriteChecksum brings the differences of the pseudo-header's addresses and of the
// ports into the transport checksum, if the frame has one that covers addresses.
func rewriteChecksum(f *packet.Frame, addrDiff, portDiff uint32) {
	var off uint32
	switch {
	case f.Flow.Proto == packet.TCP:
		off = 16
	case f.Flow.Proto == packet.UDP:
		off = 6
	case f.Flow.Proto == packet.ICMPv6 && f.Flow.V6: // RFC 4443 section 2.3
		off = 2
	default:
		return
	}
	if f.FragOff != 0 || f.L4+off+2 > f.IPEnd {
		return
	}
	field := f.Buf[f.L4+off:][:2]
	check := binary.BigEndian.Uint16(field)
	udp := f.Flow.Proto == packet.UDP
	switch {
	case unfinished(f):
		check = packet.UpdatePartial(check, addrDiff) // ports are summed later, by the device
	case udp && check == 0:
		putUDPChecksum(f)
		return
	default:
		check = packet.UpdateComplete(check, addrDiff+portDiff)
		if udp && check == 0 {
			check = 0xffff
		}
	}
	binary.BigEndian.PutUint16(field, check)
}

// putUDPChecksum computes the checksum of a UDP datagram that came without one.
// Fragments are left alone.
func putUDPChecksum(f *packet.Frame) {
	udp := f.Buf[f.L4:f.IPEnd]
	size := int(binary.BigEndian.Uint16(udp[4:]))
	if f.Fragment() || super(f) || size < udpHeader || size > len(udp) {
		return
	}
	putTransportChecksum(f, udp[:size], 6)
}

// unfinished reports whether the frame's outermost transport checksum is still to be
// finished. An unfinished checksum may also be that of a packet inside a tunnel; the
// outermost one is complete then.
func unfinished(f *packet.Frame) bool {
	return f.Vnet.Flags&packet.VnetNeedsCsum != 0 && f.Start+uint32(f.Vnet.CsumStart) == f.L4
}
