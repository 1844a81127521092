package packet

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	node6   = addr("2001:db8:1::2")
	solicit = NDP{Type: NDPSolicit, Src: node6, Dst: addr("ff02::1:ff00:100"), Target: vip6, HasLLA: true, LLA: hostMAC}
	advert  = NDP{Type: NDPAdvert, Flags: NDPSolicited | NDPOverride, Src: vip6, Dst: node6, Target: vip6, HasLLA: true, LLA: directMAC}
	announc = NDP{Type: NDPAdvert, Flags: NDPOverride, Src: vip6, Dst: AllNodes, Target: vip6, HasLLA: true, LLA: directMAC}
	probe   = NDP{Type: NDPSolicit, Dst: addr("ff02::1:ff00:100"), Target: vip6}
)

// RFC 4291 section 2.7.1 and RFC 2464 section 7 give these by example.
func TestNDPGroups(t *testing.T) {
	if got, want := SolicitedNode(addr("4037::01:800:200e:8c6c")), addr("ff02::1:ff0e:8c6c"); got != want {
		t.Errorf("solicited node %v, want %v", got, want)
	}
	if got := SolicitedNode(vip6); got != solicit.Dst {
		t.Errorf("solicited node %v, want %v", got, solicit.Dst)
	}
	if got, want := MulticastMAC(solicit.Dst), (MAC{0x33, 0x33, 0xff, 0x00, 0x01, 0x00}); got != want {
		t.Errorf("MAC %x, want %x", got, want)
	}
	if got, want := MulticastMAC(AllNodes), (MAC{0x33, 0x33, 0, 0, 0, 1}); got != want {
		t.Errorf("MAC %x, want %x", got, want)
	}
}

func TestNDPSurvivesBuildingAndParsing(t *testing.T) {
	for _, n := range []NDP{solicit, advert, announc, probe} {
		b := AppendNDP([]byte("x"), MulticastMAC(n.Dst), hostMAC, n)[1:]
		if got, ok := ParseNDP(b); !ok || got != n {
			t.Errorf("got %+v %v, want %+v", got, ok, n)
		}
		if got, ok := ParseNDP(append(b, 0, 0, 0)); !ok || got != n {
			t.Errorf("padded: %+v %v, want %+v", got, ok, n)
		}
	}
}

func TestAppendNDPIsReadByGopacket(t *testing.T) {
	for _, n := range []NDP{solicit, advert} {
		pkt := gopacket.NewPacket(AppendNDP(nil, directMAC, hostMAC, n), layers.LayerTypeEthernet, gopacket.Default)
		ip := pkt.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		icmp := pkt.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if ip.HopLimit != 255 || ip.TrafficClass != 0 || uint8(icmp.TypeCode.Type()) != n.Type || icmp.TypeCode.Code() != 0 {
			t.Errorf("%+v %+v", ip, icmp)
		}
		var target Addr
		var opts layers.ICMPv6Options
		want := layers.ICMPv6OptSourceAddress
		if n.Type == NDPAdvert {
			na := pkt.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
			target, opts, want = Addr(na.TargetAddress), na.Options, layers.ICMPv6OptTargetAddress
			if na.Router() || !na.Solicited() || !na.Override() {
				t.Errorf("flags %#x", na.Flags)
			}
		} else {
			ns := pkt.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
			target, opts = Addr(ns.TargetAddress), ns.Options
		}
		if target != n.Target || len(opts) != 1 || opts[0].Type != want || MAC(opts[0].Data) != n.LLA {
			t.Errorf("target %v, options %v", target, opts)
		}
	}
}

// resum makes the ICMPv6 checksum of an Ethernet frame right again, word by word.
func resum(b []byte) []byte {
	icmp := b[54:]
	icmp[2], icmp[3] = 0, 0
	pseudo := append([]byte(nil), b[22:54]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(icmp)))
	pseudo = append(pseudo, 0, 0, 0, 58)
	binary.BigEndian.PutUint16(icmp[2:], ^slowSum(append(pseudo, icmp...)))
	return b
}

// RFC 4861 sections 7.1.1 and 7.1.2: what a node must silently discard.
func TestParseNDPDiscardsWhatTheRFCSays(t *testing.T) {
	build := func(n NDP) []byte { return AppendNDP(nil, directMAC, hostMAC, n) }
	change := func(n NDP, f func(*NDP)) []byte { f(&n); return build(n) }
	hop := append(append(build(solicit)[:54:54], 58, 0, 1, 4, 0, 0, 0, 0), build(solicit)[54:]...)
	hop[20], hop[19] = 0, hop[19]+8
	rows := map[string][]byte{
		"empty":                         nil,
		"cut":                           build(solicit)[:85],
		"echo request":                  resum(edit(build(solicit), 54, 128)),
		"hop limit 254":                 edit(build(solicit), 21, 254),
		"wrong checksum":                edit(build(solicit), 56, 0xab, 0xcd),
		"code 1":                        resum(edit(build(solicit), 55, 1)),
		"option of length 0":            resum(edit(build(solicit), 79, 0)),
		"option leaves the packet":      resum(edit(build(solicit), 79, 2)),
		"multicast target, NS":          change(solicit, func(n *NDP) { n.Target = AllNodes }),
		"multicast target, NA":          change(advert, func(n *NDP) { n.Target = AllNodes }),
		"probe to another address":      change(probe, func(n *NDP) { n.Dst = AllNodes }),
		"probe with link-layer address": change(probe, func(n *NDP) { n.HasLLA = true }),
		"solicited to a group":          change(advert, func(n *NDP) { n.Dst = AllNodes }),
		"hop-by-hop header":             hop,
		"IPv4":                          spec(ICMP, false).Frame(),
	}
	short := build(probe)[:54+23]
	short[19] = 23
	rows["23 bytes"] = resum(short)
	for name, b := range rows {
		if n, ok := ParseNDP(b); ok || n != (NDP{}) {
			t.Errorf("%s: accepted as %+v", name, n)
		}
	}
	// The same edits without harm: the tools of this test do not break frames.
	if _, ok := ParseNDP(resum(build(solicit))); !ok {
		t.Error("resum breaks a good frame")
	}
}

func TestParseNDPSkipsOtherOptions(t *testing.T) {
	nonce := []byte{14, 1, 1, 2, 3, 4, 5, 6} // RFC 3971 section 5.3.2, sent with enhanced DAD
	b := AppendNDP(nil, directMAC, hostMAC, probe)
	b = append(b, nonce...)
	b[19] += 8
	if n, ok := ParseNDP(resum(b)); !ok || n != probe {
		t.Errorf("%+v %v", n, ok)
	}
	// A solicitation's option 2 is not its sender's address.
	b = resum(edit(AppendNDP(nil, directMAC, hostMAC, solicit), 78, 2))
	if n, ok := ParseNDP(b); !ok || n.HasLLA {
		t.Errorf("%+v %v", n, ok)
	}
}
