package encap

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// TestResizeIsAPacketBuiltSo: the result is what gopacket builds with the other text,
// for both families, any options, complete and unfinished checksums.
func TestResizeIsAPacketBuiltSo(t *testing.T) {
	r := rng(40)
	for range 5000 {
		s := randomSpec(r)
		if s.proto != packet.TCP {
			continue
		}
		at := r.IntN(len(s.payload) + 1)
		oldLen := r.IntN(len(s.payload) + 1 - at)
		text := make([]byte, r.IntN(60))
		for i := range text {
			text[i] = byte(r.Uint32())
		}
		partial := r.IntN(2) == 0
		f := s.frame(t, partial)
		f.End += uint32(r.IntN(20)) // padding, then tail room
		f.Buf = append(f.Buf, make([]byte, 80)...)
		want := s
		want.payload = bytes.Join([][]byte{s.payload[:at], text, s.payload[at+oldLen:]}, nil)
		if !Resize(f, at, oldLen, text) {
			t.Fatalf("%+v: refused", s)
		}
		checkBytes(t, f.Bytes(), want.frame(t, partial).Bytes(), s)
		checkFields(t, f)
	}
}

func TestResizeRefuses(t *testing.T) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: []byte("227 text")}
	udp, part, long := s, s, s
	udp.proto = packet.UDP
	part.mf, part.payload = true, make([]byte, 64)
	part.payload[12] = 0x50
	long.payload = make([]byte, 65400)
	for name, c := range map[string]struct {
		s          spec
		at, oldLen int
		text       string
		tail       int
	}{
		"no room":        {s, 4, 4, "longer", 1},
		"UDP":            {udp, 4, 4, "text", 9},
		"fragment":       {part, 4, 4, "text", 9},
		"behind the end": {s, 4, 5, "text", 9},
		"outside":        {s, 9, 0, "", 9},
		"before":         {s, -1, 1, "", 9},
		"negative":       {s, 4, -1, "", 9},
		"too long":       {long, 0, 0, strings.Repeat("x", 96), 99},
	} {
		f := c.s.frame(t, false)
		f.Buf = append(f.Buf, make([]byte, c.tail)...)
		was, fieldsWere := bytes.Clone(f.Buf), fields(f)
		if Resize(f, c.at, c.oldLen, []byte(c.text)) || !bytes.Equal(f.Buf, was) || fields(f) != fieldsWere {
			t.Errorf("%s: not refused, or something changed", name)
		}
	}
	f := s.frame(t, false)
	if f.Buf = append(f.Buf, 0, 0); !Resize(f, 4, 4, []byte("longer")) || string(TCPPayload(f)) != "227 longer" {
		t.Error("refused though there is just enough room")
	}
	if n := testing.AllocsPerRun(100, func() {
		Resize(f, 4, 6, text4)
		Resize(f, 4, 4, text6)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var text4, text6 = []byte("text"), []byte("longer")

// TestSeqAdjustOfAStream: a sender's stream with resized segments; every byte keeps one
// number at the receiver, also in retransmissions of the last change, and the
// acknowledgments of segment ends come back as the sender's own numbers.
func TestSeqAdjustOfAStream(t *testing.T) {
	for _, base := range []uint32{500000, 0xffffffc0} { // the second wraps around
		var a SeqAdjust
		type segment struct{ seq, size, out, outSize uint32 }
		var all []segment
		seq, out := base, base
		for _, s := range []struct{ size, diff int }{{10, 0}, {46, 1}, {12, 0}, {46, -3}, {20, 0}, {46, 5}, {9, 0}} {
			n, m := uint32(s.size), uint32(s.size+s.diff)
			all = append(all, segment{seq, n, out, m})
			if got := fixed(t, &a, true, seq); got != out {
				t.Fatalf("seq %d: %d, want %d", seq, got, out)
			}
			a.Resized(seq, s.diff)
			if got := fixed(t, &a, true, seq); got != out { // sent again
				t.Fatalf("seq %d again: %d, want %d", seq, got, out)
			}
			a.Resized(seq, s.diff) // and noted again: nothing happens
			seq, out = seq+n, out+m
			if got := fixed(t, &a, false, out); got != seq {
				t.Fatalf("ack %d: %d, want %d", out, got, seq)
			}
		}
		if a.Delta != 3 || a.PreviousDelta != -2 || a.InitSeq != all[5].seq {
			t.Errorf("%+v", a)
		}
		for _, s := range all[4:] { // since the last change but one
			if got := fixed(t, &a, true, s.seq); got != s.out {
				t.Errorf("retransmission of %d: %d, want %d", s.seq, got, s.out)
			}
		}
	}
}

// fixed is what a makes of the number in a packet; its checksum must be right, if
// unfinished too.
func fixed(t *testing.T, a *SeqAdjust, seq bool, n uint32) uint32 {
	t.Helper()
	var got [2]uint32
	for i := range got {
		s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, flags: packet.ACK, seq: n, payload: []byte("data")}
		fix, at := a.FixSeq, uint32(4)
		if !seq {
			s.seq = ^n // spec's acknowledgment number is the complement
			fix, at = a.FixAck, 8
		}
		f := s.frame(t, i == 1)
		fix(f)
		if !f.VerifyTransport() {
			t.Fatalf("checksum of %d is wrong", n)
		}
		got[i] = binary.BigEndian.Uint32(f.Buf[f.L4+at:])
	}
	if got[0] != got[1] {
		t.Fatal("an unfinished checksum makes a difference")
	}
	return got[0]
}

func TestSeqAdjustLeavesOthersAlone(t *testing.T) {
	a := SeqAdjust{InitSeq: 1, Delta: 7, PreviousDelta: 3}
	s := spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: make([]byte, 40)}
	later := s
	later.proto, later.fragOff = packet.TCP, 64
	for _, s := range []spec{s, later} {
		f := s.frame(t, false)
		was := bytes.Clone(f.Buf)
		a.FixSeq(f)
		a.FixAck(f)
		if !bytes.Equal(f.Buf, was) {
			t.Errorf("%+v: changed", s)
		}
	}
	s.proto, s.flags = packet.TCP, packet.ACK
	f := s.frame(t, false)
	was := bytes.Clone(f.Buf)
	(&SeqAdjust{InitSeq: 9}).FixSeq(f)
	if !bytes.Equal(f.Buf, was) {
		t.Error("nothing was resized, something was shifted")
	}
	f.Buf[f.L4+16] ^= 0x55
	a.FixSeq(f)
	if a.FixAck(f); f.VerifyTransport() {
		t.Error("a wrong checksum became right")
	}
}
