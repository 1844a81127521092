package encap

import (
	"encoding/binary"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// TestRewriteEqualsRebuild rewrites random packets and compares them, byte for byte,
// with packets that gopacket builds from scratch with the new ends.
func TestRewriteEqualsRebuild(t *testing.T) {
	r := rng(1)
	for range 60000 {
		s := randomSpec(r)
		partial := s.csumField() >= 0 && r.IntN(2) == 0
		addr, port := randomAddr(r), uint16(r.Uint32())
		if !s.v6 {
			addr = packet.AddrFrom4(addr.As4())
		}
		if r.IntN(8) == 0 {
			port = s.dport
		}
		f, want := s.frame(t, partial), s
		if r.IntN(2) == 0 {
			Dest(f, addr, port)
			want.dst, want.dport = addr, port
		} else {
			Source(f, addr, port)
			want.src, want.sport = addr, port
		}
		want.noSum = false // the kernel's udp_dnat_handler puts one in
		checkBytes(t, f.Bytes(), want.frame(t, partial).Bytes(), s)
		checkFields(t, f)
		if !f.VerifyTransport() {
			t.Fatalf("%+v: checksum became wrong", s)
		}
	}
}

// TestRewriteToTheSameTouchesNothing: also where an update would write another form of
// the same checksum (0xffff for 0, RFC 1624 section 3).
func TestRewriteToTheSameTouchesNothing(t *testing.T) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 1, dport: 80, ttl: 64, l2: true}
	f := s.frame(t, false)
	binary.BigEndian.PutUint16(f.Buf[f.L4+16:], 0xffff)
	want := string(f.Bytes())
	Dest(f, s.dst, s.dport)
	Source(f, s.src, s.sport)
	if string(f.Bytes()) != want {
		t.Errorf("got %x, want %x", f.Bytes(), want)
	}
}

func v4(a, b, c, d byte) packet.Addr { return packet.AddrFrom4([4]byte{a, b, c, d}) }

// TestFragmentGetsAddressOnly: bytes that stand where ports and checksum would be are
// data in a later fragment.
func TestFragmentGetsAddressOnly(t *testing.T) {
	for _, proto := range []uint8{packet.TCP, packet.UDP, packet.SCTP} {
		s := spec{proto: proto, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 64, fragOff: 1480, payload: make([]byte, 64)}
		f, want := s.frame(t, false), s
		Dest(f, v4(10, 0, 2, 13), 8080)
		Source(f, v4(10, 0, 2, 1), 9090)
		want.dst, want.src = v4(10, 0, 2, 13), v4(10, 0, 2, 1)
		checkBytes(t, f.Bytes(), want.wire(), proto)
		checkFields(t, f)
	}
}

// TestFirstFragmentKeepsDatagramChecksum: the checksum in a first fragment is of the
// whole datagram, so it must change by the rewrite, though its bytes are not all here.
func TestFirstFragmentKeepsDatagramChecksum(t *testing.T) {
	whole := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 5000, dport: 53, ttl: 64, payload: make([]byte, 1000)}
	cut := func(s spec) []byte {
		b := s.wire()
		s.mf, s.payload = true, b[20:20+512]
		return s.wire()
	}
	f := load(t, cut(whole), false)
	Dest(f, v4(10, 0, 2, 13), 5353)
	whole.dst, whole.dport = v4(10, 0, 2, 13), 5353
	checkBytes(t, f.Bytes(), cut(whole), "first fragment")
	checkFields(t, f)
}

// TestTinyFirstFragment: eight bytes of TCP hold ports and no checksum.
func TestTinyFirstFragment(t *testing.T) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 64, mf: true, payload: []byte{0, 1, 0, 80, 9, 9, 9, 9}}
	f := s.frame(t, false)
	Dest(f, v4(10, 0, 2, 13), 8080)
	s.dst, s.payload = v4(10, 0, 2, 13), []byte{0, 1, 0x1f, 0x90, 9, 9, 9, 9}
	checkBytes(t, f.Bytes(), s.wire(), "tiny fragment")
	checkFields(t, f)
}

// TestUDPZeroBecomesAllOnes: the new checksum would be 0, which means none (RFC 768).
func TestUDPZeroBecomesAllOnes(t *testing.T) {
	s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 5000, ttl: 64}
	found := false // gopacket's wire form has 0xffff where it computed 0
	for port := range uint16(0xffff) {
		if s.dport = port; binary.BigEndian.Uint16(s.wire()[26:]) == 0xffff {
			found = true
			break
		}
	}
	if !found {
		t.Fatal("no port gives checksum 0")
	}
	want := s.dport
	s.dport ^= 0x0f0f
	f := s.frame(t, false)
	Dest(f, s.dst, want)
	if got := binary.BigEndian.Uint16(f.Buf[f.L4+6:]); got != 0xffff {
		t.Errorf("checksum %#04x, want 0xffff", got)
	}
}

