package afpacket

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// vnetLen is sizeof(struct virtio_net_hdr), linux/virtio_net.h, without num_buffers:
// flags 1, gso_type 1, hdr_len 2, gso_size 2, csum_start 2, csum_offset 2 bytes. AF_PACKET
// uses the legacy form, whose integers are in the host's byte order.
const vnetLen = 10

// getVnet decodes the virtio_net_hdr in b[:vnetLen].
func getVnet(b []byte) packet.Vnet {
	_ = b[vnetLen-1]
	return packet.Vnet{
		Flags:      b[0],
		GSOType:    b[1],
		HdrLen:     binary.NativeEndian.Uint16(b[2:]),
		GSOSize:    binary.NativeEndian.Uint16(b[4:]),
		CsumStart:  binary.NativeEndian.Uint16(b[6:]),
		CsumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

// putVnet encodes v for sending into b[:vnetLen]. Only VnetNeedsCsum is said again:
// that a checksum was found valid is the receiver's knowledge, not the sender's.
func putVnet(b []byte, v packet.Vnet) {
	_ = b[vnetLen-1]
	b[0] = v.Flags & packet.VnetNeedsCsum
	b[1] = v.GSOType
	binary.NativeEndian.PutUint16(b[2:], v.HdrLen)
	binary.NativeEndian.PutUint16(b[4:], v.GSOSize)
	binary.NativeEndian.PutUint16(b[6:], v.CsumStart)
	binary.NativeEndian.PutUint16(b[8:], v.CsumOffset)
}

// headerLen is the true length of a super-frame's headers. The kernel's hdr_len is only
// how much of the skb happened to be linear (skb_headlen, virtio_net_hdr_from_skb),
// which after GRO may be all of it; the transport header says better where the payload
// begins. An answer that does not fit the frame leaves v.HdrLen as it was.
func headerLen(frame []byte, v packet.Vnet) uint16 {
	n := int(v.CsumStart)
	switch v.GSOType &^ packet.VnetGSOECN {
	case packet.VnetGSOTCPv4, packet.VnetGSOTCPv6:
		if n+20 > len(frame) {
			return v.HdrLen
		}
		n += int(frame[n+12]>>4) * 4 // data offset, RFC 9293 section 3.1
	case packet.VnetGSOUDP, packet.VnetGSOUDPL4:
		n += 8
	default:
		return v.HdrLen
	}
	if v.Flags&packet.VnetNeedsCsum == 0 || n > len(frame) {
		return v.HdrLen
	}
	return uint16(n)
}
