package packet

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// slowSum adds words one by one as the C of RFC 1071 section 4.1 does.
func slowSum(b []byte) uint16 {
	sum := uint32(0)
	for len(b) > 1 {
		sum += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
		for sum>>16 != 0 {
			sum = sum&0xffff + sum>>16
		}
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
		for sum>>16 != 0 {
			sum = sum&0xffff + sum>>16
		}
	}
	return uint16(sum)
}

// RFC 1071 section 3: the sum of 00 01 f2 03 f4 f5 f6 f7 is ddf2.
func TestSumOfRFC1071Example(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := Fold(Sum(b, 0)); got != 0xddf2 {
		t.Errorf("sum %#x, want 0xddf2", got)
	}
	if got := Checksum(b); got != 0x220d {
		t.Errorf("checksum %#x, want 0x220d", got)
	}
}

func TestSumEqualsSlowSumAtEveryLength(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 400)
	for n := range b {
		for range 20 {
			for i := range b[:n] {
				b[i] = byte(r.Uint32() | 0xff*(r.Uint32()&1)) // many carries
			}
			if got, want := Fold(Sum(b[:n], 0)), slowSum(b[:n]); got != want {
				t.Fatalf("length %d: %#x, want %#x", n, got, want)
			}
		}
	}
}

func TestSumKeepsOverflowOfItsStart(t *testing.T) {
	b := []byte{0xff, 0xff, 0x12, 0x34}
	for _, init := range []uint32{0, 1, 0xffff, 0x10000, 0xfffeffff, 0xffffffff} {
		var i [4]byte
		binary.BigEndian.PutUint32(i[:], init)
		if got, want := Fold(Sum(b, init)), slowSum(append(i[:], b...)); got != want {
			t.Errorf("from %#x: %#x, want %#x", init, got, want)
		}
	}
}

func TestSumOfNothingButZerosIsZero(t *testing.T) {
	if got := Sum(make([]byte, 77), 0); got != 0 {
		t.Errorf("%#x, want 0: a sum that is not 0 must never be it", got)
	}
	for _, sum := range []uint32{0xffff, 0xffff0000, 0xffffffff, 0x1fffe} {
		if Fold(sum) != 0xffff {
			t.Errorf("Fold(%#x) = %#x, want 0xffff", sum, Fold(sum))
		}
	}
}

// RFC 1624 section 4: the example for which the older equation gives 0xffff.
func TestUpdateCompleteOfRFC1624Example(t *testing.T) {
	if got := UpdateComplete(0xdd2f, Diff16(0x5555, 0x3285, 0)); got != 0x0000 {
		t.Errorf("%#x, want 0x0000", got)
	}
}

func TestUpdatesEqualComputingAnew(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		// A pseudo-header of 40 bytes and 20 more: addresses, a port, a sequence number.
		b := make([]byte, 60)
		for i := range b {
			b[i] = byte(r.Uint32() | 0xff*(r.Uint32()&1))
		}
		b[0] |= 1 // real sums are never those of zeros alone
		full, partial := ^slowSum(b), slowSum(b[:40])

		v6 := r.Uint32()&1 == 0
		var old, new Addr
		copy(old[:], b[16:32])
		for i := range new {
			new[i] = byte(r.Uint32())
		}
		if !v6 {
			old, new = AddrFrom4([4]byte(b[28:])), AddrFrom4([4]byte(new[12:]))
			copy(b[28:], new[12:])
		} else {
			copy(b[16:], new[:])
		}
		addr := DiffAddr(old, new, v6, 0)
		if got, want := UpdatePartial(partial, addr), slowSum(b[:40]); got != want {
			t.Fatalf("partial %#x, want %#x (v6 %v, %v to %v)", got, want, v6, old, new)
		}

		oldPort, newPort := binary.BigEndian.Uint16(b[40:]), uint16(r.Uint32())
		binary.BigEndian.PutUint16(b[40:], newPort)
		oldSeq, newSeq := binary.BigEndian.Uint32(b[44:]), r.Uint32()
		binary.BigEndian.PutUint32(b[44:], newSeq)
		chained := Diff32(oldSeq, newSeq, Diff16(oldPort, newPort, addr))
		if got, want := UpdateComplete(full, chained), ^slowSum(b); got != want {
			t.Fatalf("complete %#x, want %#x", got, want)
		}
		added := addr + Diff16(oldPort, newPort, 0) + Diff32(oldSeq, newSeq, 0)>>16 + Diff32(oldSeq, newSeq, 0)&0xffff
		if got, want := UpdateComplete(full, added), ^slowSum(b); got != want {
			t.Fatalf("complete by + %#x, want %#x", got, want)
		}
	}
}

// RFC 8200 section 8.1: the length field of the pseudo-header has 32 bits.
func TestPseudoSumOfALongPacket(t *testing.T) {
	f := Flow{Src: client6, Dst: vip6, V6: true}
	b := append(append([]byte(nil), client6[:]...), vip6[:]...)
	b = append(b, 0x00, 0x01, 0xe2, 0x40, 0, 0, 0, TCP) // 123456 bytes
	if got, want := Fold(PseudoSum(f, TCP, 123456)), slowSum(b); got != want {
		t.Errorf("%#x, want %#x", got, want)
	}
}

func TestUpdateCompleteKeepsAWrongChecksumWrong(t *testing.T) {
	const right, wrong = 0xbeef, 0xbeef ^ 0x0100
	diff := Diff16(80, 8080, 0)
	if UpdateComplete(right, diff) == UpdateComplete(wrong, diff) {
		t.Error("a wrong checksum became right")
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add([]byte{0xff}, uint32(0xffffffff))
	f.Add(make([]byte, 129), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, init uint32) {
		var i [4]byte
		binary.BigEndian.PutUint32(i[:], init)
		if got, want := Fold(Sum(b, init)), slowSum(append(i[:], b...)); got != want {
			t.Errorf("%#x, want %#x", got, want)
		}
	})
}
