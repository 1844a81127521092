package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// Kind is the encapsulation of a tunnel; the values are the kernel's
// IP_VS_CONN_F_TUNNEL_TYPE_….
type Kind uint8

const (
	IPIP Kind = 0 // one IP header: RFC 2003, RFC 4213, RFC 2473
	GUE  Kind = 1 // IP, UDP and a GUE header of 4 bytes
	GRE  Kind = 2 // IP and a GRE header of 4 or 8 bytes: RFC 2784
)

// Tunnel says how packets to one real server are wrapped. It is not changed by use and
// may be shared.
type Tunnel struct {
	Src, Dst packet.Addr // outer addresses: the director's towards the server, the server's
	V6       bool        // family of the outer header; inner packets may be of the other
	Kind     Kind
	Port     uint16 // GUE: destination port, host byte order
	Csum     bool   // GUE, GRE: with a checksum (--tun-csum, --tun-remcsum)
	PMTUDisc bool   // sysctl net.ipv4.vs.pmtu_disc: the outer IPv4 header takes the inner DF
}

const (
	ip4Header = 20 // without options: RFC 791 section 3.1
	ip6Header = 40 // RFC 8200 section 3
	ethHeader = 14 // without FCS
)

// Overhead is the number of bytes a tunnel puts before each packet: what its MTU is
// less than the link's.
func Overhead(t *Tunnel) int {
	n := ip4Header
	if t.V6 {
		n = ip6Header
	}
	switch t.Kind {
	case GUE:
		n += udpHeader + gueHeader
	case GRE:
		n += greHeader(t.Csum)
	}
	return n
}

// Encapsulate puts t's headers before f's IP packet, in the frame's headroom. The
// Ethernet header, if there is one, moves in front with its addresses as they are. f
// becomes a frame of the outer packet; Ethernet padding is cut off. The TTL of the
// inner packet must have been decremented: it becomes the outer one's too.
//
// id is the identification of the outer IPv4 header, host byte order, used only where
// DF is clear: with DF it is 0 as in the kernel (RFC 6864 section 4.1). An unfinished
// inner checksum stays unfinished, but for SCTP's.
//
// It returns false, with nothing changed, when there is no room for the headers, when
// the outer packet would be longer than its length field can say, or for a super-frame
// where each segment needs its own outer checksum. Other super-frames are wrapped
// whole, which only few links can carry: see NeedsSegmenting.
func Encapsulate(f *packet.Frame, t *Tunnel, id uint16) bool {
	n := uint32(Overhead(t))
	payload := f.IPLen() + int(n) // what the outer header's length field counts
	if t.V6 {
		payload -= ip6Header
	}
	if f.Start < n || payload > 0xffff || t.Csum && t.Kind != IPIP && super(f) {
		return false
	}
	if f.Flow.Proto == packet.SCTP {
		f.FinishChecksum() // its CRC32c cannot be left to others: see FinishChecksum
	}
	in := innerOf(f)
	if t.Kind == GUE {
		in.hash = flowHash(f)
	}
	if f.L2 {
		*(*[ethHeader]byte)(f.Buf[f.Start-n:]) = [ethHeader]byte(f.Buf[f.Start:])
		etherType := uint16(packet.EtherIPv4)
		if t.V6 {
			etherType = packet.EtherIPv6
		}
		binary.BigEndian.PutUint16(f.Buf[f.L3-n-2:], etherType)
	}
	moveStart(f, -int32(n))
	f.L3 -= n
	f.End = f.IPEnd

	proto := in.proto
	switch t.Kind {
	case GUE:
		proto = packet.UDP
	case GRE:
		proto = packet.GRE
	}
	// Field by field: a Flow built first and then copied waits for its own stores.
	f.Flow.Src, f.Flow.Dst = t.Src, t.Dst
	f.Flow.SrcPort, f.Flow.DstPort = 0, 0
	f.Flow.Proto, f.Flow.V6 = proto, t.V6
	f.TCPFlags, f.FragOff, f.MoreFrag = 0, 0, false
	if t.V6 {
		f.L4 = f.L3 + ip6Header
		f.DF = true
		putIPv6(f, in)
	} else {
		f.L4 = f.L3 + ip4Header
		f.DF = in.df && t.PMTUDisc
		putIPv4(f, in, id)
	}
	switch t.Kind {
	case GUE:
		putGUE(f, t, in)
	case GRE:
		putGRE(f, t, in)
	}
	return true
}

// inner is what the outer headers need to know of the packet they wrap.
type inner struct {
	tos   uint8  // DSCP and ECN
	proto uint8  // IP protocol number of the packet itself: packet.IPIP or packet.IPv6
	df    bool   // IPv4 only: the kernel gives an IPv6 packet's outer header no DF
	hash  uint32 // of its flow, for GUE
}

func innerOf(f *packet.Frame) inner {
	ip := f.Buf[f.L3:][:ip4Header]
	if f.Flow.V6 {
		return inner{proto: packet.IPv6, tos: ip[0]<<4 | ip[1]>>4}
	}
	return inner{proto: packet.IPIP, tos: ip[1], df: f.DF}
}

// moveStart moves the beginning of the frame by d bytes, and with it what Vnet counts
// from there.
func moveStart(f *packet.Frame, d int32) {
	f.Start += uint32(d)
	if f.Vnet.Flags&packet.VnetNeedsCsum != 0 {
		f.Vnet.CsumStart -= uint16(d)
	}
	if f.Vnet.HdrLen != 0 {
		f.Vnet.HdrLen -= uint16(d)
	}
}

// wireSum is the one's-complement sum of the packet's bytes from offset from on, as
// they will be once an unfinished checksum among them is finished. Such a checksum is
// the complement of its pseudo-header sum p and of the bytes it covers, so the two
// together sum to the complement of p, which stands in the field: the payload need not
// be read (kernel: lco_csum).
func wireSum(f *packet.Frame, from uint32) uint32 {
	if f.Vnet.Flags&packet.VnetNeedsCsum != 0 {
		start := f.Start + uint32(f.Vnet.CsumStart)
		field := start + uint32(f.Vnet.CsumOffset)
		if start >= from && (start-from)%2 == 0 && field+2 <= f.IPEnd {
			return packet.Sum(f.Buf[from:start], uint32(^binary.BigEndian.Uint16(f.Buf[field:])))
		}
	}
	return packet.Sum(f.Buf[from:f.IPEnd], 0)
}
