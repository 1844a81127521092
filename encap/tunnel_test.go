package encap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// wrapped is s's frame in tunnel t as gopacket builds it; gueSrc is the source port of
// a GUE packet.
func wrapped(s spec, t *Tunnel, id, gueSrc uint16) []byte {
	l2 := s.l2
	s.l2 = false
	inside := s.wire()
	s.l2 = l2

	tos, proto, etherType := s.tos, layers.IPProtocolIPv4, layers.EthernetTypeIPv4
	if tos&3 == 3 {
		tos -= 1 // congestion experienced: the outer header starts anew as ECT(0)
	}
	if s.v6 {
		proto, etherType = layers.IPProtocolIPv6, layers.EthernetTypeIPv6
	}
	outerProto := proto
	switch t.Kind {
	case GUE:
		outerProto = layers.IPProtocolUDP
	case GRE:
		outerProto = layers.IPProtocolGRE
	}
	var ls []gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	if t.V6 {
		l := &layers.IPv6{Version: 6, TrafficClass: tos, HopLimit: s.ttl, SrcIP: ip(t.Src), DstIP: ip(t.Dst), NextHeader: outerProto}
		ls, network = append(ls, l), l
	} else {
		l := &layers.IPv4{Version: 4, TOS: tos, TTL: s.ttl, Id: id, SrcIP: ip(t.Src).To4(), DstIP: ip(t.Dst).To4(), Protocol: outerProto}
		if !s.v6 && s.df && t.PMTUDisc {
			l.Flags, l.Id = layers.IPv4DontFragment, 0
		}
		ls, network = append(ls, l), l
	}
	switch t.Kind {
	case GUE:
		udp := &layers.UDP{SrcPort: layers.UDPPort(gueSrc), DstPort: layers.UDPPort(t.Port)}
		must(udp.SetNetworkLayerForChecksum(network))
		ls = append(ls, udp, gopacket.Payload{0, byte(proto), 0, 0})
	case GRE:
		ls = append(ls, &layers.GRE{Protocol: etherType, ChecksumPresent: t.Csum})
	}
	b := serialize(append(ls, gopacket.Payload(inside))...)
	if t.Kind == GUE {
		check := b[len(b)-len(inside)-gueHeader-2:][:2]
		switch {
		case !t.Csum:
			check[0], check[1] = 0, 0
		case check[0]|check[1] == 0:
			check[0], check[1] = 0xff, 0xff
		}
	}
	return s.link(b, t.V6)
}

func randomTunnel(r *rand.Rand) *Tunnel {
	t := &Tunnel{Src: randomAddr(r), Dst: randomAddr(r), V6: r.IntN(2) == 0, Kind: Kind(r.IntN(3)), Port: 6080, Csum: r.IntN(2) == 0, PMTUDisc: r.IntN(4) != 0}
	if !t.V6 {
		t.Src, t.Dst = packet.AddrFrom4(t.Src.As4()), packet.AddrFrom4(t.Dst.As4())
	}
	return t
}

// TestEncapsulateEqualsRebuild wraps random packets in random tunnels, all family
// mixes, and compares with what gopacket builds; then a real server's end unwraps them
// again. With an unfinished inner checksum the outer one must already be that of the
// finished packet.
func TestEncapsulateEqualsRebuild(t *testing.T) {
	r := rng(3)
	for range 40000 {
		s, tun, id := randomSpec(r), randomTunnel(r), uint16(r.Uint32())
		partial := s.csumField() >= 0 && r.IntN(2) == 0
		f := s.frame(t, partial)
		before, vnet := string(f.Bytes()), f.Vnet
		what := fmt.Sprintf("partial %v, tunnel %+v, packet %+v", partial, tun, s)
		if !Encapsulate(f, tun, id) {
			t.Fatalf("%s: refused", what)
		}
		checkFields(t, f)
		if got := len(f.Bytes()) - len(before); got != Overhead(tun) {
			t.Fatalf("%s: grew by %d bytes, Overhead says %d", what, got, Overhead(tun))
		}
		g := *f
		g.Buf = append([]byte{}, f.Buf...)
		g.FinishChecksum()
		checkBytes(t, g.Bytes(), wrapped(s, tun, id, f.Flow.SrcPort), what)
		if tun.Kind == GUE && (f.Flow.SrcPort < gueFirstPort || f.Flow.SrcPort >= gueLastPort) {
			t.Fatalf("%s: GUE source port %d", what, f.Flow.SrcPort)
		}

		if !Decapsulate(f, tun.Port) {
			t.Fatalf("%s: does not come out again: %x", what, f.Bytes())
		}
		checkFields(t, f)
		if string(f.Bytes()) != before || f.Vnet != vnet {
			t.Fatalf("%s: came out as %x, %+v", what, f.Bytes(), f.Vnet)
		}
	}
}

