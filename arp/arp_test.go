package arp

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/packet"
)

var (
	macA    = packet.MAC{2, 0, 0, 0, 0, 0x0a} // port 0
	macB    = packet.MAC{2, 0, 0, 0, 0, 0x0b} // port 1
	macR    = packet.MAC{2, 0, 0, 0, 0, 0x51} // a real server
	macNew  = packet.MAC{2, 0, 0, 0, 0, 0x52} // what it fails over to
	macEvil = packet.MAC{2, 0, 0, 0, 0, 0x66}

	dip, vip, real1, real2     = ip("10.9.0.1"), ip("10.9.0.90"), ip("10.9.0.11"), ip("10.9.0.12")
	dip6, vip6, real6, local6  = ip("fd09::1"), ip("fd09::90"), ip("fd09::11"), ip("fe80::1")
	dipB, vipB                 = ip("192.0.2.1"), ip("192.0.2.90")
	allNodes, zero4, zero6     = ip("ff02::1"), ip("0.0.0.0"), ip("::")
	broadcast, noMAC, allNodeM = packet.Broadcast, packet.MAC{}, packet.MAC{0x33, 0x33, 0, 0, 0, 1}
)

const sec = time.Second

func ip(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

func prefixes(ss ...string) (ps []netip.Prefix) {
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

var twoPorts = []PortConfig{
	{MAC: macA, Addresses: prefixes("10.9.0.1/24", "fe80::1/64", "fd09::1/64"), VIPs: []packet.Addr{vip, vip6}},
	{MAC: macB, Addresses: prefixes("192.0.2.1/24"), VIPs: []packet.Addr{vipB}},
}

// newCache has the two ports, has announced their VIPs, and starts at 1000 s.
func newCache(t testing.TB, cfg Config) (*Cache, time.Duration) {
	t.Helper()
	if cfg.Announcements == 0 {
		cfg.Announcements = -1
	}
	c := New(cfg)
	c.SetPorts(twoPorts)
	t.Cleanup(func() { checkInvariants(t, c) })
	return c, 1000 * sec
}

// arpFrame and the others below are built by gopacket, so that what Input is given
// does not come from the code that builds what it returns.
func arpFrame(ethDst, ethSrc packet.MAC, op uint16, sha packet.MAC, spa packet.Addr, tha packet.MAC, tpa packet.Addr) []byte {
	return serialize(
		&layers.Ethernet{DstMAC: ethDst[:], SrcMAC: ethSrc[:], EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: op, SourceHwAddress: sha[:], SourceProtAddress: spa[12:], DstHwAddress: tha[:], DstProtAddress: tpa[12:]})
}

func reply(to packet.MAC, sha packet.MAC, spa, tpa packet.Addr) []byte {
	return arpFrame(to, sha, 2, sha, spa, to, tpa)
}

func request(sha packet.MAC, spa, tpa packet.Addr) []byte {
	return arpFrame(broadcast, sha, 1, sha, spa, noMAC, tpa)
}

func garp(sha packet.MAC, addr packet.Addr) []byte { return request(sha, addr, addr) }

func ndFrame(ethDst, ethSrc packet.MAC, src, dst packet.Addr, hop uint8, msg gopacket.SerializableLayer, typ uint8) []byte {
	ip6 := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: hop, SrcIP: src[:], DstIP: dst[:]}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip6); err != nil {
		panic(err)
	}
	return serialize(&layers.Ethernet{DstMAC: ethDst[:], SrcMAC: ethSrc[:], EthernetType: layers.EthernetTypeIPv6}, ip6, icmp, msg)
}

func lla(typ layers.ICMPv6Opt, mac packet.MAC) layers.ICMPv6Options {
	if mac == noMAC {
		return nil
	}
	return layers.ICMPv6Options{{Type: typ, Data: mac[:]}}
}

func solicit(ethDst, ethSrc packet.MAC, src, dst, target packet.Addr, slla packet.MAC) []byte {
	return ndFrame(ethDst, ethSrc, src, dst, 255, &layers.ICMPv6NeighborSolicitation{
		TargetAddress: target[:], Options: lla(layers.ICMPv6OptSourceAddress, slla)}, 135)
}

