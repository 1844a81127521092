package bare

import (
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/packet"
)

func frame(t *testing.T, l gopacket.SerializableLayer) *packet.Frame {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, SrcIP: net.IP{10, 1, 0, 2}, DstIP: net.IP{198, 51, 100, 1}}
	switch x := l.(type) {
	case *layers.TCP:
		ip.Protocol = layers.IPProtocolTCP
		_ = x.SetNetworkLayerForChecksum(ip)
	case *layers.UDP:
		ip.Protocol = layers.IPProtocolUDP
		_ = x.SetNetworkLayerForChecksum(ip)
	case *layers.ICMPv4:
		ip.Protocol = layers.IPProtocolICMPv4
	}
	out := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, l, gopacket.Payload("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	return &packet.Frame{Buf: out.Bytes(), End: uint32(len(out.Bytes())), L2: true}
}

// What goes out has the next hop's link addresses, the server's address and right
// checksums: recomputed they are the same.
func TestRewrite(t *testing.T) {
	h := hop{at: 16, old: 198<<24 | 51<<16 | 100<<8 | 1, new: 10<<24 | 2<<16 | 2, macs: macs(packet.MAC{4, 4, 4, 4, 4, 4}, packet.MAC{6, 6, 6, 6, 6, 6})}
	h.diff = packet.Diff32(h.old, h.new, 0)
	for _, l := range []gopacket.SerializableLayer{
		&layers.TCP{SrcPort: 40000, DstPort: 80, ACK: true, DataOffset: 5},
		&layers.UDP{SrcPort: 40000, DstPort: 7},
	} {
		f := frame(t, l)
		if !h.rewrite(f) {
			t.Fatalf("%T does not go on", l)
		}
		p := gopacket.NewPacket(f.Bytes(), layers.LayerTypeEthernet, gopacket.Default)
		eth, ip := p.LinkLayer().(*layers.Ethernet), p.NetworkLayer().(*layers.IPv4)
		if eth.DstMAC[0] != 4 || eth.SrcMAC[0] != 6 || !ip.DstIP.Equal(net.IP{10, 2, 0, 2}) || !ip.SrcIP.Equal(net.IP{10, 1, 0, 2}) {
			t.Errorf("%v", p)
		}
		flow := packet.Flow{Src: packet.Addr{12: 10, 13: 1, 15: 2}, Dst: packet.Addr{12: 10, 13: 2, 15: 2}}
		seg := f.Bytes()[34 : 14+ip.Length] // padding is beyond it
		if packet.Checksum(f.Bytes()[14:34]) != 0 || ^packet.Fold(packet.Sum(seg, packet.PseudoSum(flow, uint8(ip.Protocol), len(seg)))) != 0 {
			t.Errorf("%T: a checksum is wrong", l)
		}
	}
}

// An unfinished checksum stays the sum of the pseudo-header, of the new addresses.
func TestRewriteUnfinished(t *testing.T) {
	h := hop{at: 16, old: 198<<24 | 51<<16 | 100<<8 | 1, new: 10<<24 | 2<<16 | 2}
	h.diff = packet.Diff32(h.old, h.new, 0)
	f := frame(t, &layers.UDP{SrcPort: 1, DstPort: 7})
	f.Vnet = packet.Vnet{Flags: packet.VnetNeedsCsum, CsumStart: 34, CsumOffset: 6}
	old := packet.Flow{Src: packet.Addr{12: 10, 13: 1, 15: 2}, Dst: packet.Addr{12: 198, 13: 51, 14: 100, 15: 1}}
	s := packet.Fold(packet.PseudoSum(old, packet.UDP, 18))
	f.Buf[40], f.Buf[41] = byte(s>>8), byte(s)
	if !h.rewrite(f) {
		t.Fatal("it does not go on")
	}
	next := old
	next.Dst = packet.Addr{12: 10, 13: 2, 15: 2}
	if want := packet.Fold(packet.PseudoSum(next, packet.UDP, 18)); uint16(f.Buf[40])<<8|uint16(f.Buf[41]) != want {
		t.Errorf("%#02x%02x, want %#04x", f.Buf[40], f.Buf[41], want)
	}
}

// What is not the VIP's TCP or UDP over IPv4 stays the host's, as it came.
func TestRewriteLeavesTheRest(t *testing.T) {
	h := hop{at: 16, old: 198<<24 | 51<<16 | 100<<8 | 1, new: 1}
	f := frame(t, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)})
	short := &packet.Frame{Buf: make([]byte, 20), End: 20, L2: true}
	arp := frame(t, &layers.UDP{})
	arp.Buf[13] = 6
	other := frame(t, &layers.UDP{})
	other.Buf[33] = 99
	for _, f := range []*packet.Frame{f, short, arp, other} {
		before := string(f.Buf)
		if h.rewrite(f) || string(f.Buf) != before {
			t.Errorf("% x is taken", f.Buf)
		}
	}
}
