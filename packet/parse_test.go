package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"
)

var (
	client4, vip4 = addr("192.0.2.7"), addr("10.0.1.100")
	client6, vip6 = addr("2001:db8:f::7"), addr("2001:db8:1::100")

	hostMAC   = MAC{0x02, 0, 0, 0, 1, 0xfe}
	directMAC = MAC{0x02, 0, 0, 0, 1, 1}
)

func addr(s string) Addr { return AddrFrom(netip.MustParseAddr(s)) }

// spec is a packet from the client to the VIP.
func spec(proto uint8, v6 bool) Spec {
	s := Spec{EthDst: directMAC, EthSrc: hostMAC, ID: 1, DF: true, Payload: []byte("payload")}
	s.Flow = Flow{Src: client4, Dst: vip4, SrcPort: 40001, DstPort: 80, Proto: proto, V6: v6}
	if v6 {
		s.Src, s.Dst = client6, vip6
	}
	if proto == ICMP || proto == ICMPv6 {
		s.SrcPort, s.DstPort = 0, 0
	}
	return s
}

func parsed(t *testing.T, b []byte) *Frame {
	t.Helper()
	f := NewFrame(b)
	if bad := f.Parse(); bad != None {
		t.Fatalf("Parse: %v", bad)
	}
	return f
}

// fixIP makes the IPv4 header checksum of an Ethernet frame right again, word by word.
func fixIP(b []byte) []byte {
	h := b[14 : 14+int(b[14]&15)*4]
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], ^slowSum(h))
	return b
}

