package packet

import (
	"fmt"
	"testing"
)

// batch is as many frames as a worker takes at once, of several kinds.
func batch(tb testing.TB) []*Frame {
	var fs []*Frame
	for len(fs) < 64 {
		for _, s := range []Spec{spec(TCP, false), spec(UDP, false), spec(TCP, true), spec(UDP, true), spec(ICMP, false), spec(SCTP, false)} {
			s.ICMPType = ICMPEchoRequest
			f := NewFrame(s.Frame())
			if bad := f.Parse(); bad != None {
				tb.Fatal(bad)
			}
			fs = append(fs, f)
		}
		fs = append(fs, NewFrame(withOptions(spec(TCP, false).Frame())))
		ext := spec(0, true)
		ext.Payload = append([]byte{UDP, 0, 1, 4, 0, 0, 0, 0}, spec(UDP, true).IP()[40:]...)
		fs = append(fs, NewFrame(ext.Frame()))
	}
	return fs
}

// Nothing a worker may call for each frame allocates; a whole batch each run, so that a
// rare allocation shows as well.
func TestNothingAllocates(t *testing.T) {
	fs := batch(t)
	arp := AppendARP(nil, Broadcast, hostMAC, arpRows[0].h)
	ndp := AppendNDP(nil, directMAC, hostMAC, solicit)
	buf := make([]byte, 0, 2048)
	var sink int
	each := func(do func(f *Frame)) func() {
		return func() {
			for _, f := range fs {
				do(f)
			}
		}
	}
	for name, run := range map[string]func(){
		"Parse":           each(func(f *Frame) { sink += int(f.Parse()) }),
		"ICMP":            each(func(f *Frame) { f.IsICMPError(); f.ICMPType() }),
		"SetIPChecksum":   each((*Frame).SetIPChecksum),
		"VerifyTransport": each(func(f *Frame) { f.VerifyTransport() }),
		"FinishChecksum": each(func(f *Frame) {
			f.Vnet = Vnet{Flags: VnetNeedsCsum, CsumStart: uint16(f.L4 - f.Start), CsumOffset: 6}
			if f.Flow.Proto == SCTP {
				f.Vnet.CsumOffset = 8
			}
			f.FinishChecksum()
		}),
		"Ethernet": each(func(f *Frame) {
			f.StripEthernet()
			dst, src := f.DstMAC(), f.SrcMAC()
			f.PutEthernet(&dst, &src)
		}),
		"sums": each(func(f *Frame) {
			d := DiffAddr(f.Flow.Src, vip4, f.Flow.V6, Diff16(1, 2, Diff32(3, 4, 0)))
			sink += int(UpdateComplete(7, d)) + int(UpdatePartial(7, d)) + int(Checksum(f.Bytes())) + int(PseudoSum(f.Flow, TCP, 9))
		}),
		"EchoReply": each(func(f *Frame) { f.EchoReply() }),
		"AppendICMPError with room": each(func(f *Frame) {
			sink += len(AppendICMPError(buf, f, f.Flow.Dst, 3, 3, 0))
		}),
		"ARP": func() {
			h, _ := ParseARP(arp)
			sink += len(AppendARP(buf, Broadcast, hostMAC, h))
		},
		"NDP": func() {
			n, _ := ParseNDP(ndp)
			sink += len(AppendNDP(buf, directMAC, hostMAC, n))
		},
	} {
		if n := testing.AllocsPerRun(1000, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if sink == 0 {
		t.Error("nothing ran")
	}
}

func BenchmarkParse(b *testing.B) {
	for name, s := range map[string]Spec{
		"tcp4": spec(TCP, false), "udp4": spec(UDP, false), "tcp6": spec(TCP, true), "icmp4": spec(ICMP, false),
	} {
		b.Run(name, func(b *testing.B) { benchParse(b, s.Frame()) })
	}
	b.Run("options4", func(b *testing.B) { benchParse(b, withOptions(spec(TCP, false).Frame())) })
	ext := spec(0, true)
	ext.Payload = append([]byte{UDP, 0, 1, 4, 0, 0, 0, 0}, spec(UDP, true).IP()[40:]...)
	b.Run("extension6", func(b *testing.B) { benchParse(b, ext.Frame()) })
}

func benchParse(b *testing.B, frame []byte) {
	f := NewFrame(frame)
	b.ReportAllocs()
	for b.Loop() {
		if f.Parse() != None {
			b.Fatal("does not parse")
		}
	}
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{20, 64, 1460, 65000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			for b.Loop() {
				Sum(buf, 1)
			}
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		b.Run(fmt.Sprintf("v6=%v", v6), func(b *testing.B) {
			check := uint16(1)
			for b.Loop() {
				check = UpdateComplete(check, Diff16(80, 8080, DiffAddr(vip6, client6, v6, 0)))
			}
		})
	}
}

func BenchmarkSetIPChecksum(b *testing.B) {
	f := NewFrame(spec(TCP, false).Frame())
	f.Parse()
	for b.Loop() {
		f.SetIPChecksum()
	}
}
