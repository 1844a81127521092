package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Packets and the errors Linux 6.1 with IPVS sent about them, recorded as whole frames.
// The kernel's IP id and the IPv6 flow label are random; they are masked.
var kernelErrors = []struct{ name, in, out string }{
	{"port unreachable about TCP",
		"0200000001010200000001fe0800450000280002400040066d63c00002070a0001649c410050000003e8000000005002ffff41fe0000",
		"0200000001fe020000000101080045c00044fb9400004001b0f90a000164c00002070303ca8200000000450000280002400040066d63c00002070a0001649c410050000003e8000000005002ffff41fe0000"},
	{"port unreachable about UDP of odd length",
		"0200000001010200000001fe08004500001d0003400040116d62c00002070a000164000100630009ba0c78",
		"0200000001fe020000000101080045c00039fb9500004001b1030a000164c00002070303ca82000000004500001d0003400040116d62c00002070a000164000100630009ba0c78"},
	{"time exceeded",
		"0200000001010200000001fe080045000028000340000106ac62c00002070a0001649c410050000003e8000000005002ffff41fe0000",
		"0200000001fe020000000101080045c00044bb7c00004001f1110a000164c00002070b00c2850000000045000028000340000106ac62c00002070a0001649c410050000003e8000000005002ffff41fe0000"},
	{"TOS b8 leaves its TOS bits", // the TTL is that of the quoted packet: one hop later
		"02000000020102000000021008004" + "5b80028002d40003f0603bf0a000210c63364e90fa020680007a120000003e95012ffffa38d0000",
		"02000000021002000000020108004" + "5d80044207b0000400141560a0002010a000210030334440000000045b80028002d40003f0603bf0a000210c63364e90fa020680007a120000003e95012ffffa38d0000"},
	{"hop limit exceeded",
		"0200000001010200000001fe86dd600000000013110120010db8000e0000000000000000000920010db800010000000000000000010013880035001337fe686f70206c696d69742031",
		"0200000001fe02000000010186dd600d021000433a4020010db800010000000000000000010020010db8000e0000000000000000000903002f0800000000600000000013110120010db8000e0000000000000000000920010db800010000000000000000010013880035001337fe686f70206c696d69742031"},
	{"port unreachable over IPv6",
		"0200000001010200000001fe86dd600000000012114020010db8000e0000000000000000000b20010db8000100000000000000000100138800360012c15c6e6f2073657276696365",
		"0200000001fe02000000010186dd600a060b00423a4020010db800010000000000000000010020010db8000e0000000000000000000b010430c400000000600000000012114020010db8000e0000000000000000000b20010db8000100000000000000000100138800360012c15c6e6f2073657276696365"},
}

func TestAppendICMPErrorEqualsTheKernels(t *testing.T) {
	for _, row := range kernelErrors {
		in, _ := hex.DecodeString(row.in)
		out, _ := hex.DecodeString(row.out)
		f, want := parsed(t, in), parsed(t, out)
		typ, code := want.ICMPType()
		got := AppendICMPError([]byte("x"), f, want.Flow.Src, typ, code, 0)[1:]
		w := bytes.Clone(want.Buf[want.L3:want.IPEnd])
		if f.Flow.V6 {
			copy(w[1:4], []byte{0, 0, 0})
		} else {
			g := parsed(t, append(bytes.Clone(out[:14]), got...))
			if slowSum(g.Buf[g.L3:g.L4]) != 0xffff {
				t.Errorf("%s: IP header checksum wrong", row.name)
			}
			copy(w[4:6], []byte{0, 0})
			copy(w[10:12], got[10:12])
		}
		if !bytes.Equal(got, w) {
			t.Errorf("%s:\ngot  %x\nwant %x", row.name, got, w)
		}
	}
}

// Sizes: RFC 1812 section 4.3.2.3 and icmp_send; RFC 4443 section 2.4 (c).
func TestAppendICMPErrorQuotesWhatFits(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		limit, typ, code := 576, uint8(ICMPUnreachable), uint8(ICMPFragNeeded)
		head := 28
		if v6 {
			limit, typ, code, head = 1280, ICMPv6TooBig, 0, 48
		}
		for _, n := range []int{0, 1, limit - head - 61, limit - head - 60, limit, 1400} {
			s := spec(TCP, v6)
			s.Payload = bytes.Repeat([]byte("p"), n)
			f := parsed(t, append(s.Frame(), 1, 2, 3)) // padding is not quoted
			b := AppendICMPError(nil, f, s.Dst, typ, code, 1400)
			if want := min(limit, head+f.IPLen()); len(b) != want {
				t.Errorf("v6 %v payload %d: %d bytes, want %d", v6, n, len(b), want)
			}
			if !bytes.Equal(b[head:], s.IP()[:len(b)-head]) {
				t.Errorf("v6 %v payload %d: quote differs", v6, n)
			}
			g := NewIPFrame(b)
			if bad := g.Parse(); bad != None || !g.VerifyTransport() || g.IPEnd != g.End || g.TTL != 64 ||
				g.Flow.Src != s.Dst || g.Flow.Dst != s.Src || !g.IsICMPError() {
				t.Errorf("v6 %v payload %d: %v %+v", v6, n, bad, *g)
			}
			if mtu := b[head-4 : head]; !bytes.Equal(mtu, []byte{0, 0, 0x05, 0x78}) {
				t.Errorf("v6 %v: MTU word %x, want 1400", v6, mtu)
			}
			if !v6 && g.DF {
				t.Error("DF is set")
			}
		}
	}
}

