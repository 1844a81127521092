package packet

import "testing"

func TestMACsOfAFrame(t *testing.T) {
	f := parsed(t, spec(TCP, false).Frame())
	if f.DstMAC() != directMAC || f.SrcMAC() != hostMAC {
		t.Fatalf("%x from %x", f.DstMAC(), f.SrcMAC())
	}
	rest := string(f.Buf[f.Start+12:])
	f.SetMACs(&Broadcast, &directMAC)
	if got := string(f.Bytes()[:12]); got != "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x01\x01" {
		t.Errorf("%x", got)
	}
	if string(f.Buf[f.Start+12:]) != rest {
		t.Error("more than the addresses changed")
	}
	if !Broadcast.Multicast() || !MulticastMAC(AllNodes).Multicast() || directMAC.Multicast() {
		t.Error("the group bit is the lowest of the first byte")
	}
}

func TestEthernetComesAndGoes(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := spec(TCP, v6)
		f := parsed(t, s.Frame())
		f.Vnet = Vnet{Flags: VnetNeedsCsum, GSOType: VnetGSOTCPv4, HdrLen: 74, GSOSize: 1400,
			CsumStart: uint16(f.L4 - f.Start), CsumOffset: 16}
		was := *f
		f.StripEthernet()
		if f.L2 || string(f.Bytes()) != string(s.IP()) || f.Start+uint32(f.Vnet.CsumStart) != f.L4 || f.Vnet.HdrLen != 60 {
			t.Errorf("stripped: %+v", *f)
		}
		f.StripEthernet() // there is none
		if f.Start != was.Start+14 {
			t.Error("stripped twice")
		}
		f.PutEthernet(&directMAC, &hostMAC)
		if !equalFrames(*f, was) || string(f.Bytes()) != string(s.Frame()) {
			t.Errorf("put back: %+v\nwas %+v", *f, was)
		}
		f.PutEthernet(&hostMAC, &directMAC) // addresses only
		if f.Start != was.Start || f.DstMAC() != hostMAC {
			t.Error("a second header was put")
		}
		if bad := f.Parse(); bad != None {
			t.Error(bad)
		}
	}
}

func TestEthernetWithoutOffloadKeepsVnetZero(t *testing.T) {
	f := NewIPFrame(spec(UDP, false).IP())
	f.PutEthernet(&directMAC, &hostMAC)
	if bad := f.Parse(); bad != None || f.Vnet != (Vnet{}) || f.Start != Headroom-14 {
		t.Errorf("%v, %+v", bad, *f)
	}
}
