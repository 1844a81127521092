package encap

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"
)

// TestFragmentsReassemble cuts random packets; gopacket's defragmenter (IPv4) or the
// test's own (IPv6) must find the original in the pieces, and every piece must be whole
// in itself: length, header checksum, a multiple of eight bytes.
func TestFragmentsReassemble(t *testing.T) {
	r := rng(5)
	var frag Fragmenter
	for range 6000 {
		s := randomSpec(r)
		s.df = s.df && s.v6
		s.payload = make([]byte, 200+r.IntN(4000))
		for i := range s.payload {
			s.payload[i] = byte(r.Uint32())
		}
		mtu := 120 + r.IntN(1500)
		f := s.frame(t, s.csumField() >= 0 && r.IntN(2) == 0)
		whole := s.wire()
		if !s.v6 && f.IPLen() > mtu && frag.Reset(f, mtu, false) != true {
			t.Fatalf("%+v: refused", s)
		}
		if f.IPLen() <= mtu {
			if frag.Reset(f, mtu, true) {
				t.Fatal("cuts what fits")
			}
			continue
		}
		frag.ID = r.Uint32()
		id := frag.ID
		if !frag.Reset(f, mtu, true) {
			t.Fatalf("%+v: refused", s)
		}
		pieces := cut(t, &frag, f, mtu)
		var got []byte
		if s.v6 {
			got = defrag6(t, pieces, id, s.hopByHop)
			if frag.ID != id+1 {
				t.Fatalf("ID %d after %d", frag.ID, id)
			}
		} else {
			got = defrag4(t, pieces)
		}
		if s.l2 {
			whole = whole[14:]
		}
		if s.v6 {
			checkBytes(t, got, whole, s)
			continue
		}
		// gopacket gives back the payload under a header without options.
		checkBytes(t, got, whole[s.headerLen():], s)
	}
}

// cut collects all pieces of f as IP packets and looks at each alone.
func cut(t *testing.T, frag *Fragmenter, f *packet.Frame, mtu int) (pieces [][]byte) {
	dst := packet.Frame{Buf: make([]byte, frag.Size())}
	for frag.Next(&dst) {
		checkFields(t, &dst)
		if dst.Start < packet.Headroom || dst.IPLen() > mtu || dst.Port != f.Port || dst.Vnet != (packet.Vnet{}) {
			t.Fatalf("MTU %d: %s", mtu, fields(&dst))
		}
		if f.L2 && !bytes.Equal(dst.Bytes()[:14], f.Bytes()[:14]) {
			t.Fatal("another Ethernet header")
		}
		pieces = append(pieces, bytes.Clone(dst.Buf[dst.L3:dst.IPEnd]))
		if len(pieces) > 1 && len(pieces[len(pieces)-2])-len(pieces[len(pieces)-1])+8 < 0 {
			t.Fatal("a later piece is longer")
		}
	}
	if n := len(pieces); n < 2 || n > 2+f.IPLen()/(mtu-60-7-8) {
		t.Fatalf("%d pieces of %d bytes for an MTU of %d", n, f.IPLen(), mtu)
	}
	return pieces
}

// defrag4 joins the pieces and returns the payload; gopacket decodes them, and its
// defragmenter must agree, where it can (no options, no less than 8 bytes).
func defrag4(t *testing.T, pieces [][]byte) (got []byte) {
	t.Helper()
	d, takes := ip4defrag.NewIPv4Defragmenter(), true
	for i, b := range pieces {
		p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
		l, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		last := i == len(pieces)-1
		if !ok || int(l.FragOffset)*8 != len(got) || (l.Flags&layers.IPv4MoreFragments == 0) != last {
			t.Fatalf("piece %d of %d: %x", i, len(pieces), b)
		}
		got = append(got, l.Payload...)
		if takes = takes && len(l.Payload) >= 8 && len(l.Options) == 0; !takes {
			continue
		}
		whole, err := d.DefragIPv4(l)
		if err != nil || last != (whole != nil) {
			t.Fatalf("piece %d of %d: complete %v, %v", i, len(pieces), whole != nil, err)
		}
		if last {
			checkBytes(t, got, whole.Payload, "gopacket's defragmenter")
		}
	}
	return got
}

