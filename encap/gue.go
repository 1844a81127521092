package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// gueHeader is the length of a GUE version 0 header without extensions: version, C bit
// and header length in one byte, all 0; inner protocol; two bytes of flags, all 0
// (draft-ietf-intarea-gue-09 section 3.2; kernel: struct guehdr).
const gueHeader = 4

// The range of GUE source ports, host byte order: the default of sysctl
// net.ipv4.ip_local_port_range, which udp_flow_src_port uses.
const (
	gueFirstPort = 32768
	gueLastPort  = 60999
)

// putGUE writes the UDP and GUE headers at f.L4, the packet behind them. The source
// port is constant for an inner flow, so that routers on the way keep its order.
func putGUE(f *packet.Frame, t *Tunnel, in inner) {
	port := gueFirstPort + uint16(uint64(in.hash)*(gueLastPort-gueFirstPort)>>32)
	f.Flow.SrcPort, f.Flow.DstPort = port, t.Port
	length := f.IPEnd - f.L4
	h := f.Buf[f.L4:][:udpHeader+gueHeader]
	binary.BigEndian.PutUint16(h, port)
	binary.BigEndian.PutUint16(h[2:], t.Port)
	binary.BigEndian.PutUint16(h[4:], uint16(length))
	binary.BigEndian.PutUint16(h[6:], 0)
	binary.BigEndian.PutUint32(h[8:], uint32(in.proto)<<16)
	if t.Csum {
		sum := wireSum(f, f.L4) + packet.PseudoSum(f.Flow, packet.UDP, int(length))
		check := ^packet.Fold(sum)
		if check == 0 {
			check = 0xffff // 0 would mean none: RFC 768
		}
		binary.BigEndian.PutUint16(h[6:], check)
	}
}

// flowHash spreads flows over 32 bits. Fragments are hashed without ports, so that all
// fragments of a datagram hash alike (as the kernel's flow dissector does).
func flowHash(f *packet.Frame) uint32 {
	const m = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio: odd, its bits well mixed
	fl := &f.Flow
	h := uint64(fl.Proto)
	if !f.Fragment() {
		h |= uint64(fl.SrcPort)<<32 | uint64(fl.DstPort)<<16
	}
	mix := func(v uint64) {
		h = (h ^ v) * m
		h ^= h >> 32
	}
	mix(binary.LittleEndian.Uint64(fl.Src[:8]))
	mix(binary.LittleEndian.Uint64(fl.Src[8:]))
	mix(binary.LittleEndian.Uint64(fl.Dst[:8]))
	mix(binary.LittleEndian.Uint64(fl.Dst[8:]))
	return uint32(h)
}
