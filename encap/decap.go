package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// Decapsulate takes the tunnel headers off a frame that a director sent to a real
// server, in place, and parses what was inside. It knows IPIP of all family mixes, GRE
// without key and sequence number, and GUE version 0 to UDP port guePort (host byte
// order; 0: none). The Ethernet header moves along with its addresses as they are.
//
// It returns false, with the packet's bytes unchanged, when f is no such tunnel packet,
// is a fragment of one, carries a wrong GRE or UDP checksum, or holds what Parse
// refuses. Congestion met on the way (outer CE) is marked on the inner packet, and an
// inner packet that cannot bear the mark is refused: RFC 6040 section 4.2.
func Decapsulate(f *packet.Frame, guePort uint16) bool {
	if f.Fragment() {
		return false
	}
	proto, at := f.Flow.Proto, f.L4
	switch proto {
	case packet.GRE:
		proto, at = openGRE(f)
	case packet.UDP:
		proto, at = openGUE(f, guePort)
	}
	version := byte(4)
	switch proto {
	case packet.IPIP:
	case packet.IPv6:
		version = 6
	default:
		return false
	}
	if at >= f.IPEnd || f.Buf[at]>>4 != version {
		return false
	}
	was, ce := *f, outerCE(f)
	n := at - f.L3
	link := [ethHeader]byte(f.Buf[at-ethHeader:]) // what a moved Ethernet header will overwrite

	if f.Vnet.Flags&packet.VnetNeedsCsum != 0 && f.Start+uint32(f.Vnet.CsumStart) < at {
		// The unfinished checksum was the outer one's, and goes with it.
		f.Vnet.Flags &^= packet.VnetNeedsCsum
		f.Vnet.CsumStart, f.Vnet.CsumOffset = 0, 0
	}
	if f.L2 {
		copy(f.Buf[f.Start+n:], f.Buf[f.Start:f.Start+ethHeader])
		etherType := uint16(packet.EtherIPv4)
		if version == 6 {
			etherType = packet.EtherIPv6
		}
		binary.BigEndian.PutUint16(f.Buf[at-2:], etherType)
	}
	moveStart(f, int32(n))
	f.End = f.IPEnd
	if f.Parse() != packet.None || ce && !markCE(f) {
		copy(f.Buf[at-ethHeader:at], link[:])
		*f = was
		return false
	}
	return true
}

// openGRE returns protocol and place of the packet behind a GRE header, 0 if there is
// none we understand.
func openGRE(f *packet.Frame) (proto uint8, at uint32) {
	if f.L4+4 > f.IPEnd {
		return 0, 0
	}
	flags := binary.BigEndian.Uint16(f.Buf[f.L4:])
	at = f.L4 + uint32(greHeader(flags&greCsum != 0))
	if flags&^greCsum != 0 || at > f.IPEnd {
		return 0, 0
	}
	if flags&greCsum != 0 && packet.Fold(wireSum(f, f.L4)) != 0xffff {
		return 0, 0
	}
	switch binary.BigEndian.Uint16(f.Buf[f.L4+2:]) {
	case packet.EtherIPv4:
		return packet.IPIP, at
	case packet.EtherIPv6:
		return packet.IPv6, at
	}
	return 0, 0
}

// openGUE returns protocol and place of the packet behind UDP and GUE headers, 0 if
// there is none we understand.
func openGUE(f *packet.Frame, port uint16) (proto uint8, at uint32) {
	at = f.L4 + udpHeader + gueHeader
	if port == 0 || f.Flow.DstPort != port || at > f.IPEnd {
		return 0, 0
	}
	h := f.Buf[f.L4:at]
	length := uint32(binary.BigEndian.Uint16(h[4:]))
	if f.L4+length != f.IPEnd || h[8] != 0 || h[10]|h[11] != 0 { // version, C and length; flags
		return 0, 0
	}
	if binary.BigEndian.Uint16(h[6:]) != 0 && !unfinished(f) {
		sum := wireSum(f, f.L4) + packet.PseudoSum(f.Flow, packet.UDP, int(length))
		if packet.Fold(sum) != 0xffff {
			return 0, 0
		}
	}
	return h[9], at
}

// outerCE reports whether f's IP header has congestion experienced.
func outerCE(f *packet.Frame) bool {
	if f.Flow.V6 {
		return f.Buf[f.L3+1]>>4&ecnMask == ecnCE
	}
	return f.Buf[f.L3+1]&ecnMask == ecnCE
}

// markCE sets congestion experienced in f's IP header, false if its sender does not
// use ECN.
func markCE(f *packet.Frame) bool {
	ip := f.Buf[f.L3:][:ip4Header]
	if f.Flow.V6 {
		if ip[1]>>4&ecnMask == 0 {
			return false
		}
		ip[1] |= ecnCE << 4
		return true
	}
	if ip[1]&ecnMask == 0 {
		return false
	}
	was := binary.BigEndian.Uint16(ip)
	ip[1] |= ecnCE
	check := binary.BigEndian.Uint16(ip[10:])
	binary.BigEndian.PutUint16(ip[10:], packet.UpdateComplete(check, packet.Diff16(was, was|ecnCE, 0)))
	return true
}
