package fastpath

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/packet"
)

// The program reads fields where they are.
func TestLayout(t *testing.T) {
	var e entry
	var k key
	for name, c := range map[string][2]uintptr{
		"Src": {unsafe.Offsetof(e.Src), entrySrc}, "Dst": {unsafe.Offsetof(e.Dst), entryDst}, "SrcPort": {unsafe.Offsetof(e.SrcPort), entryPorts},
		"Device": {unsafe.Offsetof(e.Device), entryDevice}, "MACs": {unsafe.Offsetof(e.MACs), entryMACs},
		"IPDiff": {unsafe.Offsetof(e.IPDiff), entryIPDiff}, "AddrDiff": {unsafe.Offsetof(e.AddrDiff), entryAddrDiff},
		"PortDiff": {unsafe.Offsetof(e.PortDiff), entryPortDiff}, "Packets": {unsafe.Offsetof(e.Packets), entryPackets},
		"entry": {unsafe.Sizeof(e), entrySize}, "key": {unsafe.Sizeof(k), keySize},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, the program has %d", name, c[0], c[1])
		}
	}
}

var (
	client, vip, server = [4]byte{10, 1, 0, 2}, [4]byte{198, 51, 100, 1}, [4]byte{10, 2, 0, 2}
	lo                  = &net.Interface{Index: 1, HardwareAddr: net.HardwareAddr{6, 6, 6, 6, 6, 6}}
	config              = Config{VIP: netip.AddrFrom4(vip), Server: netip.AddrFrom4(server),
		ClientMAC: packet.MAC{2, 0, 0, 0, 0, 1}, ServerMAC: packet.MAC{4, 4, 4, 4, 4, 4}}
)

// loaded is the program and its table, in the kernel.
func loaded(t *testing.T) (*ebpf.Program, *ebpf.Map) {
	t.Helper()
	flows, err := newFlows()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { flows.Close() })
	p, err := load(flows, learning(config, lo, lo))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p, flows
}

// frame is a packet with right checksums and a header that change has changed.
func frame(t *testing.T, proto layers.IPProtocol, src, dst [4]byte, srcPort, dstPort uint16, change func(*layers.IPv4)) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	h := &layers.IPv4{Version: 4, TTL: 64, Id: 0x1234, Protocol: proto, SrcIP: src[:], DstIP: dst[:]}
	if change != nil {
		change(h)
	}
	var l gopacket.SerializableLayer
	switch proto {
	case layers.IPProtocolTCP:
		x := &layers.TCP{SrcPort: layers.TCPPort(srcPort), DstPort: layers.TCPPort(dstPort), ACK: true, DataOffset: 5}
		_ = x.SetNetworkLayerForChecksum(h)
		l = x
	case layers.IPProtocolUDP:
		x := &layers.UDP{SrcPort: layers.UDPPort(srcPort), DstPort: layers.UDPPort(dstPort)}
		_ = x.SetNetworkLayerForChecksum(h)
		l = x
	default:
		l = gopacket.Payload(nil)
	}
	out := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, h, l, gopacket.Payload("0123456789")); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const redirected = 7 // TC_ACT_REDIRECT, linux/pkt_cls.h

// through sends b through the program.
func through(t *testing.T, p *ebpf.Program, b []byte) (verdict uint32, out []byte) {
	t.Helper()
	out = make([]byte, len(b)+256)
	o := &ebpf.RunOptions{Data: b, DataOut: out}
	verdict, err := p.Run(o)
	if err != nil {
		t.Fatal(err)
	}
	return verdict, o.DataOut
}

// A flow is entered by its first packet; then it and its answers go through, and what comes
// out is, byte for byte, what another's implementation makes of the new headers.
func TestThrough(t *testing.T) {
	p, flows := loaded(t)
	less := func(h *layers.IPv4) { h.TTL-- }
	for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP} {
		for port := uint16(40000); port < 40200; port++ {
			for range 2 {
				verdict, got := through(t, p, frame(t, proto, client, vip, port, 80, nil))
				want := frame(t, proto, client, server, port, 80, less)
				copy(want, []byte{4, 4, 4, 4, 4, 4, 6, 6, 6, 6, 6, 6})
				if verdict != redirected || string(got) != string(want) {
					t.Fatalf("%v: verdict %d\n got % x\nwant % x", proto, verdict, got, want)
				}
			}
			verdict, got := through(t, p, frame(t, proto, server, client, 80, port, nil))
			want := frame(t, proto, vip, client, 80, port, less)
			copy(want, []byte{2, 0, 0, 0, 0, 1, 6, 6, 6, 6, 6, 6})
			if verdict != redirected || string(got) != string(want) {
				t.Fatalf("%v: verdict %d\n got % x\nwant % x", proto, verdict, got, want)
			}
		}
	}
	var e entry
	if err := flows.Lookup(key{client, vip, [2]byte{40000 >> 8, 40000 & 0xff}, [2]byte{0, 80}, packet.TCP}, &e); err != nil || e.Packets != 2 {
		t.Errorf("%+v, %v: want 2 packets", e, err)
	}
}

