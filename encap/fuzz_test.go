package encap

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// FuzzRewrite does everything this package can to any frame that Parse takes, with any
// offload state a kernel gives. Nothing panics, offsets stay true, right checksums stay
// right, wrong ones of TCP stay wrong.
func FuzzRewrite(f *testing.F) {
	for _, c := range kernelFrames { // what the kernel took, of every kind
		b := unhex(f, c.in)
		f.Add(b, true, uint8(0), uint8(0), uint16(0), uint16(0), uint16(1480), c.out[0])
		b = unhex(f, c.out[0])
		f.Add(b[14:], false, uint8(1), uint8(packet.VnetGSOTCPv4), uint16(34), uint16(16), uint16(100), "tunnel")
	}
	r := rng(6)
	for range 40 {
		s := randomSpec(r)
		at := uint16(s.headerLen())
		f.Add(s.wire(), s.l2, uint8(r.IntN(2)), uint8(r.IntN(6)), at, uint16(16), uint16(r.IntN(200)), "random")
	}
	f.Fuzz(func(t *testing.T, b []byte, l2 bool, flags, gso uint8, start, off, size uint16, salt string) {
		vnet := packet.Vnet{Flags: flags & packet.VnetNeedsCsum, GSOType: gso, GSOSize: size, CsumStart: start, CsumOffset: off, HdrLen: start}
		fresh := func() *packet.Frame {
			f := lend(b, l2)
			f.Vnet = vnet
			if f.Parse() != packet.None {
				return nil
			}
			plausible(f)
			return f
		}
		if fresh() == nil {
			return
		}
		var key [64]byte
		copy(key[:], salt)
		fuzzNAT(t, fresh(), key)
		fuzzTunnel(t, fresh(), key)
		fuzzCut(t, fresh(), int(size))
		if g := fresh(); Decapsulate(g, g.Flow.DstPort) {
			checkFields(t, g)
		} else if !bytes.Equal(g.Bytes(), b) {
			t.Fatal("a refused frame was changed")
		}
	})
}

// plausible leaves of f's offload state what a kernel may give: an unfinished checksum
// is the transport's, or one further inside, behind the largest of our own headers.
func plausible(f *packet.Frame) {
	v, at := &f.Vnet, uint16(f.L4-f.Start)
	if v.Flags == 0 {
		return
	}
	field := map[uint8]uint16{packet.TCP: 16, packet.UDP: 6, packet.SCTP: 8, packet.ICMPv6: 2}[f.Flow.Proto]
	switch {
	case v.CsumStart == at && field != 0 && !f.Fragment():
		v.CsumOffset = field
	case v.CsumStart < at+20:
		v.Flags = 0
	}
}

// FuzzVnet is for offload states that no kernel gives: they may spoil a packet, but
// must not stop the director.
func FuzzVnet(f *testing.F) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 9, l2: true, payload: make([]byte, 99)}
	for _, proto := range []uint8{packet.TCP, packet.UDP, packet.SCTP} {
		s.proto = proto
		f.Add(s.wire(), uint8(1), uint8(1), uint16(34), uint16(34), uint16(16), uint16(20))
		f.Add(s.wire(), uint8(1), uint8(5), uint16(0), uint16(65535), uint16(65535), uint16(65535))
		f.Add(s.wire(), uint8(1), uint8(0x83), uint16(0), uint16(120), uint16(13), uint16(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, flags, gso uint8, hdr, start, off, size uint16) {
		for op := range 6 {
			f := lend(b, true)
			f.Vnet = packet.Vnet{Flags: flags, GSOType: gso, HdrLen: hdr, GSOSize: size, CsumStart: start, CsumOffset: off}
			if f.Parse() != packet.None {
				return
			}
			n := f.IPLen()
			dst := packet.Frame{Buf: make([]byte, 70000)}
			var seg Segmenter
			var frag Fragmenter
			switch op {
			case 0:
				Dest(f, packet.Addr{15: 1}, 7)
			case 1:
				if Encapsulate(f, &Tunnel{Kind: GUE, Csum: true}, 1) {
					Decapsulate(f, 0)
					n = f.IPLen()
				}
			case 2:
				Encapsulate(f, &Tunnel{Kind: GRE, Csum: true, V6: true}, 1)
				n = f.IPLen()
			case 3:
				for seg.Reset(f); seg.Next(&dst); {
				}
			case 4:
				for frag.Reset(f, int(size), true); frag.Next(&dst); {
				}
			case 5:
				Decapsulate(f, f.Flow.DstPort)
				n = f.IPLen()
			}
			if f.IPLen() != n || f.End > uint32(len(f.Buf)) || f.Start > f.L3 || f.L3 > f.L4 || f.L4 > f.IPEnd {
				t.Fatalf("op %d: %s", op, fields(f))
			}
		}
	})
}

