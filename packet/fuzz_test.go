package packet

import (
	"encoding/hex"
	"testing"
)

// addFrames seeds a fuzz target with one frame of each kind.
func addFrames(f *testing.F, add func([]byte)) {
	for _, proto := range []uint8{TCP, UDP, SCTP, ICMP, ICMPv6, GRE} {
		for _, v6 := range []bool{false, true} {
			s := spec(proto, v6)
			s.ICMPType = ICMPEchoRequest
			if v6 {
				s.ICMPType = ICMPv6EchoRequest
			}
			add(s.Frame())
		}
	}
	add(withOptions(spec(TCP, false).Frame()))
	add(fixIP(edit(spec(UDP, false).Frame(), 20, 0x20, 0))) // first fragment
	add(fixIP(edit(spec(UDP, false).Frame(), 20, 0, 9)))    // later fragment
	frag6 := spec(0, true)
	frag6.Payload = append([]byte{44, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 0, 1, 1, 2, 3, 4}, spec(UDP, true).IP()[40:]...)
	add(frag6.Frame())
	for _, row := range kernelErrors {
		b, _ := hex.DecodeString(row.out)
		add(b)
	}
}

// FuzzParse holds Parse and everything that trusts it: no panic, offsets in order and
// inside, the flow that gopacket sees, answers that parse and whose checksums are right.
func FuzzParse(f *testing.F) {
	addFrames(f, func(b []byte) {
		f.Add(b, true, uint8(0), uint16(0), uint16(0))
		f.Add(b, true, uint8(VnetGSOTCPv4), uint16(34), uint16(16))
		f.Add(b[14:], false, uint8(0), uint16(20), uint16(6))
	})
	f.Fuzz(func(t *testing.T, b []byte, l2 bool, gso uint8, csumStart, csumOffset uint16) {
		fr := NewFrame(b)
		fr.L2, fr.Vnet.GSOType = l2, gso
		before := string(fr.Buf)
		bad := fr.Parse()
		if string(fr.Buf) != before {
			t.Fatal("Parse wrote")
		}
		if bad != None {
			return
		}
		if fr.Start > fr.L3 || fr.L3 >= fr.L4 || fr.L4 > fr.IPEnd || fr.IPEnd > fr.End || fr.End > uint32(len(fr.Buf)) {
			t.Fatalf("offsets %+v", *fr)
		}
		if gso == VnetGSONone {
			agree(t, fr)
		}
		if icmp := fr.Flow.Proto == ICMP || fr.Flow.Proto == ICMPv6; icmp && fr.FragOff == 0 {
			fr.ICMPType()
		} else if fr.IsICMPError() {
			t.Fatal("an ICMP error of another protocol or from the middle")
		}
		right := fr.VerifyTransport()
		checkError(t, fr)

		fin := *NewFrame(fr.Bytes())
		fin.L2, fin.Vnet.GSOType = l2, gso
		fin.Parse()
		fin.Vnet.Flags, fin.Vnet.CsumStart, fin.Vnet.CsumOffset = VnetNeedsCsum, csumStart, csumOffset
		fin.VerifyTransport()
		fin.FinishChecksum()
		fin.StripEthernet()
		fin.PutEthernet(&directMAC, &hostMAC)

		if fr.EchoReply() {
			said := *fr
			if bad := fr.Parse(); bad != None || !equalFrames(said, *fr) || !right || !fr.VerifyTransport() {
				t.Fatalf("%v after EchoReply: %+v, said %+v", bad, *fr, said)
			}
		}
	})
}

// checkError builds an ICMP error about f and reads it back.
func checkError(t *testing.T, f *Frame) {
	src, limit, typ := vip4, 576, uint8(ICMPUnreachable)
	if f.Flow.V6 {
		src, limit, typ = vip6, 1280, ICMPv6Unreachable
	}
	b := AppendICMPError(nil, f, src, typ, 1, 0)
	if len(b) == 0 {
		return
	}
	e := NewIPFrame(b)
	if bad := e.Parse(); bad != None || len(b) > limit || e.Flow.Dst != f.Flow.Src || !e.VerifyTransport() || !e.IsICMPError() {
		t.Fatalf("%v: %x", bad, b)
	}
	if again := AppendICMPError(nil, e, src, typ, 1, 0); len(again) != 0 {
		t.Fatal("an error about an error")
	}
}

func FuzzParseARP(f *testing.F) {
	for _, row := range arpRows {
		b, _ := hex.DecodeString(row.hex)
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := ParseARP(b)
		if !ok {
			return
		}
		built := AppendARP(nil, MAC(b), MAC(b[6:]), h)
		if string(built[:42]) != string(b[:42]) {
			t.Fatalf("read %x\nbuilt %x", b[:42], built[:42])
		}
	})
}

func FuzzParseNDP(f *testing.F) {
	for _, n := range []NDP{solicit, advert, announc, probe} {
		f.Add(AppendNDP(nil, directMAC, hostMAC, n))
	}
	addFrames(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := ParseNDP(b)
		if !ok {
			return
		}
		if n.Type != NDPSolicit && n.Type != NDPAdvert || n.Target[0] == 0xff || !n.HasLLA && n.LLA != (MAC{}) {
			t.Fatalf("%+v", n)
		}
		if again, ok := ParseNDP(AppendNDP(nil, directMAC, hostMAC, n)); !ok || again != n {
			t.Fatalf("read %+v, built and read %+v %v", n, again, ok)
		}
	})
}