func advert(ethDst, ethSrc packet.MAC, src, dst packet.Addr, flags uint8, target packet.Addr, tlla packet.MAC) []byte {
	return ndFrame(ethDst, ethSrc, src, dst, 255, &layers.ICMPv6NeighborAdvertisement{
		Flags: flags, TargetAddress: target[:], Options: lla(layers.ICMPv6OptTargetAddress, tlla)}, 136)
}

func serialize(ls ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// seen is an emitted ARP or ND frame as gopacket reads it.
type seen struct {
	port     int
	ethDst   packet.MAC
	what     string // "request", "reply", "solicit", "advert"
	src, dst packet.Addr
	target   packet.Addr // ARP: TPA
	sha, tha packet.MAC  // ND: the link-layer address option, zero
	flags    uint8
}

// decode reads out, and fails the test if it is not a well-formed ARP or ND frame
// sent from its port's own MAC.
func decode(t testing.TB, out Out) seen {
	t.Helper()
	pkt := gopacket.NewPacket(out.Frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := pkt.ErrorLayer(); e != nil {
		t.Fatalf("emitted frame %x: %v", out.Frame, e.Error())
	}
	eth := pkt.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	s := seen{port: out.Port, ethDst: packet.MAC(eth.DstMAC)}
	if out.Port < 0 || out.Port >= len(twoPorts) || packet.MAC(eth.SrcMAC) != twoPorts[out.Port].MAC {
		t.Fatalf("port %d sends from %v", out.Port, eth.SrcMAC)
	}
	if a, ok := pkt.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		if len(out.Frame) < 42 || a.AddrType != layers.LinkTypeEthernet || a.Protocol != layers.EthernetTypeIPv4 || a.HwAddressSize != 6 || a.ProtAddressSize != 4 {
			t.Fatalf("emitted ARP %x", out.Frame)
		}
		s.what = map[uint16]string{1: "request", 2: "reply"}[a.Operation]
		s.sha, s.tha = packet.MAC(a.SourceHwAddress), packet.MAC(a.DstHwAddress)
		s.src, s.target = packet.AddrFrom4([4]byte(a.SourceProtAddress)), packet.AddrFrom4([4]byte(a.DstProtAddress))
		if s.sha != twoPorts[out.Port].MAC {
			t.Fatalf("sender hardware address %v", s.sha)
		}
		return s
	}
	ip6, ok := pkt.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	if !ok || ip6.HopLimit != 255 || ip6.NextHeader != layers.IPProtocolICMPv6 || !checksumHolds(ip6) {
		t.Fatalf("emitted frame %x is neither ARP nor a sound ND message", out.Frame)
	}
	s.src, s.dst = packet.Addr(ip6.SrcIP), packet.Addr(ip6.DstIP)
	var opts layers.ICMPv6Options
	want := layers.ICMPv6OptSourceAddress
	if n, ok := pkt.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); ok {
		s.what, s.target, opts = "solicit", packet.Addr(n.TargetAddress), n.Options
	} else if n, ok := pkt.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement); ok {
		s.what, s.target, s.flags, opts = "advert", packet.Addr(n.TargetAddress), n.Flags, n.Options
		want = layers.ICMPv6OptTargetAddress
	} else {
		t.Fatalf("emitted ICMPv6 %x", out.Frame)
	}
	if len(opts) != 1 || opts[0].Type != want || packet.MAC(opts[0].Data) != twoPorts[out.Port].MAC {
		t.Fatalf("options %v; want our link-layer address", opts)
	}
	s.sha = twoPorts[out.Port].MAC
	return s
}

// checksumHolds sums pseudo-header and ICMPv6 message word by word, RFC 1071 section 4.1.
func checksumHolds(ip6 *layers.IPv6) bool {
	b := append(append(append([]byte{}, ip6.SrcIP...), ip6.DstIP...), 0, 0, 0, byte(len(ip6.Payload)), 0, 0, 0, 58)
	b = append(b, ip6.Payload...)
	sum := uint32(0)
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum == 0xffff && len(b) == 0
}