func TestParseReadsEveryField(t *testing.T) {
	s := spec(TCP, false)
	s.TCPFlags, s.TTL = SYN|ACK, 17
	b := append(s.Frame(), make([]byte, 9)...) // padding behind the packet
	f := parsed(t, b)
	got := *f
	got.Buf = nil
	want := Frame{
		Start: Headroom, End: Headroom + uint32(len(b)), L2: true,
		L3: Headroom + 14, L4: Headroom + 34, IPEnd: Headroom + 14 + 20 + 20 + 7,
		Flow: s.Flow, TCPFlags: SYN | ACK, TTL: 17, DF: true,
	}
	if !equalFrames(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if f.IPLen() != 47 {
		t.Errorf("IPLen %d, want 47", f.IPLen())
	}
}

func equalFrames(a, b Frame) bool {
	return a.Start == b.Start && a.End == b.End && a.L2 == b.L2 && a.Vnet == b.Vnet && a.L3 == b.L3 &&
		a.L4 == b.L4 && a.IPEnd == b.IPEnd && a.Flow == b.Flow && a.TCPFlags == b.TCPFlags &&
		a.TTL == b.TTL && a.FragOff == b.FragOff && a.MoreFrag == b.MoreFrag && a.DF == b.DF
}

// A ring's slot is used again: nothing of the last frame may remain.
func TestParseForgetsTheFrameBefore(t *testing.T) {
	dirty := Frame{TCPFlags: 0xff, TTL: 9, FragOff: 8, MoreFrag: true, DF: true, L3: 1, L4: 2, IPEnd: 3,
		Flow: Flow{Src: vip6, Dst: vip6, SrcPort: 1, DstPort: 2, Proto: 3, V6: true}}
	for _, s := range []Spec{spec(TCP, false), spec(UDP, true), spec(ICMP, false), spec(GRE, true)} {
		clean := parsed(t, s.Frame())
		f := dirty
		f.Buf, f.Start, f.End, f.L2 = clean.Buf, clean.Start, clean.End, true
		if bad := f.Parse(); bad != None || !equalFrames(f, *clean) {
			t.Errorf("protocol %d: %v, %+v\nwant %+v", s.Proto, bad, f, *clean)
		}
	}
}

func TestParseWithoutEthernetGivesTheSame(t *testing.T) {
	for _, s := range []Spec{spec(TCP, false), spec(UDP, false), spec(TCP, true), spec(ICMPv6, true)} {
		with, without := parsed(t, s.Frame()), NewIPFrame(s.IP())
		if bad := without.Parse(); bad != None {
			t.Fatal(bad)
		}
		if without.Flow != with.Flow || without.L3 != without.Start || without.L4+14 != with.L4 || without.L2 {
			t.Errorf("without Ethernet %+v\nwith %+v", *without, *with)
		}
	}
	for name, row := range map[string]struct {
		b    []byte
		want Bad
	}{
		"empty":     {nil, Short},
		"version 5": {bytes.Repeat([]byte{0x50}, 60), BadVersion},
		"19 bytes":  {spec(TCP, false).IP()[:19], Short},
		"39 bytes":  {spec(TCP, true).IP()[:39], Short},
	} {
		if bad := NewIPFrame(row.b).Parse(); bad != row.want {
			t.Errorf("%s: %v, want %v", name, bad, row.want)
		}
	}
}

// edit returns a copy of b with the bytes at offset at replaced.
func edit(b []byte, at int, v ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], v)
	return b
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	tcp4, tcp6 := spec(TCP, false).Frame(), spec(TCP, true).Frame() // IP at 14, TCP at 34 and 54
	short := func(proto uint8, v6 bool, n int) []byte {
		s := spec(proto, v6)
		ip, b := 20, s.Frame()
		if v6 {
			ip = 40
			binary.BigEndian.PutUint16(b[14+4:], uint16(n))
			return b[:14+ip+n]
		}
		binary.BigEndian.PutUint16(b[14+2:], uint16(ip+n))
		return fixIP(b[:14+ip+n])
	}
	rows := []struct {
		name string
		b    []byte
		want Bad
	}{
		{"empty", nil, Short},
		{"13 bytes", tcp4[:13], Short},
		{"Ethernet alone", tcp4[:14], Short},
		{"IPv4 header cut", tcp4[:33], Short},
		{"IPv6 header cut", tcp6[:53], Short},
		{"VLAN", edit(tcp4, 12, 0x81, 0), NotIP},
		{"802.3 length", edit(tcp4, 12, 0, 46), NotIP},
		{"ARP", edit(tcp4, 12, 8, 6), ARP},
		{"ARP cut", edit(tcp4, 12, 8, 6)[:14], ARP},
		{"version 6 under 0800", fixIP(edit(tcp4, 14, 0x65)), BadVersion},
		{"version 4 under 86dd", edit(tcp6, 14, 0x45), BadVersion},
		{"IHL 4", edit(tcp4, 14, 0x44), BadHeaderLen},
		{"IHL beyond the frame", edit(tcp4, 14, 0x4f)[:14+40], BadHeaderLen},
		{"header checksum", edit(tcp4, 24, tcp4[24]^1), BadIPChecksum},
		{"header checksum with options", edit(withOptions(tcp4), 24, 0xab), BadIPChecksum},
		{"length beyond the frame", tcp4[:len(tcp4)-1], BadLength},
		{"length below the header", fixIP(edit(tcp4, 16, 0, 19)), BadLength},
		{"length 0, no super-frame", fixIP(edit(tcp4, 16, 0, 0)), BadLength},
		{"IPv6 length beyond the frame", tcp6[:len(tcp6)-1], BadLength},
		{"TCP without ports", short(TCP, false, 3), ShortTransport},
		{"TCP of 19 bytes", short(TCP, false, 19), ShortTransport},
		{"TCP of 20 bytes", short(TCP, false, 20), None},
		{"TCP of 19 bytes over IPv6", short(TCP, true, 19), ShortTransport},
		{"UDP of 7 bytes", short(UDP, false, 7), ShortTransport},
		{"UDP of 8 bytes", short(UDP, false, 8), None},
		{"SCTP of 11 bytes", short(SCTP, false, 11), ShortTransport},
		{"ICMP of 7 bytes", short(ICMP, false, 7), ShortTransport},
		{"ICMPv6 of 7 bytes", short(ICMPv6, true, 7), ShortTransport},
		{"GRE of no bytes", short(GRE, false, 0), None},
		{"data offset 4", edit(tcp4, 46, 0x40), BadTransport},
		{"data offset beyond the packet", edit(tcp4, 46, 0x70), BadTransport},
		{"data offset to the end", func() []byte {
			s := spec(TCP, false)
			s.Payload = s.Payload[:4]
			return edit(s.Frame(), 46, 0x60)
		}(), None},
	}
	for _, row := range rows {
		if got := NewFrame(row.b).Parse(); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

// withOptions puts a record route option and an end of options (RFC 791 section 3.1)
// into the IPv4 frame b.
func withOptions(b []byte) []byte {
	opts := []byte{7, 7, 4, 0, 0, 0, 0, 0}
	b = append(bytes.Clone(b[:34]), append(opts, b[34:]...)...)
	b[14] = 0x47
	binary.BigEndian.PutUint16(b[16:], binary.BigEndian.Uint16(b[16:])+8)
	return fixIP(b)
}

func TestParseSkipsOptions(t *testing.T) {
	s := spec(UDP, false)
	f := parsed(t, withOptions(s.Frame()))
	if f.L4 != f.L3+28 || f.Flow != s.Flow || string(f.Buf[f.L4+8:f.IPEnd]) != "payload" {
		t.Errorf("L4 %d, flow %+v", f.L4-f.L3, f.Flow)
	}
}

// A frame the kernel's IPVS received, with a record route option and TOS b8, from a
// conversation recorded on Linux 6.1.
func TestParseKernelFrameWithOptions(t *testing.T) {
	b, _ := hex.DecodeString("0200000001010200000001fe080047b800301092000040068f0cc00002070a000164" +
		"07070400000000009c410050000003e8000000005002ffff41fe0000")
	f := parsed(t, b)
	if want := (Flow{client4, vip4, 40001, 80, TCP, false}); f.Flow != want || f.TCPFlags != SYN || f.DF {
		t.Errorf("%+v flags %#x DF %v, want %+v SYN", f.Flow, f.TCPFlags, f.DF, want)
	}
	if !f.VerifyTransport() {
		t.Error("checksum of a frame the kernel accepted is called wrong")
	}
}

func TestParseSuperFrameWithoutLength(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := spec(TCP, v6)
		s.Payload = make([]byte, 66000)
		b := s.Frame() // the builder's 16-bit length wraps
		at := 16
		if v6 {
			at = 18
		}
		b = edit(b, at, 0, 0)
		if !v6 {
			fixIP(b)
		}
		f := NewFrame(b)
		f.Vnet.GSOType = VnetGSOTCPv4
		if bad := f.Parse(); bad != None || f.IPEnd != f.End || f.Flow != s.Flow {
			t.Errorf("v6 %v: %v, end %d of %d", v6, bad, f.IPEnd, f.End)
		}
	}
}

