package encap

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// superFrame is s as a host's stack sends it with offloads on: whole, its checksum
// unfinished, to be cut into segments of mss payload bytes.
func superFrame(t testing.TB, s spec, mss uint16) *packet.Frame {
	f := s.frame(t, true)
	f.Vnet.GSOSize = mss
	f.Vnet.HdrLen = uint16(len(f.Bytes()) - len(s.payload))
	switch {
	case s.proto == packet.UDP:
		f.Vnet.GSOType = packet.VnetGSOUDPL4
	case s.v6:
		f.Vnet.GSOType = packet.VnetGSOTCPv6
	default:
		f.Vnet.GSOType = packet.VnetGSOTCPv4
	}
	return f
}

func randomSuper(r *rand.Rand) (s spec, mss uint16) {
	for s = randomSpec(r); s.csumField() < 0; {
		s = randomSpec(r)
	}
	mss = uint16(1 + r.IntN(1460))
	s.payload = make([]byte, r.IntN(12*int(mss)))
	for i := range s.payload {
		s.payload[i] = byte(r.Uint32())
	}
	return s, mss
}

// segmentsOf is what tcp_gso_segment and __udp_gso_segment make of s, each segment
// built from scratch.
func segmentsOf(s spec, mss int) (want [][]byte) {
	data := s.payload
	for i := 0; i == 0 || len(data) > 0; i++ {
		n := min(mss, len(data))
		c := s
		c.payload, data = data[:n], data[n:]
		c.id += uint16(i)
		c.seq += uint32(i * mss)
		if i > 0 {
			c.flags &^= 0x80 // CWR
		}
		if len(data) > 0 {
			c.flags &^= 0x09 // PSH, FIN
		}
		b := c.wire()
		if s.proto == packet.TCP { // the builder derives the acknowledgment number from the sequence number
			ack := b[len(b)-len(c.payload)-transportLen(c)+8:]
			binary.BigEndian.PutUint32(ack, ^s.seq)
			fixTCP(c, b)
		}
		want = append(want, b)
	}
	return want
}

// fixTCP computes the checksum of the TCP packet in b, word by word.
func fixTCP(s spec, b []byte) {
	tcp := b[len(b)-len(s.payload)-transportLen(s):]
	tcp[16], tcp[17] = 0, 0
	pseudo := append(append([]byte{}, s.src[:]...), s.dst[:]...)
	if !s.v6 {
		pseudo = append(append([]byte{}, s.src[12:]...), s.dst[12:]...)
	}
	pseudo = binary.BigEndian.AppendUint16(append(pseudo, 0, packet.TCP), uint16(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], ^slowSum(append(pseudo, tcp...)))
}

// TestSegmentsEqualRebuild cuts random super-frames, some rewritten by NAT before, and
// compares each segment with one built from scratch. Their payloads are the stream.
func TestSegmentsEqualRebuild(t *testing.T) {
	r := rng(4)
	var seg Segmenter
	for range 4000 {
		s, mss := randomSuper(r)
		f := superFrame(t, s, mss)
		if r.IntN(2) == 0 {
			addr := s.dst
			addr[15] ^= 0x5a
			Dest(f, addr, 8080)
			s.dst, s.dport = addr, 8080
		}
		if !seg.Reset(f) {
			t.Fatalf("%+v: refused", s)
		}
		dst := packet.Frame{Buf: make([]byte, seg.Size())}
		var stream []byte
		want := segmentsOf(s, int(mss))
		for i := range want {
			if !seg.Next(&dst) {
				t.Fatalf("%d segments, want %d", i, len(want))
			}
			checkBytes(t, dst.Bytes(), want[i], i)
			checkFields(t, &dst)
			if dst.Start < packet.Headroom || dst.Vnet != (packet.Vnet{}) || dst.Port != f.Port {
				t.Fatalf("segment %s", fields(&dst))
			}
			stream = append(stream, dst.Bytes()[f.L4-f.Start+uint32(transportLen(s)):]...)
		}
		if seg.Next(&dst) || !bytes.Equal(stream, s.payload) {
			t.Fatal("the segments are not the stream")
		}
	}
}

// TestSegmentsCanBeTunnelled: the way of a super-frame to an IPIP server.
func TestSegmentsCanBeTunnelled(t *testing.T) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 40000, dport: 80, ttl: 63, id: 0xffff, df: true, seq: 1 << 31, flags: 0x18, payload: make([]byte, 64000), l2: true}
	tun := &Tunnel{Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13), PMTUDisc: true}
	f := superFrame(t, s, 1428)
	var seg Segmenter
	seg.Reset(f)
	dst := packet.Frame{Buf: make([]byte, seg.Size())}
	n := 0
	for i, want := range segmentsOf(s, 1428) {
		if !seg.Next(&dst) || !Encapsulate(&dst, tun, 1) {
			t.Fatal("refused")
		}
		checkBytes(t, dst.Bytes()[34:], want[14:], i)
		n += dst.IPLen() - 60
	}
	if n != 64000 {
		t.Errorf("%d bytes of payload, want 64000", n)
	}
}

