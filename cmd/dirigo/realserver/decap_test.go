package realserver

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/packet"
)

const guePort = 6080

var (
	vip4, vip6 = addr("192.0.2.10"), addr("2001:db8::10")
	testOpener = opener{vips: []packet.Addr{packet.AddrFrom(vip4), packet.AddrFrom(vip6)}, guePort: guePort}
)

func serialize(t testing.TB, list ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ip4(src, dst string, proto layers.IPProtocol, tos uint8) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 63, TOS: tos, Protocol: proto, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

// inner4 and inner6 are UDP datagrams from a client to port 7 of an address.
func inner4(t testing.TB, dst string, tos uint8, data []byte) []byte {
	ip := ip4("198.51.100.1", dst, layers.IPProtocolUDP, tos)
	udp := &layers.UDP{SrcPort: 5000, DstPort: 7}
	_ = udp.SetNetworkLayerForChecksum(ip) // it knows IPv4
	return serialize(t, ip, udp, gopacket.Payload(data))
}

func inner6(t testing.TB, dst string, data []byte) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 63, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP("2001:db8:1::1"), DstIP: net.ParseIP(dst)}
	udp := &layers.UDP{SrcPort: 5000, DstPort: 7}
	_ = udp.SetNetworkLayerForChecksum(ip) // it knows IPv6
	return serialize(t, ip, udp, gopacket.Payload(data))
}

// tunnelled puts an outer header of a protocol before a packet.
func tunnelled(t testing.TB, proto layers.IPProtocol, tos uint8, b []byte) []byte {
	return serialize(t, ip4("203.0.113.2", "203.0.113.11", proto, tos), gopacket.Payload(b))
}

// greOf is a GRE packet without key: RFC 2784.
func greOf(t testing.TB, csum bool, inner []byte) []byte {
	return serialize(t, &layers.GRE{Protocol: layers.EthernetTypeIPv4, ChecksumPresent: csum}, gopacket.Payload(inner))
}

// gueOf is GUE's header and a packet: version, C and length 0, protocol, flags 0.
func gueOf(inner []byte) []byte {
	proto := byte(packet.IPIP)
	if inner[0]>>4 == 6 {
		proto = packet.IPv6
	}
	return append([]byte{0, proto, 0, 0}, inner...)
}

// frameOf lends a frame with headroom, as receive does.
func frameOf(b []byte) packet.Frame {
	buf := append(make([]byte, packet.Headroom), b...)
	return packet.Frame{Buf: buf, Start: packet.Headroom, End: uint32(len(buf))}
}

func TestOpenDelivers(t *testing.T) {
	four, six := inner4(t, "192.0.2.10", 0, []byte("hello")), inner6(t, "2001:db8::10", []byte("hello"))
	for _, c := range []struct {
		name string
		in   packet.Frame
		want []byte
	}{
		{"IPIP", frameOf(tunnelled(t, 4, 0, four)), four},
		{"IPv6 in IPv4", frameOf(tunnelled(t, 41, 0, six)), six},
		{"GRE", frameOf(tunnelled(t, 47, 0, greOf(t, false, four))), four},
		{"GRE with checksum", frameOf(tunnelled(t, 47, 0, greOf(t, true, four))), four},
	} {
		if got := testOpener.open(&c.in); got != delivered || !bytes.Equal(c.in.Bytes(), c.want) {
			t.Errorf("%s: %s\n got %x\nwant %x", c.name, outcomeNames[got], c.in.Bytes(), c.want)
		}
	}
	// What comes without its outer header: IPv6's, and UDP's.
	for _, c := range []struct {
		name  string
		proto uint8
		data  []byte
		want  []byte
	}{
		{"IPv4 in IPv6", packet.IPIP, four, four},
		{"IPv6 in IPv6", packet.IPv6, six, six},
		{"GRE in IPv6", packet.GRE, greOf(t, true, four), four},
		{"GUE", packet.UDP, gueOf(four), four},
		{"GUE of IPv6", packet.UDP, gueOf(six), six},
	} {
		f := frameOf(c.data)
		if !outer(&f, c.proto, 0, guePort) {
			t.Errorf("%s: too long", c.name)
		} else if got := testOpener.open(&f); got != delivered || !bytes.Equal(f.Bytes(), c.want) {
			t.Errorf("%s: %s\n got %x\nwant %x", c.name, outcomeNames[got], f.Bytes(), c.want)
		}
	}
}