// TestEncapsulateCutsPadding: Ethernet padding must not become payload of the tunnel.
func TestEncapsulateCutsPadding(t *testing.T) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, l2: true}
	f := load(t, append(s.wire(), 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa), true)
	tun := &Tunnel{Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13)}
	if !Encapsulate(f, tun, 77) {
		t.Fatal("refused")
	}
	checkBytes(t, f.Bytes(), wrapped(s, tun, 77, 0), "padded")
}

// TestEncapsulateRefuses: and changes nothing then.
func TestEncapsulateRefuses(t *testing.T) {
	tun := Tunnel{Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13)}
	small := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, l2: true}
	large := small
	large.payload = make([]byte, 65535-20-8-19) // one byte too many for an outer header of 20

	for name, c := range map[string]struct {
		s     spec
		tun   Tunnel
		start uint32
		gso   uint8
	}{
		"no headroom":         {s: small, tun: tun, start: 19},
		"longer than 65535":   {s: large, tun: tun, start: packet.Headroom},
		"super-frame in GRE":  {s: small, tun: Tunnel{Kind: GRE, Csum: true}, start: packet.Headroom, gso: packet.VnetGSOUDPL4},
		"super-frame in GUE":  {s: small, tun: Tunnel{Kind: GUE, Csum: true, V6: true}, start: packet.Headroom, gso: packet.VnetGSOUDPL4},
		"no headroom for GUE": {s: small, tun: Tunnel{Kind: GUE, V6: true}, start: 51},
	} {
		b := c.s.wire()
		buf := append(make([]byte, c.start), b...)
		f := &packet.Frame{Buf: buf, Start: c.start, End: uint32(len(buf)), L2: true, Vnet: packet.Vnet{GSOType: c.gso}}
		if bad := f.Parse(); bad != packet.None {
			t.Fatal(bad)
		}
		before := fields(f)
		if Encapsulate(f, &c.tun, 1) || string(f.Bytes()) != string(b) || fields(f) != before {
			t.Errorf("%s: not refused, or changed", name)
		}
	}
	// One byte less fits.
	large.payload = large.payload[1:]
	if f := large.frame(t, false); !Encapsulate(f, &tun, 1) || f.IPLen() != 65535 {
		t.Error("65535 bytes: refused")
	}
}

// TestEncapsulateMovesOffload: what Vnet counts from Start moves with it.
func TestEncapsulateMovesOffload(t *testing.T) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, l2: true, payload: make([]byte, 5000)}
	f := superFrame(t, s, 1000)
	Encapsulate(f, &Tunnel{Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13)}, 1)
	want := packet.Vnet{Flags: packet.VnetNeedsCsum, GSOType: packet.VnetGSOTCPv4, GSOSize: 1000, CsumOffset: 16,
		CsumStart: 14 + 20 + 20, HdrLen: 14 + 20 + 20 + 20}
	if f.Vnet != want {
		t.Errorf("got %+v, want %+v", f.Vnet, want)
	}
}