// defrag6 joins the pieces by RFC 8200 section 4.5 and returns the original packet.
func defrag6(t *testing.T, pieces [][]byte, id uint32, hopByHop bool) []byte {
	t.Helper()
	head, name := 40, 6
	if hopByHop {
		head, name = 48, 40
	}
	got := bytes.Clone(pieces[0][:head])
	for i, b := range pieces {
		h := b[head : head+8]
		field := binary.BigEndian.Uint16(h[2:])
		if b[name] != 44 || int(field&^7) != len(got)-head || (field&1 == 0) != (i == len(pieces)-1) || binary.BigEndian.Uint32(h[4:]) != id || h[1] != 0 {
			t.Fatalf("piece %d: %x", i, b[:head+8])
		}
		got[name] = h[0]
		got = append(got, b[head+8:]...)
	}
	binary.BigEndian.PutUint16(got[4:], uint16(len(got)-40))
	return got
}

// TestOptionsInLaterFragments: RFC 791 section 3.1: record route (copied flag clear) is
// in the first fragment only; router alert (copied) is in all.
func TestOptionsInLaterFragments(t *testing.T) {
	s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: make([]byte, 300),
		opts: []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 1, 2, 3, 4}}, {OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}, {OptionType: 1}}}
	f := s.frame(t, false)
	var frag Fragmenter
	if !frag.Reset(f, 200, false) {
		t.Fatal("refused")
	}
	pieces := cut(t, &frag, f, 200)
	checkBytes(t, pieces[0][20:32], []byte{7, 7, 4, 1, 2, 3, 4, 148, 4, 0, 0, 1}, "first")
	checkBytes(t, pieces[1][20:32], []byte{1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 1}, "later")
}

// TestDestinationOptionsAreCut: without a routing header they are behind the fragment
// header, and later fragments say that such a header comes first (RFC 8200 section 4.5).
func TestDestinationOptionsAreCut(t *testing.T) {
	s := spec{v6: true, hopByHop: true, proto: packet.UDP, src: addr("2001:db8::7"), dst: addr("2001:db8::9"), ttl: 63, payload: make([]byte, 3000)}
	b := s.wire()
	b[6] = 60 // the same bytes as destination options
	f := load(t, b, false)
	frag := Fragmenter{ID: 5}
	if !frag.Reset(f, 1280, true) {
		t.Fatal("refused")
	}
	checkBytes(t, defrag6(t, cut(t, &frag, f, 1280), 5, false), b, "destination options")
}

// TestFragmentOfFragment: offsets go on from the fragment's own, and MF stays set on
// its last piece when more follow.
func TestFragmentOfFragment(t *testing.T) {
	for _, mf := range []bool{false, true} {
		s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, id: 7, fragOff: 1480, mf: mf, payload: make([]byte, 160)}
		for i := range s.payload {
			s.payload[i] = byte(i)
		}
		f := s.frame(t, false)
		var frag Fragmenter
		if !frag.Reset(f, 20+103, false) {
			t.Fatal("refused")
		}
		pieces := cut(t, &frag, f, 123)
		first, last := s, s
		first.mf, first.payload = true, s.payload[:96]
		last.fragOff, last.payload = 1480+96, s.payload[96:]
		checkBytes(t, pieces[0], first.wire(), "first")
		checkBytes(t, pieces[1], last.wire(), "last")
	}
}

func TestFragmenterRefuses(t *testing.T) {
	s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: make([]byte, 300)}
	df, v6, late := s, s, s
	df.df, v6.v6 = true, true
	late.fragOff = 65528
	for name, c := range map[string]struct {
		f        *packet.Frame
		mtu      int
		ignoreDF bool
	}{
		"fits":              {s.frame(t, false), 328, true},
		"DF":                {df.frame(t, false), 200, false},
		"IPv6":              {v6.frame(t, false), 200, false},
		"no room":           {s.frame(t, false), 27, true},
		"no room, IPv6":     {v6.frame(t, false), 55, true},
		"offset overflows":  {late.frame(t, false), 200, true},
		"super-frame":       {superFrame(t, s, 100), 200, true},
		"negative MTU":      {s.frame(t, false), -1, true},
		"IPv6 fragment":     {&packet.Frame{Flow: packet.Flow{V6: true}, MoreFrag: true, IPEnd: 2000}, 1280, true},
		"zero MTU, IPv6":    {v6.frame(t, false), 0, true},
		"DF, ignored, fits": {df.frame(t, false), 1500, true},
	} {
		var frag Fragmenter
		if frag.Reset(c.f, c.mtu, c.ignoreDF) || frag.Next(&packet.Frame{Buf: make([]byte, 9000)}) {
			t.Errorf("%s: not refused", name)
		}
	}
	var frag Fragmenter
	if !frag.Reset(df.frame(t, false), 200, true) || frag.Next(&packet.Frame{Buf: make([]byte, 100)}) {
		t.Error("DF not ignored, or a short buffer taken")
	}
	dst := packet.Frame{Buf: make([]byte, frag.Size())}
	if !frag.Next(&dst) || dst.DF || dst.Buf[dst.L3+6]&0x40 != 0 {
		t.Error("a fragment of a packet whose DF is ignored has DF")
	}
}