func TestOpenDrops(t *testing.T) {
	four := inner4(t, "192.0.2.10", 0, []byte("hello"))
	keyed := serialize(t, &layers.GRE{Protocol: layers.EthernetTypeIPv4, KeyPresent: true, Key: 7}, gopacket.Payload(four))
	damaged := greOf(t, true, four)
	damaged[len(damaged)-1] ^= 1
	short := tunnelled(t, 4, 0, four)
	for _, c := range []struct {
		name string
		in   []byte
		want outcome
	}{
		{"another address", tunnelled(t, 4, 0, inner4(t, "192.0.2.11", 0, nil)), notVIP},
		{"GRE with a key", tunnelled(t, 47, 0, keyed), refused},
		{"GRE with a wrong checksum", tunnelled(t, 47, 0, damaged), refused},
		{"cut off", short[:30], refused},
		{"empty", nil, refused},
		{"no tunnel", four, refused},
		{"IPIP with IPv6 inside", tunnelled(t, 4, 0, inner6(t, "2001:db8::10", nil)), refused},
		// RFC 6040 section 4.2: congestion met by the tunnel cannot be told to a sender
		// without ECN, so the packet is dropped.
		{"congestion, no ECN inside", tunnelled(t, 4, 3, four), refused},
	} {
		f := frameOf(c.in)
		if got := testOpener.open(&f); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, outcomeNames[got], outcomeNames[c.want])
		}
	}
}

// The congestion mark of the outer header reaches the packet inside, also where the
// kernel handed the TOS over beside the data.
func TestCongestionIsPassedOn(t *testing.T) {
	f := frameOf(gueOf(inner4(t, "192.0.2.10", 2, nil)))
	if !outer(&f, packet.UDP, 3, guePort) || testOpener.open(&f) != delivered {
		t.Fatal("not delivered")
	}
	if tos := f.Bytes()[1]; tos != 3 {
		t.Errorf("inner TOS %d, want 3: congestion experienced", tos)
	}
	if packet.Checksum(f.Bytes()[:20]) != 0 {
		t.Error("wrong header checksum")
	}
}

// A checksum that its sender's host left unfinished, the sum of the pseudo-header only
// (include/linux/skbuff.h CHECKSUM_PARTIAL), is completed; a wrong one stays wrong.
func TestUnfinishedChecksumIsCompleted(t *testing.T) {
	client, server := net.ParseIP("198.51.100.1"), net.ParseIP("192.0.2.10")
	ip := ip4(client.String(), server.String(), layers.IPProtocolTCP, 0)
	tcp := &layers.TCP{SrcPort: 5000, DstPort: 80, SYN: true, Window: 1000}
	_ = tcp.SetNetworkLayerForChecksum(ip) // it knows IPv4
	tcpPacket := serialize(t, ip, tcp, gopacket.Payload("odd"))
	for _, c := range []struct {
		name   string
		packet []byte
		field  int
		proto  uint32
	}{
		{"TCP", tcpPacket, 20 + 16, 6},
		{"UDP", inner4(t, "192.0.2.10", 0, []byte("data!")), 20 + 6, 17},
	} {
		sum := c.proto + uint32(len(c.packet)-20) // RFC 9293 section 3.1, word by word
		for _, a := range []net.IP{client.To4(), server.To4()} {
			sum += uint32(a[0])<<8 + uint32(a[1]) + uint32(a[2])<<8 + uint32(a[3])
		}
		sum = sum>>16 + sum&0xffff
		unfinished := bytes.Clone(c.packet)
		binary.BigEndian.PutUint16(unfinished[c.field:], uint16(sum))
		f := frameOf(tunnelled(t, 4, 0, unfinished))
		if testOpener.open(&f) != delivered || !bytes.Equal(f.Bytes(), c.packet) {
			t.Errorf("%s\n got %x\nwant %x", c.name, f.Bytes(), c.packet)
		}
		binary.BigEndian.PutUint16(unfinished[c.field:], uint16(sum)+1)
		f = frameOf(tunnelled(t, 4, 0, unfinished))
		if testOpener.open(&f) != delivered || !bytes.Equal(f.Bytes(), unfinished) {
			t.Errorf("%s: a wrong checksum was changed", c.name)
		}
	}
}