func TestParseFragments(t *testing.T) {
	fragment := func(s Spec, field uint16, n int) []byte { // n transport bytes
		b := s.Frame()
		binary.BigEndian.PutUint16(b[20:], field)
		binary.BigEndian.PutUint16(b[16:], uint16(20+n))
		return fixIP(b[:34+n])
	}
	rows := []struct {
		name       string
		b          []byte
		off        uint16
		more, df   bool
		srcPort    uint16
		flags      uint8
		wantBad    Bad
		isFragment bool
	}{
		{name: "first, ports only", b: fragment(spec(TCP, false), 0x2000, 8), more: true, srcPort: 40001, isFragment: true},
		{name: "first of UDP", b: fragment(spec(UDP, false), 0x2000, 8), more: true, srcPort: 40001, isFragment: true},
		{name: "first of SCTP", b: fragment(spec(SCTP, false), 0x2000, 8), more: true, srcPort: 40001, isFragment: true},
		{name: "first too short", b: fragment(spec(UDP, false), 0x2000, 7), wantBad: ShortTransport},
		{name: "last", b: fragment(spec(TCP, false), 0x00b9, 3), off: 1480, isFragment: true},
		{name: "middle", b: fragment(spec(TCP, false), 0x20b9, 8), off: 1480, more: true, isFragment: true},
		{name: "greatest offset", b: fragment(spec(TCP, false), 0x1fff, 1), off: 65528, isFragment: true},
		{name: "DF alone", b: fragment(spec(UDP, false), 0x4000, 15), df: true, srcPort: 40001},
		{name: "reserved bit", b: fragment(spec(UDP, false), 0x8000, 15), srcPort: 40001},
		{name: "later of ICMP looks like an error", b: edit2(fragment(spec(ICMP, false), 0x0001, 8), 34, 3), off: 8, isFragment: true},
	}
	for _, r := range rows {
		f := NewFrame(r.b)
		if bad := f.Parse(); bad != r.wantBad {
			t.Errorf("%s: %v, want %v", r.name, bad, r.wantBad)
			continue
		} else if bad != None {
			continue
		}
		if f.FragOff != r.off || f.MoreFrag != r.more || f.DF != r.df || f.Flow.SrcPort != r.srcPort ||
			f.Fragment() != r.isFragment || f.TCPFlags != r.flags || f.L4 != f.L3+20 || f.IsICMPError() {
			t.Errorf("%s: %+v", r.name, *f)
		}
	}
}

func edit2(b []byte, at int, v byte) []byte { b[at] = v; return b }