// TestEncapsulateFinishesSCTP: see FinishChecksum.
func TestEncapsulateFinishesSCTP(t *testing.T) {
	s := spec{proto: packet.SCTP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 2905, dport: 3868, ttl: 63, payload: []byte("chunk of it.")}
	f := s.frame(t, false)
	f.Buf[f.L4+8] ^= 0x55
	f.Vnet = packet.Vnet{Flags: packet.VnetNeedsCsum, CsumStart: uint16(f.L4 - f.Start), CsumOffset: 8}
	tun := &Tunnel{Kind: GRE, Csum: true, Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13)}
	Encapsulate(f, tun, 1)
	checkBytes(t, f.Bytes(), wrapped(s, tun, 1, 0), "sctp")
	if f.Vnet != (packet.Vnet{}) {
		t.Errorf("vnet %+v", f.Vnet)
	}
}

// TestOuterChecksumCarries: a sum whose first folding carries out of 32 bits.
func TestOuterChecksumCarries(t *testing.T) {
	s := spec{proto: packet.ESP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 255}
	tun := &Tunnel{Src: v4(255, 255, 255, 255), Dst: v4(0, 0, 0, 0)}
	h := wrapped(s, tun, 7, 0)[:20]
	sum := uint64(0)
	for _, at := range []int{0, 4, 8, 12} {
		w := uint64(binary.BigEndian.Uint32(h[at:]))
		if at == 8 {
			w &^= 0xffff // the checksum itself
		}
		sum += w
	}
	d := ^uint32(sum) // brings the low half to all ones, with carries above
	if sum>>32 == 0 {
		t.Fatal("no carry")
	}
	tun.Dst = v4(byte(d>>24), byte(d>>16), byte(d>>8), byte(d))
	f := s.frame(t, false)
	Encapsulate(f, tun, 7)
	checkBytes(t, f.Bytes(), wrapped(s, tun, 7, 0), tun)
}

// TestGUEZeroBecomesAllOnes: a payload word that makes the outer UDP checksum 0.
func TestGUEZeroBecomesAllOnes(t *testing.T) {
	s := spec{proto: packet.ESP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: []byte{0, 0}}
	tun := &Tunnel{Kind: GUE, Csum: true, Port: 6080, Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13)}
	for range 2 { // first with the word 0, then with the checksum that gave
		f := s.frame(t, false)
		Encapsulate(f, tun, 7)
		checkBytes(t, f.Bytes(), wrapped(s, tun, 7, f.Flow.SrcPort), tun)
		s.payload = bytes.Clone(f.Buf[f.L4+6 : f.L4+8])
	}
	if !bytes.Equal(s.payload, []byte{0xff, 0xff}) {
		t.Errorf("checksum %x, want ffff", s.payload)
	}
}

// TestGUEPortKeepsFlows: one port for a flow, whatever the packet; many for many flows;
// fragments of a datagram, with and without ports, agree.
func TestGUEPortKeepsFlows(t *testing.T) {
	tun := &Tunnel{Kind: GUE, Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13), Port: 6080}
	port := func(s spec) uint16 {
		f := s.frame(t, false)
		Encapsulate(f, tun, 0)
		return f.Flow.SrcPort
	}
	s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 5000, dport: 53, ttl: 63}
	longer := s
	longer.ttl, longer.payload = 9, make([]byte, 99)
	if port(s) != port(longer) {
		t.Error("two packets of a flow have different source ports")
	}
	first, later := s, s
	first.mf, first.payload = true, []byte{1, 2, 3, 4, 5, 6, 7, 8}
	later.fragOff, later.payload = 8, []byte{7}
	if port(first) != port(later) {
		t.Error("fragments of a datagram have different source ports")
	}
	seen := map[uint16]bool{}
	for i := range uint16(1000) {
		s.sport = 5000 + i
		seen[port(s)] = true
	}
	if len(seen) < 950 { // 1000 of 28231 ports at random: about 983 different
		t.Errorf("1000 flows share %d source ports", len(seen))
	}
}