// TestUnfinishedSCTPIsFinished: a virtio_net_hdr cannot ask a device for a CRC32c, so
// none may leave unfinished, not even where the kernel would keep it.
func TestUnfinishedSCTPIsFinished(t *testing.T) {
	s := spec{proto: packet.SCTP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 2905, dport: 3868, ttl: 64, payload: []byte("chunk of it.")}
	f := s.frame(t, false)
	binary.BigEndian.PutUint32(f.Buf[f.L4+8:], 0xdeadbeef)
	f.Vnet = packet.Vnet{Flags: packet.VnetNeedsCsum, CsumStart: uint16(f.L4 - f.Start), CsumOffset: 8}
	Dest(f, v4(10, 0, 2, 13), s.dport)
	s.dst = v4(10, 0, 2, 13)
	checkBytes(t, f.Bytes(), s.wire(), "sctp")
	if f.Vnet != (packet.Vnet{}) {
		t.Errorf("vnet %+v, want none", f.Vnet)
	}
}

// TestNoChecksumFromAPart: what a frame does not hold whole cannot be computed, so a
// fragment's missing UDP checksum and wrong CRC32c stay; so does that of a datagram
// whose length field is wrong.
func TestNoChecksumFromAPart(t *testing.T) {
	base := spec{src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 64}
	udp, sctp, long := base, base, base
	udp.proto, udp.mf, udp.payload = packet.UDP, true, []byte{1, 1, 0, 53, 9, 9, 0, 0}
	sctp.proto, sctp.mf, sctp.payload = packet.SCTP, true, []byte("\x01\x01\x00\x35tag.crc.data")
	long.proto, long.payload, long.noSum = packet.UDP, []byte("data"), true
	for _, s := range []spec{udp, sctp, long} {
		b := s.wire()
		b[20+5]++ // the UDP length; nothing of note in SCTP
		f := load(t, b, false)
		before := string(f.Buf[f.L4+4 : f.IPEnd])
		Dest(f, v4(10, 0, 2, 13), 5353)
		if string(f.Buf[f.L4+4:f.IPEnd]) != before || f.Flow.DstPort != 5353 {
			t.Errorf("protocol %d: %x behind the ports became %x", s.proto, before, f.Buf[f.L4+4:f.IPEnd])
		}
	}
	super := long
	super.payload = make([]byte, 3000)
	f := super.frame(t, false)
	f.Vnet.GSOType, f.Vnet.GSOSize = packet.VnetGSOUDPL4, 1000
	Dest(f, v4(10, 0, 2, 13), 5353)
	if f.Buf[f.L4+6]|f.Buf[f.L4+7] != 0 {
		t.Error("a super-frame got one checksum for all its segments")
	}
}

// TestUnfinishedInnerChecksum: VnetNeedsCsum of a packet inside a UDP tunnel says
// nothing of the tunnel's own checksum, which is complete.
func TestUnfinishedInnerChecksum(t *testing.T) {
	s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 4789, dport: 4789, ttl: 64, payload: make([]byte, 80)}
	f, want := s.frame(t, false), s
	f.Vnet = packet.Vnet{Flags: packet.VnetNeedsCsum, CsumStart: uint16(f.L4-f.Start) + 50, CsumOffset: 16}
	Dest(f, v4(10, 0, 2, 13), 99)
	want.dst, want.dport = v4(10, 0, 2, 13), 99
	checkBytes(t, f.Bytes(), want.wire(), "tunnel")
}

// TestDecTTL: the header checksum is that of a packet built with the lower TTL.
func TestDecTTL(t *testing.T) {
	r := rng(2)
	for range 20000 {
		s := randomSpec(r)
		f, want := s.frame(t, false), s
		want.ttl--
		if !DecTTL(f) {
			t.Fatalf("%+v: refused", s)
		}
		checkBytes(t, f.Bytes(), want.wire(), s)
		checkFields(t, f)
	}
	for _, ttl := range []uint8{0, 1} {
		for _, v6 := range []bool{false, true} {
			s := spec{v6: v6, proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: ttl}
			f := s.frame(t, false)
			if DecTTL(f) {
				t.Errorf("TTL %d travels on", ttl)
			}
			checkBytes(t, f.Bytes(), s.wire(), "refused")
		}
	}
}