func TestParseWalksExtensionHeaders(t *testing.T) {
	udp := spec(UDP, true)
	transport := udp.IP()[40:]
	hop := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	long := func(next byte) []byte { return append([]byte{next, 1, 1, 12}, make([]byte, 12)...) }
	frag := func(next byte, field uint16) []byte {
		return []byte{next, 0xee, byte(field >> 8), byte(field), 1, 2, 3, 4}
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	eight := func(next byte) (b []byte) {
		for range 7 {
			b = append(b, hop(extDestOptions)...)
		}
		return append(b, hop(next)...)
	}
	rows := []struct {
		name  string
		first uint8
		body  []byte
		bad   Bad
		at    uint32 // L4 from L3
		proto uint8
		ports bool
		off   uint16
		more  bool
	}{
		{name: "none", first: UDP, body: transport, at: 40, proto: UDP, ports: true},
		{name: "hop by hop", first: 0, body: join(hop(UDP), transport), at: 48, proto: UDP, ports: true},
		{name: "all", first: 0, body: join(hop(60), long(43), hop(60), hop(UDP), transport), at: 80, proto: UDP, ports: true},
		{name: "atomic fragment", first: 44, body: join(frag(UDP, 0), transport), at: 48, proto: UDP, ports: true},
		{name: "first fragment", first: 44, body: join(frag(UDP, 1), transport), at: 48, proto: UDP, ports: true, more: true},
		{name: "later fragment", first: 44, body: join(frag(UDP, 1480|1), transport), at: 48, proto: UDP, off: 1480, more: true},
		{name: "later fragment's chain is not followed", first: 44, body: join(frag(60, 1480), hop(UDP), transport), at: 48, proto: 60, off: 1480},
		{name: "AH is a transport", first: AH, body: transport, at: 40, proto: AH},
		{name: "no next header", first: 59, at: 40, proto: 59},
		{name: "eight are too many", first: 60, body: join(eight(UDP), transport), bad: BadHeaderLen},
		{name: "header cut", first: 0, body: hop(UDP)[:7], bad: BadHeaderLen},
		{name: "header leaves the packet", first: 43, body: long(UDP)[:15], bad: BadHeaderLen},
		{name: "transport cut", first: 0, body: join(hop(UDP), transport[:7]), bad: ShortTransport},
		{name: "promised header is not there", first: 0, body: hop(60), bad: BadHeaderLen},
	}
	for _, r := range rows {
		s := udp
		s.Proto, s.Payload = r.first, r.body
		if r.first == UDP { // Spec would build the header itself
			s = udp
		}
		f := NewFrame(s.Frame())
		bad := f.Parse()
		if bad != r.bad {
			t.Errorf("%s: %v, want %v", r.name, bad, r.bad)
		}
		if bad != None || r.bad != None {
			continue
		}
		if f.L4-f.L3 != r.at || f.Flow.Proto != r.proto || (f.Flow.DstPort == 80) != r.ports ||
			f.FragOff != r.off || f.MoreFrag != r.more || !f.DF || f.IPEnd != f.End {
			t.Errorf("%s: %+v", r.name, *f)
		}
		if r.ports && !r.more && !f.VerifyTransport() {
			t.Errorf("%s: checksum wrong", r.name)
		}
	}
}

func TestIsICMPErrorByType(t *testing.T) {
	for typ := range 256 {
		for _, v6 := range []bool{false, true} {
			proto, want := uint8(ICMP), typ == 3 || typ == 4 || typ == 11
			if v6 {
				proto, want = ICMPv6, typ < 128
			}
			s := spec(proto, v6)
			s.ICMPType, s.ICMPCode = uint8(typ), 7
			f := parsed(t, s.Frame())
			if got := f.IsICMPError(); got != want {
				t.Errorf("type %d v6 %v: %v", typ, v6, got)
			}
			if gt, gc := f.ICMPType(); gt != uint8(typ) || gc != 7 {
				t.Errorf("ICMPType %d %d, want %d 7", gt, gc, typ)
			}
		}
	}
	for _, s := range []Spec{spec(ICMPv6, false), spec(ICMP, true)} { // the other family's number
		s.ICMPType = 3
		if f := NewFrame(s.Frame()); f.Parse() == None && f.IsICMPError() {
			t.Errorf("protocol %d v6 %v is no ICMP error", s.Proto, s.V6)
		}
	}
}

func TestBadNamesAreDistinctWords(t *testing.T) {
	seen := map[string]bool{}
	for b := range NumBad {
		s := Bad(b).String()
		if s == "" || s == "unknown" || seen[s] {
			t.Errorf("value %d is named %q", b, s)
		}
		seen[s] = true
	}
	if Bad(NumBad).String() != "unknown" {
		t.Error("a value out of range must not panic or look like one")
	}
}
