package packet

import (
	"encoding/binary"
	"hash/crc32"
)

// Offsets of checksum fields from the start of their headers: RFC 9293 section 3.1,
// RFC 768, RFC 792 and RFC 4443 section 2.1, RFC 9260 section 3.1.
const (
	tcpCheck  = 16
	udpCheck  = 6
	icmpCheck = 2
	sctpCheck = 8
)

// castagnoli is the polynomial of SCTP's CRC32c: RFC 9260 appendix A.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// noCRC is what SCTP's checksum field counts as; a local one would escape.
var noCRC [4]byte

// SetIPChecksum computes the IPv4 header checksum at L3 from scratch, as the kernel's
// ip_send_check does. IPv6 has none, and nothing happens.
func (f *Frame) SetIPChecksum() {
	b := f.Buf[f.L3:f.End]
	if b[0]>>4 == 4 {
		setIPv4Checksum(b[:int(b[0]&0x0f)*4])
	}
}

// setIPv4Checksum takes the old checksum out of the sum instead of zeroing the field
// first: a load that spans a fresh store waits for it.
func setIPv4Checksum(h []byte) {
	old := binary.BigEndian.Uint16(h[10:])
	binary.BigEndian.PutUint16(h[10:], ^Fold(Sum(h, uint32(^old))))
}

// VerifyTransport reports whether the transport checksum of a parsed frame is right. An
// unfinished one (VnetNeedsCsum) is right when it is the sum of the pseudo-header. It
// reads the whole payload: it is for tests, replay and ICMP, not for the hot path.
//
// True where there is nothing to verify: fragments, protocols without a checksum, UDP
// over IPv4 with checksum 0, an unfinished CRC of SCTP. False for UDP over IPv6 with
// checksum 0 (RFC 8200 section 8.1; RFC 6935 allows it to tunnels only) and for a UDP
// length that leaves the packet.
func (f *Frame) VerifyTransport() bool {
	if f.Fragment() {
		return true
	}
	t := f.Buf[f.L4:f.IPEnd]
	field, hasPseudo := 0, true
	switch f.Flow.Proto {
	case TCP:
		field = tcpCheck
	case UDP:
		field = udpCheck
		size := int(binary.BigEndian.Uint16(t[4:]))
		if size == 0 && f.Vnet.GSOType != VnetGSONone {
			size = len(t)
		}
		if size < udpLen || size > len(t) {
			return false
		}
		t = t[:size]
		if !f.unfinished() && t[6]|t[7] == 0 {
			return !f.Flow.V6
		}
	case ICMP, ICMPv6:
		if (f.Flow.Proto == ICMPv6) != f.Flow.V6 {
			return true // the other family's protocol: nothing to us
		}
		field, hasPseudo = icmpCheck, f.Flow.V6
	case SCTP:
		return f.unfinished() || binary.LittleEndian.Uint32(t[sctpCheck:]) == SCTPChecksum(t)
	default:
		return true
	}
	pseudo := uint32(0)
	if hasPseudo {
		pseudo = PseudoSum(f.Flow, f.Flow.Proto, len(t))
	}
	if f.unfinished() {
		return binary.BigEndian.Uint16(t[field:]) == Fold(pseudo)
	}
	return Fold(Sum(t, pseudo)) == 0xffff
}

// unfinished reports whether the transport checksum at L4 is unfinished. VnetNeedsCsum
// alone does not say so: in a tunnel it may be that of a packet further inside.
func (f *Frame) unfinished() bool {
	return f.Vnet.Flags&VnetNeedsCsum != 0 && f.Start+uint32(f.Vnet.CsumStart) == f.L4
}

// FinishChecksum turns an unfinished checksum into a complete one where Vnet says it
// is, and clears VnetNeedsCsum with its two offsets; a complete one is left alone. It
// sums from CsumStart to IPEnd, so it needs a parsed frame that is not a super-frame.
// A UDP checksum of 0 becomes 0xffff (RFC 768). If the offsets leave the packet nothing
// happens: the kernel refuses such a frame.
//
// SCTP marks its CRC32c in the same way, though a virtio_net_hdr cannot say that it is
// not an Internet checksum: such a frame must not be sent before this was called.
func (f *Frame) FinishChecksum() {
	if f.Vnet.Flags&VnetNeedsCsum == 0 {
		return
	}
	start, off := f.Start+uint32(f.Vnet.CsumStart), uint32(f.Vnet.CsumOffset)
	if start < f.L3 || start+off+2 > f.IPEnd {
		return
	}
	t := f.Buf[start:f.IPEnd]
	if off == sctpCheck { // no other protocol's field is there
		if len(t) < sctpLen {
			return
		}
		binary.LittleEndian.PutUint32(t[sctpCheck:], SCTPChecksum(t))
	} else {
		check := Checksum(t) // the field holds the pseudo-header's sum, so it is in it
		if check == 0 && off == udpCheck {
			check = 0xffff
		}
		binary.BigEndian.PutUint16(t[off:], check)
	}
	f.Vnet.Flags &^= VnetNeedsCsum
	f.Vnet.CsumStart, f.Vnet.CsumOffset = 0, 0
}

// SCTPChecksum is the CRC32c of an SCTP packet of at least 12 bytes with its checksum
// field taken as 0, RFC 9260 section 6.8. The field holds it in little-endian order.
func SCTPChecksum(b []byte) uint32 {
	crc := crc32.Update(0, castagnoli, b[:sctpCheck])
	crc = crc32.Update(crc, castagnoli, noCRC[:])
	return crc32.Update(crc, castagnoli, b[sctpCheck+4:])
}