// TestUDPSegmentsWithoutChecksum: a datagram that came without one gets none.
func TestUDPSegmentsWithoutChecksum(t *testing.T) {
	s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, noSum: true, payload: make([]byte, 3000)}
	f := s.frame(t, false)
	f.Vnet.GSOType, f.Vnet.GSOSize = packet.VnetGSOUDPL4, 1000
	var seg Segmenter
	if !seg.Reset(f) {
		t.Fatal("refused")
	}
	dst := packet.Frame{Buf: make([]byte, seg.Size())}
	for i, want := range segmentsOf(s, 1000) {
		if !seg.Next(&dst) {
			t.Fatal("ends early")
		}
		checkBytes(t, dst.Bytes(), want, i)
	}
}

// TestUDPSegmentZeroBecomesAllOnes: a payload word that makes the checksum 0.
func TestUDPSegmentZeroBecomesAllOnes(t *testing.T) {
	s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: []byte{0, 0}}
	s.payload = append(s.wire()[26:28:28], 0, 0) // the second segment has the word 0 again
	f := superFrame(t, s, 2)
	var seg Segmenter
	seg.Reset(f)
	dst := packet.Frame{Buf: make([]byte, seg.Size())}
	if !seg.Next(&dst) || binary.BigEndian.Uint16(dst.Buf[dst.L4+6:]) != 0xffff {
		t.Errorf("checksum %x, want ffff", dst.Buf[dst.L4+6:dst.L4+8])
	}
}

func TestSegmenterRefuses(t *testing.T) {
	good := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: make([]byte, 3000)}
	for name, edit := range map[string]func(f *packet.Frame){
		"ordinary frame":      func(f *packet.Frame) { f.Vnet = packet.Vnet{} },
		"segment size 0":      func(f *packet.Frame) { f.Vnet.GSOSize = 0 },
		"TCPv6 type on IPv4":  func(f *packet.Frame) { f.Vnet.GSOType = packet.VnetGSOTCPv6 },
		"UDP type on TCP":     func(f *packet.Frame) { f.Vnet.GSOType = packet.VnetGSOUDPL4 },
		"UFO":                 func(f *packet.Frame) { f.Vnet.GSOType = packet.VnetGSOUDP },
		"in a tunnel":         func(f *packet.Frame) { Encapsulate(f, &Tunnel{}, 0) },
		"fragment":            func(f *packet.Frame) { f.MoreFrag = true },
		"data offset too big": func(f *packet.Frame) { f.IPEnd = f.L4 + 19 },
	} {
		f := superFrame(t, good, 1000)
		edit(f)
		var seg Segmenter
		if seg.Reset(f) || seg.Next(&packet.Frame{Buf: make([]byte, 9000)}) || seg.Size() != 0 {
			t.Errorf("%s: not refused", name)
		}
	}
	var seg Segmenter
	f := superFrame(t, good, 1000)
	f.Vnet.GSOType |= packet.VnetGSOECN
	if !seg.Reset(f) || seg.Next(&packet.Frame{Buf: make([]byte, seg.Size()-1)}) {
		t.Error("a buffer one byte too short is taken")
	}
	if !seg.Next(&packet.Frame{Buf: make([]byte, seg.Size())}) {
		t.Error("a buffer of Size bytes is refused")
	}
}

func TestTooBig(t *testing.T) {
	tcp := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, tcpOpts: 12, payload: make([]byte, 30000)}
	udp6 := spec{v6: true, proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: make([]byte, 30000)}
	ordinary := tcp
	ordinary.payload = make([]byte, 1448)
	for name, c := range map[string]struct {
		f    *packet.Frame
		fits int // the smallest MTU it fits in
	}{
		"ordinary":             {ordinary.frame(t, false), 1500},
		"TCP super-frame":      {superFrame(t, tcp, 1448), 20 + 32 + 1448},
		"UDPv6 super-frame":    {superFrame(t, udp6, 1000), 40 + 8 + 1000},
		"one segment not full": {superFrame(t, ordinary, 9000), 1500},
	} {
		c.f.Vnet.HdrLen = 0 // only a hint
		if TooBig(c.f, c.fits) || !TooBig(c.f, c.fits-1) {
			t.Errorf("%s: does not change at %d", name, c.fits)
		}
	}
	whole := ordinary.frame(t, false)
	for _, c := range []struct {
		f               *packet.Frame
		tunnel, offload bool
		want            bool
	}{
		{whole, true, false, false},
		{superFrame(t, tcp, 1448), false, true, false},
		{superFrame(t, tcp, 1448), false, false, true},
		{superFrame(t, tcp, 1448), true, true, true},
	} {
		if got := NeedsSegmenting(c.f, c.tunnel, c.offload); got != c.want {
			t.Errorf("NeedsSegmenting(%s, %v, %v) = %v", fields(c.f), c.tunnel, c.offload, got)
		}
	}
}
