package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// A Segmenter cuts a super-frame into ordinary frames with complete checksums, as a
// network card does (kernel: tcp_gso_segment, __udp_gso_segment). The zero Segmenter
// has nothing to cut; it may be used again and again by Reset.
//
//	for seg.Reset(f); seg.Next(&dst); {
//		// dst is a frame of its own with packet.Headroom before it
//	}
type Segmenter struct {
	f       *packet.Frame
	head    uint32 // bytes of headers, from f.Start
	next    uint32 // first byte in f.Buf not yet cut
	made    uint32 // segments so far
	running bool
}

// Reset takes a parsed super-frame, which must not change until the last Next. It
// returns false when f is none that can be cut here: not of type TCPv4, TCPv6 or
// UDP_L4, a type that does not fit its headers (one in a tunnel among them), or a
// segment size of 0.
func (s *Segmenter) Reset(f *packet.Frame) bool {
	*s = Segmenter{}
	var header uint32
	switch f.Vnet.GSOType &^ packet.VnetGSOECN {
	case packet.VnetGSOTCPv4, packet.VnetGSOTCPv6:
		v6 := f.Vnet.GSOType&^packet.VnetGSOECN == packet.VnetGSOTCPv6
		if f.Flow.Proto != packet.TCP || f.Flow.V6 != v6 {
			return false
		}
		if header = tcpHeaderLen(f); header < tcpHeader {
			return false
		}
	case packet.VnetGSOUDPL4:
		if f.Flow.Proto != packet.UDP {
			return false
		}
		header = udpHeader
	default:
		return false
	}
	if f.Vnet.GSOSize == 0 || f.Fragment() || f.L4+header > f.IPEnd {
		return false
	}
	*s = Segmenter{f: f, head: f.L4 + header - f.Start, next: f.L4 + header, running: true}
	return true
}

// Size is the length a buffer must have to hold any segment, headroom included.
func (s *Segmenter) Size() int {
	if !s.running {
		return 0
	}
	return int(packet.Headroom + s.head + uint32(s.f.Vnet.GSOSize))
}

// Next writes the next segment into dst.Buf, which the caller owns, behind
// packet.Headroom free bytes, and sets all other fields of dst. It returns false when
// there is no segment left, or dst.Buf is shorter than the segment needs (Size).
func (s *Segmenter) Next(dst *packet.Frame) bool {
	if !s.running {
		return false
	}
	f, mss := s.f, uint32(s.f.Vnet.GSOSize)
	size := min(f.IPEnd-s.next, mss)
	if !place(dst, f, s.head, 0, s.next, size) {
		return false
	}
	s.next += size
	last := s.next == f.IPEnd
	s.running = !last

	setIPLength(dst)
	if !f.Flow.V6 {
		// The id of each segment is one more, with DF as well: inet_gso_segment.
		ip := dst.Buf[dst.L3:dst.L4]
		id := binary.BigEndian.Uint16(ip[4:])
		binary.BigEndian.PutUint16(ip[4:], id+uint16(s.made))
		putIPChecksum(ip)
	}
	if f.Flow.Proto == packet.TCP {
		s.finishTCP(dst, last)
	} else {
		s.finishUDP(dst)
	}
	s.made++
	return true
}

// finishTCP sets the fields of the TCP header that differ between segments: the
// sequence number advances, CWR is on the first only (RFC 3168 section 6.1.2: once for
// each window), PSH and FIN stand at the last byte of the data (RFC 9293 section 3.4).
func (s *Segmenter) finishTCP(dst *packet.Frame, last bool) {
	const cwr = 0x80
	tcp := dst.Buf[dst.L4:dst.IPEnd]
	seq := binary.BigEndian.Uint32(tcp[4:])
	binary.BigEndian.PutUint32(tcp[4:], seq+s.made*uint32(s.f.Vnet.GSOSize))
	if s.made > 0 {
		tcp[13] &^= cwr
	}
	if !last {
		tcp[13] &^= packet.FIN | packet.PSH
	}
	dst.TCPFlags = tcp[13]
	putTransportChecksum(dst, tcp, 16)
}

// finishUDP sets the length; a datagram that came without checksum keeps none.
func (s *Segmenter) finishUDP(dst *packet.Frame) {
	udp := dst.Buf[dst.L4:dst.IPEnd]
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	if binary.BigEndian.Uint16(udp[6:]) == 0 && !unfinished(s.f) {
		return
	}
	putTransportChecksum(dst, udp, 6)
}

// putTransportChecksum computes the TCP or UDP checksum of b, the transport header and
// payload of the unfragmented packet f; off is the field's offset in b.
func putTransportChecksum(f *packet.Frame, b []byte, off int) {
	binary.BigEndian.PutUint16(b[off:], 0)
	check := ^packet.Fold(packet.Sum(b, packet.PseudoSum(f.Flow, f.Flow.Proto, len(b))))
	if check == 0 && f.Flow.Proto == packet.UDP {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[off:], check)
}