// TestDecapsulateRefuses what is not a tunnel packet it can open, and leaves it alone.
func TestDecapsulateRefuses(t *testing.T) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, l2: true, payload: []byte("hello")}
	wrap := func(kind Kind, csum bool) []byte {
		return wrapped(s, &Tunnel{Kind: kind, Csum: csum, Port: 6080, Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13)}, 1, 40000)
	}
	in := func(kind Kind) []byte { return wrap(kind, false) } // so that no checksum shows what else is wrong
	summed := func(kind Kind) []byte { return wrap(kind, true) }
	outerIP := func(edit func(ip []byte)) []byte {
		f := load(t, in(IPIP), true)
		edit(f.Buf[f.L3:])
		f.SetIPChecksum()
		return f.Bytes()
	}
	edit := func(b []byte, at int, v byte) []byte {
		b[at] ^= v
		return b
	}
	const outer = 14 + 20
	for name, b := range map[string][]byte{
		"plain TCP":             s.wire(),
		"GRE with a key":        edit(in(GRE), outer, 0x20),
		"GRE version 1":         edit(in(GRE), outer+1, 1),
		"GRE of ARP":            edit(in(GRE), outer+3, 6),
		"GRE checksum":          edit(summed(GRE), len(summed(GRE))-1, 1),
		"GUE other port":        edit(in(GUE), outer+3, 1),
		"GUE checksum":          edit(summed(GUE), len(summed(GUE))-1, 1),
		"GUE version 1":         edit(in(GUE), outer+8, 0x40),
		"GUE flags":             edit(in(GUE), outer+11, 1),
		"GUE of TCP":            edit(in(GUE), outer+9, 2),
		"GUE length":            edit(in(GUE), outer+5, 1),
		"IPIP of IPv6":          edit(in(IPIP), outer, 0x20),
		"bad inner checksum":    edit(in(IPIP), outer+10, 1),
		"CE, inner not capable": outerIP(func(ip []byte) { ip[1] |= 3 }), // RFC 6040 section 4.2
		"first fragment":        outerIP(func(ip []byte) { ip[6] = 0x20 }),
		"later fragment":        outerIP(func(ip []byte) { ip[7] = 1 }),
	} {
		f := load(t, b, true)
		before, was := string(b), fields(f)
		if Decapsulate(f, 6080) || string(f.Bytes()) != before || fields(f) != was {
			t.Errorf("%s: opened, or changed", name)
		}
	}
	if f := load(t, in(GUE), true); Decapsulate(f, 0) {
		t.Error("GUE opened without a port for it")
	}
}

// TestDecapsulateOuterUnfinished: from a director on the same host, whose stack left
// the outer UDP checksum to the network card.
func TestDecapsulateOuterUnfinished(t *testing.T) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, l2: true, payload: []byte("hello")}
	f := load(t, wrapped(s, &Tunnel{Kind: GUE, Csum: true, Port: 6080, Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13)}, 1, 40000), true)
	f.Buf[f.L4+6] ^= 0x55
	f.Vnet = packet.Vnet{Flags: packet.VnetNeedsCsum, CsumStart: 34, CsumOffset: 6}
	if !Decapsulate(f, 6080) || f.Vnet != (packet.Vnet{}) {
		t.Fatalf("refused, or left with %+v", f.Vnet)
	}
	checkBytes(t, f.Bytes(), s.wire(), s)
}

// TestDecapsulateMarksCongestion: outer CE reaches an inner packet that is ECN-capable.
func TestDecapsulateMarksCongestion(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, ecn := range []uint8{1, 2, 3} {
			s := spec{v6: v6, proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, tos: 0x28 | ecn}
			b := wrapped(s, &Tunnel{V6: v6, Src: v4(10, 0, 2, 1), Dst: v4(10, 0, 2, 13)}, 1, 0)
			f := load(t, b, false)
			if v6 {
				f.Buf[f.L3+1] |= 0x30
			} else {
				f.Buf[f.L3+1] |= 3
				f.SetIPChecksum()
			}
			if !Decapsulate(f, 0) {
				t.Fatalf("refused")
			}
			s.tos = 0x28 | 3
			checkBytes(t, f.Bytes(), s.wire(), s)
		}
	}
}
