package packet

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var senderMAC = MAC{0x02, 0, 0, 0, 0, 0x0a}

// Frames of iputils arping 20221126 for 10.9.0.90, without padding: -U, -A and -D.
var arpRows = []struct {
	name, hex string
	h         ARPHeader
}{
	{"announcement as request", "ffffffffffff02000000000a08060001080006040001" + "02000000000a0a09005affffffffffff0a09005a",
		ARPHeader{ARPRequest, senderMAC, addr("10.9.0.90"), Broadcast, addr("10.9.0.90")}},
	{"announcement as reply", "ffffffffffff02000000000a08060001080006040002" + "02000000000a0a09005a02000000000a0a09005a",
		ARPHeader{ARPReply, senderMAC, addr("10.9.0.90"), senderMAC, addr("10.9.0.90")}},
	{"probe", "ffffffffffff02000000000a08060001080006040001" + "02000000000a00000000ffffffffffff0a09005a",
		ARPHeader{ARPRequest, senderMAC, addr("0.0.0.0"), Broadcast, addr("10.9.0.90")}},
}

func TestARPFramesAsArpingSendsThem(t *testing.T) {
	for _, r := range arpRows {
		b, _ := hex.DecodeString(r.hex)
		if h, ok := ParseARP(b); !ok || h != r.h {
			t.Errorf("%s: %+v %v, want %+v", r.name, h, ok, r.h)
		}
		got := AppendARP([]byte("x"), Broadcast, senderMAC, r.h)
		if want := "x" + string(b) + string(make([]byte, 18)); string(got) != want {
			t.Errorf("%s:\ngot  %x\nwant %x", r.name, got, want)
		}
		if h, ok := ParseARP(got[1:]); !ok || h != r.h {
			t.Errorf("%s padded: %+v %v", r.name, h, ok)
		}
	}
}

// The builder's zeros must not be what an old buffer held.
func TestAppendARPPadsWithZeros(t *testing.T) {
	dirty := bytes.Repeat([]byte{0xaa}, 100)
	got := AppendARP(dirty[:0], Broadcast, senderMAC, arpRows[0].h)
	if len(got) != 60 || string(got[42:]) != string(make([]byte, 18)) {
		t.Errorf("%x", got)
	}
}

func TestAppendARPIsReadByGopacket(t *testing.T) {
	h := ARPHeader{ARPReply, senderMAC, addr("10.9.0.1"), hostMAC, addr("10.9.0.2")}
	pkt := gopacket.NewPacket(AppendARP(nil, hostMAC, senderMAC, h), layers.LayerTypeEthernet, gopacket.Default)
	a, ok := pkt.Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok || a.Operation != 2 || MAC(a.SourceHwAddress) != h.SHA || MAC(a.DstHwAddress) != h.THA ||
		AddrFrom4([4]byte(a.SourceProtAddress)) != h.SPA || AddrFrom4([4]byte(a.DstProtAddress)) != h.TPA {
		t.Errorf("%+v", a)
	}
}

func TestParseARPRefusesOthers(t *testing.T) {
	good, _ := hex.DecodeString(arpRows[0].hex)
	for name, b := range map[string][]byte{
		"empty":            nil,
		"cut":              good[:41],
		"ethertype":        edit(good, 12, 8, 0),
		"hardware type":    edit(good, 14, 0, 6),
		"protocol type":    edit(good, 16, 0x86, 0xdd),
		"hardware address": edit(good, 18, 8),
		"protocol address": edit(good, 19, 16),
	} {
		if h, ok := ParseARP(b); ok || h != (ARPHeader{}) {
			t.Errorf("%s: %+v %v", name, h, ok)
		}
	}
}