func TestAppendICMPErrorKeepsSilent(t *testing.T) {
	with := func(s Spec, f func(*Spec)) []byte { f(&s); return s.Frame() }
	from := func(a string) []byte {
		return with(spec(UDP, addr(a).Netip().Is6()), func(s *Spec) { s.Src = addr(a) })
	}
	to := func(a string) []byte {
		return with(spec(UDP, addr(a).Netip().Is6()), func(s *Spec) { s.Dst = addr(a) })
	}
	icmp := func(proto, typ uint8) []byte {
		return with(spec(proto, proto == ICMPv6), func(s *Spec) { s.ICMPType = typ })
	}
	silent := map[string][]byte{
		"unreachable":               icmp(ICMP, 3),
		"source quench":             icmp(ICMP, 4),
		"redirect":                  icmp(ICMP, 5),
		"time exceeded":             icmp(ICMP, 11),
		"parameter problem":         icmp(ICMP, 12),
		"unknown ICMP":              icmp(ICMP, 19),
		"ICMPv6 error":              icmp(ICMPv6, 127),
		"later fragment":            fixIP(edit(spec(UDP, false).Frame(), 20, 0, 1)),
		"from multicast":            from("224.0.0.1"),
		"from class E":              from("240.0.0.1"),
		"from broadcast":            from("255.255.255.255"),
		"from unspecified":          from("0.0.0.0"),
		"from loopback":             from("127.0.0.1"),
		"from IPv6 multicast":       from("ff02::1"),
		"from IPv6 unspecified":     from("::"),
		"from IPv6 loopback":        from("::1"),
		"to multicast":              to("239.1.2.3"),
		"to broadcast":              to("255.255.255.255"),
		"to IPv6 multicast":         to("ff02::1"),
		"by an Ethernet broadcast":  with(spec(UDP, false), func(s *Spec) { s.EthDst = Broadcast }),
		"by an Ethernet group (v6)": with(spec(UDP, true), func(s *Spec) { s.EthDst = MulticastMAC(AllNodes) }),
	}
	for name, b := range silent {
		if got := AppendICMPError([]byte("x"), parsed(t, b), vip4, 3, 3, 0); string(got) != "x" {
			t.Errorf("%s: answered", name)
		}
	}
	for name, b := range map[string][]byte{
		"echo request":   icmp(ICMP, 8),
		"timestamp":      icmp(ICMP, 13),
		"ICMPv6 echo":    icmp(ICMPv6, 128),
		"first fragment": fixIP(edit(spec(UDP, false).Frame(), 20, 0x20, 0)),
		"223.255.255.1":  from("223.255.255.1"),
		"GRE":            spec(GRE, false).Frame(),
	} {
		if got := AppendICMPError([]byte("x"), parsed(t, b), vip4, 3, 3, 0); string(got) == "x" {
			t.Errorf("%s: not answered", name)
		}
	}
}

// An echo request, and the reply of the Linux 6.1 stack that was asked. The kernel's IP
// id is its own; ours is the request's.
func TestEchoReplyEqualsTheKernels(t *testing.T) {
	in, _ := hex.DecodeString("0200000001010200000001fe0800450000200001400040016d71c00002070a000164080006fa1234000170696e67")
	out, _ := hex.DecodeString("0200000001fe02000000010108004500002059ee0000400153840a000164c000020700000efa1234000170696e67")
	copy(out[18:20], in[18:20])
	fixIP(out)
	in = fixIP(edit(in, 22, 17)) // the reply's TTL is not the request's
	f := parsed(t, in)
	if !f.EchoReply() || !bytes.Equal(f.Bytes(), out) {
		t.Errorf("got  %x\nwant %x", f.Bytes(), out)
	}
	said := *f
	if bad := f.Parse(); bad != None || !equalFrames(said, *f) {
		t.Errorf("%v: the frame says %+v, its bytes %+v", bad, said, *f)
	}
}