// TestReceivedPiecesThatDoNotFit: then they are cut anew, with DF if the longest had it.
func TestReceivedPiecesThatDoNotFit(t *testing.T) {
	s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: make([]byte, 392)}
	whole := s.frame(t, false) // 400 bytes of data
	six := s
	six.v6, six.src, six.dst, six.payload = true, addr("2001:db8::7"), addr("2001:db8::9"), make([]byte, 1992)
	whole6 := six.frame(t, false) // 2000 bytes of data
	for _, c := range []struct {
		name string
		f    *packet.Frame
		mtu  int
		was  Received
		df   bool
		want []int // bytes of data
	}{
		{"as they came", whole, 1500, Received{MaxLen: 220, DF: true, Pieces: []uint16{200, 200}}, false, []int{200, 200}},
		{"shorter link", whole, 150, Received{MaxLen: 220, Pieces: []uint16{200, 200}}, false, []int{128, 128, 128, 16}},
		{"shorter link, DF", whole, 150, Received{MaxLen: 220, DF: true, Pieces: []uint16{200, 200}}, true, []int{128, 128, 128, 16}},
		{"a tunnel's header came before", whole, 1500, Received{MaxLen: 200, DF: true, Pieces: []uint16{180, 200}}, true, []int{176, 176, 48}},
		{"no multiple of 8 in the first", whole, 1500, Received{MaxLen: 220, Pieces: []uint16{201, 199}}, false, []int{200, 200}},
		{"no multiple of 8 in the middle", whole, 1500, Received{MaxLen: 220, Pieces: []uint16{200, 100, 100}}, false, []int{200, 200}},
		{"other pieces", whole, 1500, Received{MaxLen: 220, Pieces: []uint16{200, 500}}, false, nil},
		{"not received", whole, 1500, Received{}, false, nil},
		{"one piece", whole, 1500, Received{MaxLen: 420, Pieces: []uint16{400}}, false, nil},
		// RFC 8200 section 5: no link has less than 1280, so nobody is sent less.
		{"IPv6", whole6, 1500, Received{V6: true, MaxLen: 1048, Pieces: []uint16{1000, 1000}}, false, []int{1000, 1000}},
		{"IPv6, odd pieces", whole6, 1500, Received{V6: true, MaxLen: 1048, Pieces: []uint16{1000, 996, 4}}, false, []int{1232, 768}},
		{"IPv6 in a tunnel: length forgotten", whole6, 1500, Received{V6: true, MaxLen: 800, Pieces: []uint16{996, 996, 4}}, false, []int{1448, 552}},
		{"IPv6 in a tunnel: fits", whole6, 2048, Received{V6: true, MaxLen: 800, Pieces: []uint16{996, 1000}}, false, nil},
		{"IPv4 in an IPv6 tunnel", whole6, 1500, Received{MaxLen: 800, Pieces: []uint16{996, 1000}}, false, []int{1000, 1000}},
		{"IPv6 in an IPv4 tunnel: fits", whole, 1500, Received{V6: true, MaxLen: 300, Pieces: []uint16{196, 200}}, false, nil},
	} {
		var frag Fragmenter
		cutAtAll := frag.ResetReceived(c.f, c.mtu, c.was)
		if cutAtAll != (c.want != nil) {
			t.Errorf("%s: cut %v", c.name, cutAtAll)
		}
		dst := packet.Frame{Buf: make([]byte, frag.Size())}
		var got []int
		for frag.Next(&dst) {
			checkFields(t, &dst)
			n := dst.IPLen() - 20
			if dst.Flow.V6 {
				n -= 28
			} else if dst.DF != c.df {
				t.Errorf("%s: DF %v", c.name, dst.DF)
			}
			got = append(got, n)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
