package encap

import "github.com/dirigo-lb/dirigo/packet"

// TooBig reports whether an IP packet, or a segment of it, is longer than mtu bytes. A
// super-frame is judged by the length of its segments on the wire (kernel:
// skb_gso_network_seglen), never by its own. For a tunnel, mtu is the link's less
// Overhead.
func TooBig(f *packet.Frame, mtu int) bool {
	n := f.IPLen()
	if n <= mtu || !super(f) {
		return n > mtu
	}
	return segmentLen(f) > mtu
}

// NeedsSegmenting reports whether f must be cut by a Segmenter before it is sent:
// a super-frame for a link without offload, or for a tunnel. A virtio_net_hdr has no
// word for a segment's outer header, so a device behind the link would cut the wrong
// one.
func NeedsSegmenting(f *packet.Frame, tunnel, offload bool) bool {
	return super(f) && (tunnel || !offload)
}

// super reports whether f is a super-frame: several segments under one header.
func super(f *packet.Frame) bool { return f.Vnet.GSOType&^packet.VnetGSOECN != packet.VnetGSONone }

// segmentLen is the IP length of a full segment of a super-frame. Vnet.HdrLen is only
// a hint (virtio 1.2 section 5.1.6.2), so headers are measured.
func segmentLen(f *packet.Frame) int {
	header := f.L4 - f.L3
	switch f.Flow.Proto {
	case packet.TCP:
		header += tcpHeaderLen(f)
	case packet.UDP:
		if f.Vnet.GSOType != packet.VnetGSOUDP { // UFO cuts the UDP header like data
			header += udpHeader
		}
	}
	return int(header) + int(f.Vnet.GSOSize)
}

// Lengths of transport headers: RFC 768; RFC 9293 section 3.1, without options.
const (
	udpHeader = 8
	tcpHeader = 20
)

// tcpHeaderLen is the length of f's TCP header, options included (RFC 9293 section 3.1,
// data offset); 0 when the frame does not hold the field.
func tcpHeaderLen(f *packet.Frame) uint32 {
	if f.L4+13 > f.IPEnd {
		return 0
	}
	return uint32(f.Buf[f.L4+12]>>4) * 4
}