func TestEchoReplyOverIPv6(t *testing.T) {
	s := spec(ICMPv6, true)
	s.ICMPType, s.ICMPRest, s.TTL = ICMPv6EchoRequest, 0x12340001, 3
	f := parsed(t, s.Frame())
	if !f.EchoReply() {
		t.Fatal("not answered")
	}
	pkt := gopacket.NewPacket(f.Bytes(), layers.LayerTypeEthernet, gopacket.Default)
	ip := pkt.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	echo := pkt.Layer(layers.LayerTypeICMPv6Echo).(*layers.ICMPv6Echo)
	if ip.HopLimit != 64 || Addr(ip.SrcIP) != vip6 || Addr(ip.DstIP) != client6 ||
		echo.Identifier != 0x1234 || echo.SeqNumber != 1 || !f.VerifyTransport() || f.Buf[f.L4] != 129 {
		t.Errorf("%+v %+v", ip, echo)
	}
	said := *f
	if bad := f.Parse(); bad != None || !equalFrames(said, *f) {
		t.Errorf("%v: the frame says %+v, its bytes %+v", bad, said, *f)
	}
}

// A reply has no extension headers, whatever the request had: an atomic fragment's
// (RFC 6946) and destination options go. Otherwise it is the reply to a plain request.
func TestEchoReplyDropsExtensionHeaders(t *testing.T) {
	s := spec(ICMPv6, true)
	s.ICMPType, s.ICMPRest, s.Payload = ICMPv6EchoRequest, 0x12340001, []byte("abc")
	plain := s.Frame()
	want := parsed(t, plain)
	want.EchoReply()
	for name, ext := range map[string][]byte{
		"atomic fragment":                   {58, 0, 0, 0, 1, 2, 3, 4},
		"destination options":               {58, 0, 1, 4, 0, 0, 0, 0},
		"options before an atomic fragment": {44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 58, 0, 0, 0, 1, 2, 3, 4},
	} {
		for _, unfinished := range []bool{false, true} {
			b := slices.Insert(slices.Clone(plain), 14+40, ext...)
			b[14+5] += byte(len(ext))
			b[14+6] = map[string]byte{"atomic fragment": 44}[name]
			if b[14+6] == 0 {
				b[14+6] = 60
			}
			f := NewFrame(b)
			if unfinished {
				f.Vnet = Vnet{Flags: VnetNeedsCsum, CsumStart: uint16(14 + 40 + len(ext)), CsumOffset: 2}
				binary.BigEndian.PutUint16(f.Buf[f.Start+uint32(14+40+len(ext))+2:], Fold(PseudoSum(want.Flow, ICMPv6, 11)))
			}
			if bad := f.Parse(); bad != None || !f.EchoReply() {
				t.Fatalf("%s: not answered, %v", name, bad)
			}
			said := *f
			if bad := f.Parse(); bad != None || !equalFrames(said, *f) {
				t.Errorf("%s: %v: the frame says %+v, its bytes %+v", name, bad, said, *f)
			}
			f.FinishChecksum()
			if !bytes.Equal(f.Bytes(), want.Bytes()) {
				t.Errorf("%s: got  %x\nwant %x", name, f.Bytes(), want.Bytes())
			}
		}
	}
}

func TestEchoReplyOnlyToWholeRightRequests(t *testing.T) {
	echo := spec(ICMP, false)
	echo.ICMPType = ICMPEchoRequest
	with := func(f func(*Spec)) []byte { s := echo; f(&s); return s.Frame() }
	for name, b := range map[string][]byte{
		"reply":          with(func(s *Spec) { s.ICMPType = 0 }),
		"UDP":            spec(UDP, false).Frame(),
		"wrong checksum": edit(echo.Frame(), 43, 1),
		"fragment":       fixIP(edit(echo.Frame(), 20, 0x20, 0)),
		"to a group":     with(func(s *Spec) { s.Dst = addr("224.0.0.1") }),
		"from a group":   with(func(s *Spec) { s.Src = addr("224.0.0.1") }),
		"from nobody":    with(func(s *Spec) { s.Src = addr("0.0.0.0") }),
	} {
		f := parsed(t, b)
		before, was := string(f.Buf), *f
		if f.EchoReply() || string(f.Buf) != before || !equalFrames(was, *f) {
			t.Errorf("%s: answered or changed", name)
		}
	}
}

func TestEchoReplyWithoutEthernet(t *testing.T) {
	s := spec(ICMP, false)
	s.ICMPType = ICMPEchoRequest
	f := NewIPFrame(s.IP())
	if f.Parse() != None || !f.EchoReply() || f.Parse() != None || f.Flow.Dst != client4 || f.L2 || !f.VerifyTransport() {
		t.Errorf("%+v", *f)
	}
}