// one is the only frame of outs, decoded.
func one(t testing.TB, outs []Out) seen {
	t.Helper()
	if len(outs) != 1 {
		t.Fatalf("%d frames; want 1", len(outs))
	}
	return decode(t, outs[0])
}

func nothing(t testing.TB, outs []Out) {
	t.Helper()
	if len(outs) != 0 {
		t.Fatalf("%d frames, first %x; want none", len(outs), outs[0].Frame)
	}
}

// data is a frame for the neighbour at Ethernet destination zero, recognisable by tag.
func data(tag string) []byte {
	return append([]byte{0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0x0a, 0x08, 0x00}, tag...)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// input gives one frame and wants its reason.
func input(t testing.TB, c *Cache, now time.Duration, port int, frame []byte, want Reason) []Out {
	t.Helper()
	got, outs := c.Input(now, port, frame)
	if got != want {
		t.Fatalf("Input says %v; want %v", got, want)
	}
	return outs
}

func wantState(t testing.TB, c *Cache, addr packet.Addr, state State, mac packet.MAC) {
	t.Helper()
	for e := range c.Entries(0) {
		if e.Addr == addr {
			if e.State != state || e.MAC != mac {
				t.Fatalf("%v is %v at %v; want %v at %v", addr, e.State, net.HardwareAddr(e.MAC[:]), state, net.HardwareAddr(mac[:]))
			}
			return
		}
	}
	if state != 0 {
		t.Fatalf("%v is not in the cache; want %v", addr, state)
	}
}

// resolve1 makes real1 REACHABLE at mac on port 0.
func resolve1(t testing.TB, c *Cache, now time.Duration, mac packet.MAC) {
	t.Helper()
	c.Resolve(now, 0, real1, data("x"))
	if r, outs := c.Input(now, 0, reply(macA, mac, real1, dip)); r != Learned || len(outs) != 1 {
		t.Fatalf("answer to a query: %v, %d frames", r, len(outs))
	}
}

// checkInvariants compares the table's lists, heap and queues with its slab.
func checkInvariants(t testing.TB, c *Cache) {
	t.Helper()
	tb := &c.table
	listed := 0
	for l := range tb.lists {
		n, prev := 0, none
		for r := tb.lists[l].head; r != none; r = tb.slab[r].next {
			if e := &tb.slab[r]; e.prev != prev || e.list != ageList(l) || tb.index[e.key] != r {
				t.Fatalf("entry %d out of order in list %d", r, l)
			}
			n, prev = n+1, r
		}
		if n != tb.lengths[l] || tb.lists[l].tail != prev {
			t.Fatalf("list %d has %d entries, counts %d", l, n, tb.lengths[l])
		}
		listed += n
	}
	if listed != len(tb.timers) || listed > c.cfg.MaxEntries || len(tb.index)+len(tb.free) != len(tb.slab) {
		t.Fatalf("%d listed of at most %d, %d deadlines, %d indexed + %d free of %d", listed, c.cfg.MaxEntries, len(tb.timers), len(tb.index), len(tb.free), len(tb.slab))
	}
	for i, r := range tb.timers {
		if int(tb.slab[r].timer) != i || i > 0 && tb.slab[tb.timers[(i-1)/2]].due > tb.slab[r].due {
			t.Fatalf("deadline %d out of order", i)
		}
	}
	bytes, frames := 0, 0
	for r, els := range c.queues.of {
		for _, el := range els {
			bytes += len(el.Value.(*held).frame)
			frames++
		}
		if tb.slab[r].state != Incomplete || len(els) > c.cfg.QueueFrames {
			t.Fatalf("%d frames wait for an entry that is %v", len(els), tb.slab[r].state)
		}
	}
	if bytes != c.queues.bytes || frames != c.queues.fifo.Len() || bytes > c.cfg.QueueTotal {
		t.Fatalf("%d bytes held, counted %d; %d frames, listed %d", bytes, c.queues.bytes, frames, c.queues.fifo.Len())
	}
}