func TestOuterRefusesTooLong(t *testing.T) {
	// 65535 bytes of IP packet, less 20 of IPv4 and 8 of UDP.
	for _, c := range []struct {
		proto uint8
		n     int
		ok    bool
	}{{packet.IPIP, 65515, true}, {packet.IPIP, 65516, false}, {packet.UDP, 65507, true}, {packet.UDP, 65508, false}} {
		f := frameOf(make([]byte, c.n))
		if got := outer(&f, c.proto, 0, guePort); got != c.ok {
			t.Errorf("protocol %d, %d bytes: %v", c.proto, c.n, got)
		}
	}
}

func TestOpenDoesNotAllocate(t *testing.T) {
	b := tunnelled(t, 4, 0, inner4(t, "192.0.2.10", 0, make([]byte, 1000)))
	f := frameOf(b)
	buf := f.Buf
	if n := testing.AllocsPerRun(1000, func() {
		copy(buf[packet.Headroom:], b)
		f = packet.Frame{Buf: buf, Start: packet.Headroom, End: uint32(len(buf))}
		if testOpener.open(&f) != delivered {
			t.Fatal("not delivered")
		}
	}); n != 0 {
		t.Errorf("%v allocations for each packet", n)
	}
}

func TestCountersAreNamed(t *testing.T) {
	var c counters
	c.packets[gre][notVIP] = 42
	c.bytes[gre] = 77
	var out bytes.Buffer
	c.print(&out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	column := strings.Index(lines[0], "not for a VIP") + len("not for a VIP")
	if len(lines) != 1+int(kinds) || !strings.HasPrefix(lines[1+gre], "GRE") || !strings.HasSuffix(lines[1+gre][:column], " 42") || !strings.HasSuffix(lines[1+gre], " 77") {
		t.Errorf("counters:\n%s", out.String())
	}
}

// Whatever comes, nothing panics, and what is delivered is a whole IP packet to a VIP.
func FuzzOpen(f *testing.F) {
	four := inner4(f, "192.0.2.10", 0, []byte("seed"))
	f.Add(tunnelled(f, 4, 0, four), uint8(0), uint8(0))                  // IPIP as a raw socket gives it
	f.Add(tunnelled(f, 47, 1, greOf(f, true, four)), uint8(0), uint8(0)) // GRE with checksum
	f.Add(gueOf(inner6(f, "2001:db8::10", nil)), uint8(17), uint8(3))    // GUE as a UDP socket gives it
	f.Add(inner6(f, "2001:db8::10", nil), uint8(41), uint8(0))           // IPv6 as a raw IPv6 socket gives it
	f.Add([]byte{}, uint8(4), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, proto, tos uint8) {
		if len(b) > 65535 {
			return
		}
		fr := frameOf(b)
		if proto != 0 && !outer(&fr, proto, tos, guePort) || testOpener.open(&fr) != delivered {
			return
		}
		got := packet.NewIPFrame(bytes.Clone(fr.Bytes()))
		if bad := got.Parse(); bad != packet.None || got.End != got.IPEnd {
			t.Fatalf("delivered %x: %v", fr.Bytes(), bad)
		}
		if d := got.Flow.Dst.Netip(); d != vip4 && d != vip6 {
			t.Fatalf("delivered to %v", d)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	src := tunnelled(b, 4, 0, inner4(b, "192.0.2.10", 0, make([]byte, 1400)))
	f := frameOf(src)
	buf := f.Buf
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		copy(buf[packet.Headroom:], src)
		f = packet.Frame{Buf: buf, Start: packet.Headroom, End: uint32(len(buf))}
		if testOpener.open(&f) != delivered {
			b.Fatal("not delivered")
		}
	}
}
