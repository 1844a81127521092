package packet

import (
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// sctpFrame is an SCTP frame with these bytes behind the common header.
func sctpFrame(t testing.TB, v6 bool, chunks string) *Frame {
	t.Helper()
	body, err := hex.DecodeString(chunks)
	if err != nil {
		t.Fatal(err)
	}
	s := spec(SCTP, v6)
	s.Payload = body
	f := NewFrame(s.Frame())
	if bad := f.Parse(); bad != None {
		t.Fatal(bad)
	}
	return f
}

func TestSCTPChunkIsTheFirstOrItsAbort(t *testing.T) {
	for _, c := range []struct {
		name, chunks string
		first, typ   uint8
		ok           bool
	}{
		{"nothing", "", 0, 0, false},
		{"three of four header bytes", "010000", 0, 0, false},
		{"a header alone", "0e000004", 14, 14, true},
		{"a length of 0 is not looked at", "07000000", 7, 7, true},
		{"a type nobody knows", "c0000004", 0xc0, 0xc0, true},
		{"DATA and ABORT", "00000004" + "06000004", 0, 0, true},
		{"ABORT and COOKIE ACK", "06000004" + "0b000004", 6, 6, true},
		{"COOKIE ACK and ABORT", "0b000004" + "06000004", 11, 6, true},
		{"COOKIE ECHO of 8 and ABORT", "0a000008aabbccdd" + "06000004", 10, 6, true},
		{"COOKIE ECHO of 5, three bytes of padding, ABORT", "0a000005aa000000" + "06000004", 10, 6, true},
		{"COOKIE ECHO of 5 and ABORT where padding is", "0a000005aa060000" + "00000004", 10, 10, true},
		{"COOKIE ECHO and DATA and ABORT", "0a000004" + "00000004" + "06000004", 10, 10, true},
		{"COOKIE ECHO shorter than its header, ABORT", "0a000003" + "06000004", 10, 10, true},
		{"COOKIE ECHO, ABORT cut after three bytes", "0a000004" + "060000", 10, 10, true},
		{"COOKIE ECHO beyond the packet", "0a00ffff" + "06000004", 10, 10, true},
	} {
		for _, v6 := range []bool{false, true} {
			f := sctpFrame(t, v6, c.chunks)
			if typ, ok := f.SCTPFirst(); typ != c.first || ok != c.ok {
				t.Errorf("%s: first %d, %v; want %d, %v", c.name, typ, ok, c.first, c.ok)
			}
			if typ, ok := f.SCTPChunk(); typ != c.typ || ok != c.ok {
				t.Errorf("%s: %d, %v; want %d, %v", c.name, typ, ok, c.typ, c.ok)
			}
		}
	}
}

// Ethernet padding lies beyond the packet and is no chunk.
func TestSCTPChunkStopsAtTheIPLength(t *testing.T) {
	f := sctpFrame(t, false, "0b000004")
	b := append(append([]byte(nil), f.Bytes()...), ChunkAbort, 0, 0, 4)
	f = parsed(t, b)
	if typ, ok := f.SCTPChunk(); typ != ChunkCookieAck || !ok {
		t.Errorf("%d, %v; want a COOKIE ACK", typ, ok)
	}
	for name, b := range map[string][]byte{
		"UDP":            spec(UDP, false).Frame(),
		"later fragment": fixIP(edit(spec(SCTP, false).Frame(), 20, 0, 9)),
		"first fragment": fixIP(edit(edit(spec(SCTP, false).Frame(), 16, 0, 28), 20, 0x20, 0)), // eight bytes of SCTP
	} {
		if typ, ok := parsed(t, b).SCTPChunk(); ok {
			t.Errorf("%s: chunk %d", name, typ)
		}
	}
}

// Frames as recorded from clients and servers of a kernel director.
func TestSCTPChunkOfRecordedFrames(t *testing.T) {
	for _, c := range []struct {
		hex string
		typ uint8
	}{
		{"0200000001010200000001fe0800450000340001400040846cdac00002070a0001640b590f1c00000000873f5c4c01000014112233440000ffff000a080000000001", ChunkInit},
		{"02000000020102000000020d0800450000340002400040846c300a00020dc000020713040b591122334477033a1b02000014112233440000ffff000a080000000001", ChunkInitAck},
		{"0200000001010200000001fe0800450000280003400040846ce4c00002070a0001640b590f1c11223344aadfeff20a000008aabbccdd", ChunkCookieEcho},
		{"02000000020102000000020d0800450000240004400040846c3e0a00020dc000020713040b59112233448f92d5180b000004", ChunkCookieAck},
		{"0200000001010200000001fe0800450000340005400040846cd6c00002070a0001640b590f1c1122334475aafd440000001400000001000000000000000041424344", ChunkData},
		{"0200000001010200000001fe0800450000240009400040846ce2c00002070a0001640b590f1c11223344b8852db60e000004", ChunkShutdownComplete},
		{"0200000001010200000001fe080045000024000b400040846cdfc00002080a0001640b590f1c112233445ee6694006000004", ChunkAbort},
	} {
		b, _ := hex.DecodeString(c.hex)
		if typ, ok := parsed(t, b).SCTPChunk(); typ != c.typ || !ok {
			t.Errorf("%s: %d, %v; want %d", c.hex, typ, ok, c.typ)
		}
	}
}

// Chunks laid out by another hand: each type with its name there.
func TestSCTPChunkNumbersAreGopackets(t *testing.T) {
	for typ, want := range map[layers.SCTPChunkType]uint8{
		layers.SCTPChunkTypeData: ChunkData, layers.SCTPChunkTypeInit: ChunkInit, layers.SCTPChunkTypeInitAck: ChunkInitAck,
		layers.SCTPChunkTypeAbort: ChunkAbort, layers.SCTPChunkTypeShutdown: ChunkShutdown,
		layers.SCTPChunkTypeShutdownAck: ChunkShutdownAck, layers.SCTPChunkTypeError: ChunkError,
		layers.SCTPChunkTypeCookieEcho: ChunkCookieEcho, layers.SCTPChunkTypeCookieAck: ChunkCookieAck,
		layers.SCTPChunkTypeShutdownComplete: ChunkShutdownComplete,
	} {
		if uint8(typ) != want {
			t.Errorf("%v is %d there and %d here", typ, typ, want)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	echo := layers.SCTPCookieEcho{SCTPChunk: layers.SCTPChunk{Type: layers.SCTPChunkTypeCookieEcho, Length: 9}, Cookie: []byte("abcde")}
	abort := layers.SCTPError{SCTPChunk: layers.SCTPChunk{Type: layers.SCTPChunkTypeAbort, Length: 4}}
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{}, &echo, &abort); err != nil {
		t.Fatal(err)
	}
	if typ, ok := sctpFrame(t, false, hex.EncodeToString(buf.Bytes())).SCTPChunk(); typ != ChunkAbort || !ok {
		t.Errorf("a padded cookie and an abort, built by gopacket: %d, %v", typ, ok)
	}
}

func TestSCTPChunkAllocatesNothing(t *testing.T) {
	f := sctpFrame(t, true, "0a000005aa000000"+"06000004")
	if n := testing.AllocsPerRun(1000, func() { f.SCTPChunk() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzSCTPChunk holds SCTPChunk to a slow walk over a list of whole chunks.
func FuzzSCTPChunk(f *testing.F) {
	for _, chunks := range []string{"", "01", "0a000008aabbccdd06000004", "0b00000506000000", "0a0000030600000406000004", "0affffff", "0b000004060000"} {
		b, _ := hex.DecodeString(chunks)
		f.Add(b, uint8(0))
	}
	f.Fuzz(func(t *testing.T, chunks []byte, padding uint8) {
		s := spec(SCTP, false)
		s.Payload = chunks[:min(len(chunks), 60000)]
		fr := NewFrame(append(s.Frame(), make([]byte, padding)...))
		if bad := fr.Parse(); bad != None {
			t.Fatal(bad)
		}
		typ, ok := fr.SCTPChunk()
		want, wantOK := slowSCTPChunk(s.Payload)
		if typ != want || ok != wantOK {
			t.Fatalf("%x: %d, %v; want %d, %v", chunks, typ, ok, want, wantOK)
		}
	})
}

func slowSCTPChunk(b []byte) (uint8, bool) {
	var types []uint8
	for len(b) >= 4 && len(types) < 2 {
		types = append(types, b[0])
		size := int(binary.BigEndian.Uint16(b[2:]))
		for size%4 != 0 && size >= 4 {
			size++
		}
		if size < 4 || size > len(b) {
			break
		}
		b = b[size:]
	}
	switch {
	case len(types) == 0:
		return 0, false
	case len(types) == 2 && types[1] == 6 && (types[0] == 10 || types[0] == 11):
		return 6, true
	}
	return types[0], true
}