// A flow that is in the table goes where the table says, by another port too. A datagram
// without a checksum stays without.
func TestEntry(t *testing.T) {
	p, flows := loaded(t)
	e := entry{Src: client, Dst: server, SrcPort: [2]byte{1, 2}, DstPort: [2]byte{0x1f, 0x90}, Device: 1}
	e.diffs(vip, server, 53, 8080)
	for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP} {
		if err := flows.Put(key{client, vip, [2]byte{1, 2}, [2]byte{0, 53}, uint32(proto)}, e); err != nil {
			t.Fatal(err)
		}
		in := frame(t, proto, client, vip, 258, 53, nil)
		_, got := through(t, p, in)
		want := frame(t, proto, client, server, 258, 8080, func(h *layers.IPv4) { h.TTL-- })
		if string(got[12:]) != string(want[12:]) {
			t.Errorf("%v:\n got % x\nwant % x", proto, got, want)
		}
		if proto == layers.IPProtocolUDP {
			binary.BigEndian.PutUint16(in[udpCheck:], 0)
			if _, got = through(t, p, in); binary.BigEndian.Uint16(got[udpCheck:]) != 0 {
				t.Errorf("a checksum out of none: % x", got)
			}
		}
	}
}

// The header's checksum is right also where the sum carries twice.
func TestCarry(t *testing.T) {
	p, _ := loaded(t)
	d := learning(config, lo, lo).request.IPDiff
	tried := 0
	for id := range uint16(0xffff) {
		numbered := func(h *layers.IPv4) { h.Id = id }
		in := frame(t, layers.IPProtocolUDP, client, vip, 1, 2, numbered)
		sum := uint32(^binary.NativeEndian.Uint16(in[ipCheck:])) + d
		if sum&0xffff+sum>>16 <= 0xffff {
			continue
		}
		tried++
		_, got := through(t, p, in)
		want := frame(t, layers.IPProtocolUDP, client, server, 1, 2, func(h *layers.IPv4) { h.Id, h.TTL = id, h.TTL-1 })
		if string(got[12:]) != string(want[12:]) {
			t.Errorf("identification %#x:\n got % x\nwant % x", id, got, want)
		}
	}
	if tried == 0 {
		t.Error("no sum carries twice")
	}
}

// What is no flow's passes as it came.
func TestTheRestPasses(t *testing.T) {
	p, _ := loaded(t)
	arp := frame(t, layers.IPProtocolUDP, client, vip, 1, 2, nil)
	arp[13] = 6
	options := frame(t, layers.IPProtocolUDP, client, vip, 1, 2, nil)
	options[14] = 0x46
	for name, b := range map[string][]byte{
		"not IPv4":      arp,
		"options":       options,
		"another's":     frame(t, layers.IPProtocolUDP, client, server, 1, 2, nil),
		"no flow's":     frame(t, layers.IPProtocolTCP, server, client, 80, 9, nil),
		"ICMP":          frame(t, layers.IPProtocolICMPv4, client, vip, 0, 0, nil),
		"last hop":      frame(t, layers.IPProtocolTCP, client, vip, 1, 2, func(h *layers.IPv4) { h.TTL = 1 }),
		"fragment":      frame(t, layers.IPProtocolUDP, client, vip, 1, 2, func(h *layers.IPv4) { h.FragOffset = 3 }),
		"first of more": frame(t, layers.IPProtocolUDP, client, vip, 1, 2, func(h *layers.IPv4) { h.Flags = layers.IPv4MoreFragments }),
		"short":         frame(t, layers.IPProtocolICMPv4, client, vip, 0, 0, nil)[:36],
	} {
		if verdict, got := through(t, p, b); verdict != tcxPass || string(got) != string(b) {
			t.Errorf("%s: verdict %d, % x", name, verdict, got)
		}
	}
}