func fuzzNAT(t *testing.T, f *packet.Frame, key [64]byte) {
	to, from := packet.Addr(key[:16]), packet.Addr(key[16:32])
	if !f.Flow.V6 {
		to, from = packet.AddrFrom4(to.As4()), packet.AddrFrom4(from.As4())
	}
	right := f.VerifyTransport()
	n := f.IPLen()
	unsure := unfinished(f) || f.Flow.Proto != packet.TCP
	ttl := f.TTL
	if DecTTL(f) != (ttl > 1) {
		t.Fatal("TTL")
	}
	Dest(f, to, binary.BigEndian.Uint16(key[32:]))
	Source(f, from, binary.BigEndian.Uint16(key[34:]))
	checkFields(t, f)
	if f.IPLen() != n || f.Flow.Dst != to || f.Flow.Src != from {
		t.Fatalf("%s", fields(f))
	}
	if got := f.VerifyTransport(); right && !got || !right && got && !unsure {
		t.Fatalf("checksum right %v before, %v after", right, got)
	}
	if right && f.Flow.Proto == packet.TCP && !f.Fragment() && !unfinished(f) {
		gopacketAgrees(t, f)
	}
}

// gopacketAgrees fails if gopacket finds the TCP checksum wrong.
func gopacketAgrees(t *testing.T, f *packet.Frame) {
	var network gopacket.NetworkLayer
	if f.Flow.V6 {
		network = &layers.IPv6{SrcIP: ip(f.Flow.Src), DstIP: ip(f.Flow.Dst)}
	} else {
		network = &layers.IPv4{SrcIP: ip(f.Flow.Src).To4(), DstIP: ip(f.Flow.Dst).To4()}
	}
	var tcp layers.TCP
	if tcp.DecodeFromBytes(f.Buf[f.L4:f.IPEnd], gopacket.NilDecodeFeedback) != nil {
		return // options it does not like
	}
	must(tcp.SetNetworkLayerForChecksum(network))
	if rest, err := tcp.ComputeChecksum(); err != nil || rest != 0 {
		t.Fatalf("gopacket: checksum is off by %#04x, %v", rest, err)
	}
}

func fuzzTunnel(t *testing.T, f *packet.Frame, key [64]byte) {
	tun := &Tunnel{Src: packet.Addr(key[:16]), Dst: packet.Addr(key[16:32]), V6: key[40]&1 != 0, Kind: Kind(key[41] % 3), Csum: key[42]&1 != 0, PMTUDisc: key[43]&1 != 0, Port: 6080}
	if !tun.V6 {
		tun.Src, tun.Dst = packet.AddrFrom4(tun.Src.As4()), packet.AddrFrom4(tun.Dst.As4())
	}
	f.End = f.IPEnd // padding does not come back
	before := bytes.Clone(f.Bytes())
	sctp := f.Flow.Proto == packet.SCTP // its checksum may have been finished
	if !Encapsulate(f, tun, 99) {
		if !bytes.Equal(before, f.Bytes()) {
			t.Fatal("a refused frame was changed")
		}
		return
	}
	checkFields(t, f)
	if Decapsulate(f, 6080) {
		checkFields(t, f)
		if !sctp && !bytes.Equal(before, f.Bytes()) {
			t.Fatalf("came out as %x, went in as %x", f.Bytes(), before)
		}
	}
}

func fuzzCut(t *testing.T, f *packet.Frame, mtu int) {
	TooBig(f, mtu)
	var seg Segmenter
	if seg.Reset(f) {
		data := 0
		for dst := (packet.Frame{Buf: make([]byte, seg.Size())}); seg.Next(&dst); {
			checkFields(t, &dst)
			data += int(dst.End-dst.Start) - int(seg.head)
			if dst.Flow.Proto == packet.TCP && !dst.VerifyTransport() {
				t.Fatalf("segment with a wrong checksum: %x", dst.Bytes())
			}
		}
		if data != int(f.IPEnd-f.Start)-int(seg.head) {
			t.Fatalf("%d bytes of data in the segments", data)
		}
	}
	f.Vnet.GSOType = packet.VnetGSONone
	var frag Fragmenter
	if f.IPLen() > 0 && frag.Reset(f, mtu, true) {
		data := 0
		for dst := (packet.Frame{Buf: make([]byte, frag.Size())}); frag.Next(&dst); {
			checkFields(t, &dst)
			if dst.IPLen() > mtu {
				t.Fatal("a fragment is too long")
			}
			data += int(dst.End-dst.Start) - int(frag.head)
			if f.Flow.V6 {
				data -= fragmentHeader
			}
		}
		if data != int(f.IPEnd-f.Start)-int(frag.head) {
			t.Fatalf("%d bytes of data in the fragments", data)
		}
	}
}
