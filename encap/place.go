package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// place makes dst a piece of f in dst's own buffer, behind packet.Headroom free bytes:
// f's first head bytes, a gap of gap bytes for the caller to fill, and size bytes of
// f.Buf from offset from on. The fields of dst are f's, moved along, without offload
// state; only L3, End and IPEnd are final. It returns false when dst.Buf is too short.
func place(dst, f *packet.Frame, head, gap, from, size uint32) bool {
	buf, end := dst.Buf, packet.Headroom+head+gap+size
	if uint32(len(buf)) < end {
		return false
	}
	*dst = *f
	dst.Buf = buf
	dst.Vnet = packet.Vnet{}
	dst.Start = packet.Headroom
	dst.End, dst.IPEnd = end, end
	dst.L3 = f.L3 - f.Start + dst.Start
	dst.L4 = f.L4 - f.Start + dst.Start
	copy(buf[dst.Start:], f.Buf[f.Start:f.Start+head])
	copy(buf[end-size:end], f.Buf[from:from+size])
	return true
}

// setIPLength writes the IP header's length field: of the whole packet in IPv4 (RFC 791
// section 3.1), of what follows the fixed header in IPv6 (RFC 8200 section 3).
func setIPLength(f *packet.Frame) {
	ip := f.Buf[f.L3:]
	if f.Flow.V6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(f.IPEnd-f.L3-ip6Header))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(f.IPEnd-f.L3))
	}
}
