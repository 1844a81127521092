package packet

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// unfinish makes a complete TCP or UDP checksum what a local stack leaves to a device:
// the sum of the pseudo-header, added up here word by word.
func unfinish(f *Frame) *Frame {
	off := uint32(tcpCheck)
	if f.Flow.Proto == UDP {
		off = udpCheck
	}
	var pseudo []byte
	if f.Flow.V6 {
		pseudo = append(append(pseudo, f.Flow.Src[:]...), f.Flow.Dst[:]...)
	} else {
		pseudo = append(append(pseudo, f.Flow.Src[12:]...), f.Flow.Dst[12:]...)
	}
	pseudo = binary.BigEndian.AppendUint32(pseudo, f.IPEnd-f.L4)
	pseudo = append(pseudo, 0, f.Flow.Proto)
	binary.BigEndian.PutUint16(f.Buf[f.L4+off:], slowSum(pseudo))
	f.Vnet = Vnet{Flags: VnetNeedsCsum, CsumStart: uint16(f.L4 - f.Start), CsumOffset: uint16(off)}
	return f
}

func TestFinishChecksumGivesTheCompleteOne(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 5000 {
		s := randomSpec(r)
		if s.Proto != TCP && s.Proto != UDP || s.UDPNoSum {
			continue
		}
		complete := parsed(t, s.Frame())
		f := unfinish(parsed(t, s.Frame()))
		if !f.VerifyTransport() {
			t.Fatalf("the sum of the pseudo-header is called wrong: %+v", s)
		}
		f.Buf[f.L4]++ // a port is not covered yet
		if !f.VerifyTransport() {
			t.Fatalf("an unfinished checksum covers a port: %+v", s)
		}
		f.Buf[f.L4]--
		f.FinishChecksum()
		if f.Vnet != (Vnet{}) || string(f.Bytes()) != string(complete.Bytes()) {
			t.Fatalf("%+v\ngot  %x\nwant %x", s, f.Bytes(), complete.Bytes())
		}
		f.FinishChecksum() // nothing is left to do
		if string(f.Bytes()) != string(complete.Bytes()) {
			t.Fatal("a complete checksum was finished again")
		}
	}
}

// RFC 768: a UDP checksum that comes out as 0 is sent as all ones.
func TestFinishChecksumOfUDPIsNeverZero(t *testing.T) {
	s := spec(UDP, false)
	s.Payload = []byte{0, 0}
	f := parsed(t, s.Frame())
	sum := binary.BigEndian.Uint16(f.Buf[f.L4+6:])
	binary.BigEndian.PutUint16(f.Buf[f.L4+8:], sum) // ~(S + ~S) = 0
	unfinish(f).FinishChecksum()
	if got := binary.BigEndian.Uint16(f.Buf[f.L4+6:]); got != 0xffff {
		t.Errorf("checksum %#x, want 0xffff", got)
	}
	if !f.VerifyTransport() {
		t.Error("0xffff is called wrong")
	}
	s.Payload = f.Buf[f.L4+8 : f.IPEnd]
	if got := parsed(t, s.Frame()); binary.BigEndian.Uint16(got.Buf[got.L4+6:]) != 0xffff {
		t.Error("the builder writes 0")
	}
}

func TestFinishChecksumLeavesPaddingOut(t *testing.T) {
	s := spec(UDP, false)
	want := parsed(t, s.Frame())
	f := unfinish(parsed(t, append(s.Frame(), 0xde, 0xad, 0xbe)))
	f.FinishChecksum()
	if string(f.Buf[f.L3:f.IPEnd]) != string(want.Buf[want.L3:want.IPEnd]) {
		t.Error("bytes behind the packet went into the checksum")
	}
}

func TestFinishChecksumIgnoresOffsetsOutsideThePacket(t *testing.T) {
	for _, off := range []uint16{2, udpCheck, sctpCheck, 0xffff} {
		for _, start := range []uint16{7, 48, 0xffff} {
			f := parsed(t, spec(UDP, false).Frame()) // 14+20+8+7 = 49 bytes
			f.Vnet = Vnet{Flags: VnetNeedsCsum, CsumStart: start, CsumOffset: off}
			before, vnet := string(f.Buf), f.Vnet
			f.FinishChecksum()
			if string(f.Buf) != before || f.Vnet != vnet {
				t.Errorf("start %d offset %d: changed", start, off)
			}
		}
	}
}

// Two packets of an SCTP conversation through a kernel director: the client's INIT, and
// what the server got after port mapping, for which the kernel computed the CRC anew.
var sctpFrames = []string{
	"0200000001010200000001fe0800450000340001400040846cdac00002070a0001640b590f1c00000000873f5c4c01000014112233440000ffff000a080000000001",
	"02000000020d020000000201080045000034000140003f846d31c00002070a00020d0b591304000000007a09320501000014112233440000ffff000a080000000001",
}

func TestSCTPChecksumOfKernelPackets(t *testing.T) {
	for _, h := range sctpFrames {
		b, _ := hex.DecodeString(h)
		f := parsed(t, b)
		if !f.VerifyTransport() {
			t.Error("the kernel's CRC32c is called wrong")
		}
		right := string(f.Bytes())
		f.Buf[f.L4+20]++
		if f.VerifyTransport() {
			t.Error("a changed byte is not seen")
		}
		f.Buf[f.L4+20]--
		copy(f.Buf[f.L4+8:], "\x00\x00\x00\x00") // as a local stack leaves it to the device
		f.Vnet = Vnet{Flags: VnetNeedsCsum, CsumStart: 34, CsumOffset: 8}
		if !f.VerifyTransport() {
			t.Error("an unfinished CRC has nothing to verify")
		}
		f.FinishChecksum()
		if string(f.Bytes()) != right || f.Vnet != (Vnet{}) {
			t.Errorf("got %x, vnet %+v", f.Bytes(), f.Vnet)
		}
	}
}

func TestVerifyTransportSeesEveryChangedByte(t *testing.T) {
	for _, proto := range []uint8{TCP, UDP, SCTP, ICMP, ICMPv6} {
		for _, v6 := range []bool{false, true} {
			if proto == ICMP && v6 || proto == ICMPv6 && !v6 {
				continue
			}
			s := spec(proto, v6)
			s.ICMPType = 128
			f := parsed(t, s.Frame())
			if !f.VerifyTransport() {
				t.Errorf("protocol %d v6 %v: right checksum called wrong", proto, v6)
			}
			for i := f.L4; i < f.IPEnd; i++ {
				f.Buf[i] ^= 0x10
				if f.VerifyTransport() {
					t.Errorf("protocol %d v6 %v: changed byte %d not seen", proto, v6, i-f.L4)
				}
				f.Buf[i] ^= 0x10
			}
			f.Flow.Src[15] ^= 0x10
			if covers := proto != SCTP && proto != ICMP; f.VerifyTransport() == covers {
				t.Errorf("protocol %d v6 %v: pseudo-header covered is not %v", proto, v6, covers)
			}
		}
	}
}

func TestVerifyTransportOfUDPWithoutChecksum(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := spec(UDP, v6)
		s.UDPNoSum = true
		if f := parsed(t, s.Frame()); f.VerifyTransport() == v6 { // RFC 768, RFC 8200 section 8.1
			t.Errorf("v6 %v: checksum 0 is right: %v", v6, !v6)
		}
	}
}

// A pseudo-header's sum is never 0, so an unfinished field of 0 is not "no checksum".
func TestVerifyTransportOfUnfinishedUDPWithZero(t *testing.T) {
	f := unfinish(parsed(t, spec(UDP, false).Frame()))
	f.Buf[f.L4+6], f.Buf[f.L4+7] = 0, 0
	if f.VerifyTransport() {
		t.Error("called right")
	}
}

// RFC 768: the length says what the checksum covers; the IP packet may be longer.
func TestVerifyTransportObeysUDPLength(t *testing.T) {
	s := spec(UDP, true)
	b := append(s.Frame(), "tail"...)
	b[19] += 4 // the IP length, not UDP's
	if f := parsed(t, b); !f.VerifyTransport() {
		t.Error("bytes behind the UDP length went into the checksum")
	}
	for _, n := range []byte{0, 7, 100} {
		if f := parsed(t, edit(s.Frame(), 54+5, n)); f.VerifyTransport() {
			t.Errorf("UDP length %d is called right", n)
		}
	}
}

func TestVerifyTransportOfFragmentsHasNothingToSay(t *testing.T) {
	b := fixIP(edit(spec(UDP, false).Frame(), 20, 0x20, 0))
	b[len(b)-1]++
	if f := parsed(t, b); !f.VerifyTransport() {
		t.Error("a fragment's checksum covers more than the fragment")
	}
}

func TestSetIPChecksumIsWhatParseAccepts(t *testing.T) {
	for _, b := range [][]byte{spec(TCP, false).Frame(), withOptions(spec(TCP, false).Frame())} {
		f := parsed(t, b)
		f.Buf[f.L3+8]-- // TTL
		if bad := f.Parse(); bad != BadIPChecksum {
			t.Fatalf("%v, want %v", bad, BadIPChecksum)
		}
		f.SetIPChecksum()
		if bad := f.Parse(); bad != None {
			t.Error(bad)
		}
		if h := f.Buf[f.L3:f.L4]; slowSum(h) != 0xffff {
			t.Errorf("header sums to %#x", slowSum(h))
		}
	}
	f := parsed(t, spec(TCP, true).Frame())
	before := string(f.Buf)
	if f.SetIPChecksum(); string(f.Buf) != before {
		t.Error("an IPv6 header was changed")
	}
}
