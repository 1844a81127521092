package host

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// lab is a host between two wires, a client's and a real server's, with a listener of
// its own on port 22 of both sides. Nobody balances anything: what comes out of a wire
// is the host's own doing.
type lab struct {
	t              testing.TB
	ns             string
	v6             bool
	client, server *wire
	hostMAC        [2]net.HardwareAddr // towards client, towards server
	fences         uint16
}

// at is an address of the lab: net 1 is the client's, 2 the real servers', the others
// are routed to the real servers' side.
func (l *lab) at(network, host int) netip.Addr {
	if l.v6 {
		return addr(fmt.Sprintf("2001:db8:7:%x::%x", network, host))
	}
	return addr(fmt.Sprintf("10.7.%d.%d", network, host))
}

func (l *lab) net(network int) netip.Prefix {
	if l.v6 {
		return netip.PrefixFrom(l.at(network, 0), 64)
	}
	return netip.PrefixFrom(l.at(network, 0), 24)
}

func newLab(t testing.TB, v6, forward bool) *lab {
	t.Helper()
	l := &lab{t: t, v6: v6, ns: newNS(t)}
	cns, sns := newNS(t), newNS(t)
	for _, w := range []struct{ peer, dev, ns string }{{"c0", "d0", cns}, {"s0", "d1", sns}} {
		ip(t, l.ns, "link add "+w.dev+" type veth peer name "+w.peer+" netns "+w.ns)
		ip(t, w.ns, "link set "+w.peer+" addrgenmode none")
		ip(t, l.ns, "link set "+w.dev+" addrgenmode none")
		ip(t, w.ns, "link set "+w.peer+" up")
		ip(t, l.ns, "link set "+w.dev+" up")
	}
	for _, w := range [][2]string{{l.ns, "d0"}, {l.ns, "d1"}, {cns, "c0"}, {sns, "s0"}} {
		awaitUp(t, w[0], w[1])
	}
	if v6 { // the kernel's local routes come a moment after the addresses (addrconf_dad_work)
		defer awaitLocal(t, l.ns, l.at(1, 1), l.at(2, 1))
	}
	on := "0"
	if forward {
		on = "1"
	}
	sysctl(t, l.ns, "ipv4/ip_forward", on)
	sysctl(t, l.ns, "ipv6/conf/all/forwarding", on)
	sysctl(t, l.ns, "ipv4/conf/all/rp_filter", "0")
	l.client, l.server = openWire(t, cns, "c0"), openWire(t, sns, "s0")
	bits := 24
	suffix := ""
	if v6 {
		bits, suffix = 64, " nodad"
	}
	for i, dev := range []string{"d0", "d1"} {
		ip(t, l.ns, fmt.Sprintf("addr add %v/%d dev %s%s", l.at(i+1, 1), bits, dev, suffix))
		mac := []*wire{l.client, l.server}[i].mac
		for host := 2; host < 5; host++ {
			ip(t, l.ns, fmt.Sprintf("neigh add %v lladdr %v dev %s nud permanent", l.at(i+1, host), mac, dev))
		}
	}
	for _, network := range []int{8, 9} {
		ip(t, l.ns, fmt.Sprintf("route add %v via %v", l.net(network), l.at(2, 2)))
	}
	in(t, l.ns, func() {
		for i, dev := range []string{"d0", "d1"} {
			nic, err := net.InterfaceByName(dev)
			if err != nil {
				t.Error(err)
				return
			}
			l.hostMAC[i] = nic.HardwareAddr
			ln, err := net.Listen("tcp", net.JoinHostPort(l.at(i+1, 1).String(), "22"))
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { ln.Close() })
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return l
}

func (l *lab) side(w *wire) int {
	if w == l.server {
		return 1
	}
	return 0
}

// frame is an Ethernet frame from a wire's end to the host.
func (l *lab) frame(w *wire, src, dst netip.Addr, proto layers.IPProtocol, payload ...gopacket.SerializableLayer) []byte {
	eth := &layers.Ethernet{SrcMAC: w.mac, DstMAC: l.hostMAC[l.side(w)], EthernetType: layers.EthernetTypeIPv4}
	if l.v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	return serialize(l.t, append([]gopacket.SerializableLayer{eth}, l.ip(src, dst, proto, payload...)...)...)
}

func (l *lab) ip(src, dst netip.Addr, proto layers.IPProtocol, payload ...gopacket.SerializableLayer) []gopacket.SerializableLayer {
	var header gopacket.SerializableLayer
	if l.v6 {
		header = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	} else {
		header = &layers.IPv4{Version: 4, TTL: 64, Id: 7, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	for _, p := range payload {
		if n, ok := p.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := n.SetNetworkLayerForChecksum(header.(gopacket.NetworkLayer)); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	return append([]gopacket.SerializableLayer{header}, payload...)
}

func (l *lab) tcp(w *wire, src netip.Addr, sport uint16, dst netip.Addr, dport uint16, ack bool) []byte {
	return l.frame(w, src, dst, layers.IPProtocolTCP, &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), SYN: true, ACK: ack, Seq: 1, Window: 1000})
}

func (l *lab) udp(w *wire, src netip.Addr, sport uint16, dst netip.Addr, dport uint16) []byte {
	return l.frame(w, src, dst, layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}, gopacket.Payload("hello"))
}

// esp is an ESP packet: SPI, sequence number, something.
func (l *lab) esp(w *wire, src, dst netip.Addr) []byte {
	return l.frame(w, src, dst, layers.IPProtocolESP, gopacket.Payload{0x80, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8})
}

// later is a fragment after the first, at offset 1480.
func (l *lab) later(w *wire, src, dst netip.Addr, proto layers.IPProtocol) []byte {
	body := gopacket.Payload(make([]byte, 64))
	if l.v6 {
		frag := gopacket.Payload{byte(proto), 0, 1480 >> 8, 1480 & 0xf8, 0, 0, 0, 9}
		return l.frame(w, src, dst, layers.IPProtocolIPv6Fragment, frag, body)
	}
	f := l.frame(w, src, dst, proto, body)
	f[14+6], f[14+7] = 1480/8>>8, 1480/8&0xff
	f[14+10], f[14+11] = 0, 0
	var sum uint32 // RFC 1071
	for i := 14; i < 34; i += 2 {
		sum += uint32(f[i])<<8 | uint32(f[i+1])
	}
	sum = ^(sum&0xffff + sum>>16)
	f[14+10], f[14+11] = byte(sum>>8), byte(sum)
	return f
}

// unreachable is an ICMP error that quotes a TCP packet.
func (l *lab) unreachable(w *wire, src, dst, qsrc netip.Addr, qsport uint16, qdst netip.Addr, qdport uint16) []byte {
	quote := serialize(l.t, l.ip(qsrc, qdst, layers.IPProtocolTCP, &layers.TCP{SrcPort: layers.TCPPort(qsport), DstPort: layers.TCPPort(qdport), ACK: true})...)
	if l.v6 {
		return l.frame(w, src, dst, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}, gopacket.Payload(append(make([]byte, 4), quote...)))
	}
	return l.frame(w, src, dst, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, gopacket.Payload(quote))
}

func (l *lab) echo(w *wire, src, dst netip.Addr) []byte {
	if l.v6 {
		return l.frame(w, src, dst, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}, gopacket.Payload{0, 1, 0, 1})
	}
	return l.frame(w, src, dst, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 1, Seq: 1})
}

// reaction sends a frame and returns all that the host put on either wire because of it:
// the host works frames off in order, so when it has answered a SYN to its own listener,
// first on the same wire and then on the other, nothing more can come.
func (l *lab) reaction(w *wire, frame []byte) (out []gopacket.Packet) {
	l.t.Helper()
	w.send(frame)
	other := l.client
	if w == l.client {
		other = l.server
	}
	for _, x := range []*wire{w, other} {
		l.fences++
		side, port := l.side(x), 50000+l.fences
		x.send(l.tcp(x, l.at(side+1, 3), port, l.at(side+1, 1), 22, false))
		for _, p := range x.until(func(p gopacket.Packet) bool {
			tcp, ok := p.TransportLayer().(*layers.TCP)
			return ok && tcp.SrcPort == 22 && tcp.DstPort == layers.TCPPort(port) && tcp.SYN && tcp.ACK
		}) {
			if tcp, ok := p.TransportLayer().(*layers.TCP); ok && tcp.SrcPort == 22 {
				continue // an earlier fence's SYN-ACK, sent again
			}
			if p.NetworkLayer() != nil && !isNDP(p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// isNDP reports neighbour discovery and multicast listener reports, which are not
// reactions to our frames.
func isNDP(p gopacket.Packet) bool {
	if i, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		return i.TypeCode.Type() >= 130
	}
	ip6, ok := p.NetworkLayer().(*layers.IPv6)
	return ok && ip6.NextHeader == layers.IPProtocolIPv6HopByHop
}

// labRules: a VIP with a NAT server, a service on the host's own address, and a marked
// network whose fwmark service has a NAT server that keeps ports, less one host of it.
func (l *lab) rules() Rules {
	full := uint32(0xffffffff)
	return Rules{
		Services: []conf.Service{
			{Key: conf.ServiceKey{Proto: packet.TCP, Addr: l.at(9, 1), Port: 80}, Servers: []conf.Server{
				{Addr: l.at(2, 2), Port: 8080, Forward: conf.NAT},
				{Addr: l.at(2, 4), Port: 8080, Forward: conf.DR},
			}},
			{Key: conf.ServiceKey{Proto: packet.TCP, Addr: l.at(1, 1), Port: 80}},
			{Key: conf.ServiceKey{Fwmark: 3, V6: l.v6}, Servers: []conf.Server{{Addr: l.at(2, 3), Forward: conf.NAT}}},
			{Key: conf.ServiceKey{Proto: packet.UDP, Addr: l.at(9, 7), Port: 500}, Servers: []conf.Server{{Addr: l.at(2, 4), Port: 500, Forward: conf.NAT}}},
			{Key: conf.ServiceKey{Proto: packet.UDP, Addr: l.at(2, 1), Port: 500}},
		},
		Marks: []conf.Mark{
			{V6: l.v6, Proto: packet.TCP, Dest: []netip.Prefix{l.net(8)}, DestPorts: []conf.PortRange{{First: 1000, Last: 2999}}, Value: 3, Mask: full},
			{V6: l.v6, Dest: []netip.Prefix{netip.PrefixFrom(l.at(8, 9), l.at(8, 9).BitLen())}, Value: 0, Mask: full},
			{V6: l.v6, Proto: packet.TCP, Dest: []netip.Prefix{l.net(8)}, DestPorts: []conf.PortRange{{First: 5000, Last: 5000}}, Value: 77, Mask: full},
		},
		LocalPorts: conf.PortRange{First: 61000, Last: 65000},
	}
}

type guardCase struct {
	what    string
	wire    *wire
	frame   []byte
	counter string // "": the host gets it
	quiet   bool   // the host would not react even without a guard
}

func (l *lab) cases() []guardCase {
	c, s := l.client, l.server
	client, host, host2 := l.at(1, 2), l.at(1, 1), l.at(2, 1)
	vip, marked, unmarked := l.at(9, 1), l.at(8, 5), l.at(8, 9)
	rs, rsAny := l.at(2, 2), l.at(2, 3)
	return []guardCase{
		{"SYN to the VIP", c, l.tcp(c, client, 4000, vip, 80, false), countVIP, false},
		{"SYN to another port of the VIP", c, l.tcp(c, client, 4000, vip, 81, false), countVIP, false},
		{"UDP to the VIP", c, l.udp(c, client, 4000, vip, 80), countVIP, false},
		{"ping to the VIP", c, l.echo(c, client, vip), countVIP, false},
		{"later fragment to the VIP", c, l.later(c, client, vip, layers.IPProtocolUDP), countVIP, false},
		{"ICMP error to the VIP", c, l.unreachable(c, client, vip, vip, 80, client, 4000), countVIP, false},
		{"SYN to a neighbour of the VIP", c, l.tcp(c, client, 4000, l.at(9, 2), 80, false), "", false},

		{"SYN to a service on the host's address", c, l.tcp(c, client, 4000, host, 80, false), countVIP, false},
		{"SYN to another port of that address", c, l.tcp(c, client, 4000, host, 81, false), "", false},
		{"SYN to the host's listener", c, l.tcp(c, client, 4001, host, 22, false), "", true}, // seen by the fences
		{"ping to the host", c, l.echo(c, client, host), "", false},

		{"SYN to a marked port", c, l.tcp(c, client, 4000, marked, 2999, false), countMark, false},
		{"SYN to the first marked port", c, l.tcp(c, client, 4000, marked, 1000, false), countMark, false},
		{"SYN below the marked ports", c, l.tcp(c, client, 4000, marked, 999, false), "", false},
		{"SYN beyond the marked ports", c, l.tcp(c, client, 4000, marked, 3000, false), "", false},
		{"UDP to a marked TCP port", c, l.udp(c, client, 4000, marked, 2000), "", false},
		{"SYN to a host whose mark a later rule takes back", c, l.tcp(c, client, 4000, unmarked, 2000, false), "", false},
		{"SYN to a port whose mark has no service", c, l.tcp(c, client, 4000, marked, 5000, false), "", false},
		{"later fragment to a marked host", c, l.later(c, client, marked, layers.IPProtocolTCP), countFragment, false},
		{"later fragment, other protocol", c, l.later(c, client, marked, layers.IPProtocolUDP), "", false},
		{"ICMP error about an answer of a marked service", c, l.unreachable(c, client, marked, marked, 2000, client, 4000), countICMP, false},
		{"ICMP error about something else", c, l.unreachable(c, client, marked, marked, 3000, client, 4000), "", false},

		{"answer of the NAT server", s, l.tcp(s, rs, 8080, client, 4000, true), countReply, false},
		{"other port of the NAT server", s, l.tcp(s, rs, 8081, client, 4000, true), "", false},
		{"other protocol of the NAT server", s, l.udp(s, rs, 8080, client, 4000), "", false},
		{"the NAT server's ping", s, l.echo(s, rs, client), "", false},
		{"the DR server's traffic", s, l.tcp(s, l.at(2, 4), 8080, client, 4000, true), "", false},
		{"answer to a health check of the host", s, l.tcp(s, rs, 8080, host2, 40000, true), "", false},
		{"answer to the host's other address", s, l.tcp(s, rs, 8080, host, 40000, true), "", false},
		{"answer to a local port of the director", s, l.tcp(s, rs, 8080, host2, 61000, true), countReply, false},
		{"the service's answer to a local port", s, l.tcp(s, vip, 80, host2, 61000, true), countReply, false},
		{"the service's answer below the local ports", s, l.tcp(s, vip, 80, host2, 60999, true), "", false},
		{"the service's answer beyond the local ports", s, l.tcp(s, vip, 80, host2, 65001, true), "", false},
		{"the VIP's other port to a local port", s, l.tcp(s, vip, 81, host2, 61000, true), "", false},
		{"ICMP error about a connection from a local port", s, l.unreachable(s, rs, host2, host2, 61000, rs, 8080), countICMP, true},
		{"ICMP error about one to the service", s, l.unreachable(s, rs, host2, host2, 61000, vip, 80), countICMP, true},
		{"ICMP error about a connection from another port", s, l.unreachable(s, rs, host2, host2, 60000, vip, 80), "", true},
		{"the service's answer to a client behind the host", s, l.tcp(s, vip, 80, client, 61000, true), "", false},
		{"later fragment of an answer", s, l.later(s, rs, client, layers.IPProtocolTCP), countFragment, false},
		{"later fragment of the server's UDP", s, l.later(s, rs, client, layers.IPProtocolUDP), "", false},
		{"later fragment of an answer to the host", s, l.later(s, rs, host2, layers.IPProtocolTCP), "", true},
		{"ICMP error of the server about a request", s, l.unreachable(s, rs, client, client, 4000, rs, 8080), countICMP, false},
		{"ICMP error of a router about a request", s, l.unreachable(s, l.at(2, 4), client, client, 4000, rs, 8080), countICMP, false},
		{"ICMP error of the server about something else", s, l.unreachable(s, rs, client, client, 4000, rs, 8081), "", false},
		{"answer of the IKE server", s, l.udp(s, l.at(2, 4), 500, client, 500), countReply, false},
		{"ESP of the IKE server", s, l.esp(s, l.at(2, 4), client), countReply, false},
		{"ESP of another server", s, l.esp(s, rs, client), "", false},
		{"ESP to the host's address with IKE", c, l.esp(c, client, host2), countVIP, false},
		{"ESP to the host's other address", c, l.esp(c, client, host), "", false},
		{"answer of the fwmark service's NAT server", s, l.tcp(s, rsAny, 1500, client, 4000, true), countReply, false},
		{"traffic of that server from a port not marked", s, l.tcp(s, rsAny, 3500, client, 4000, true), "", false},
		{"UDP of that server from a port marked for TCP", s, l.udp(s, rsAny, 1500, client, 4000), "", false},
		{"ICMP error about a request to that server", s, l.unreachable(s, rsAny, client, client, 4000, rsAny, 1500), countICMP, false},
	}
}

func (s Stats) byName() map[string]uint64 {
	return map[string]uint64{countVIP: s.VIP.Frames, countMark: s.Mark.Frames, countReply: s.Reply.Frames,
		countFragment: s.Fragment.Frames, countICMP: s.ICMP.Frames}
}

// pin keeps the test's sends on one CPU: veth queues to the sender's, in order.
func pin(t testing.TB) {
	runtime.LockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if old.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.SchedSetaffinity(0, &old)
		runtime.UnlockOSThread()
	})
}

// The guard drops what is the director's and only that, for both families, whether the
// host forwards or not, and with the host's addresses known by fib or by sets.
func TestGuardKeepsTheHostOffBalancedFramesOnly(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, forward := range []bool{true, false} {
			for _, noFib := range []bool{false, true} {
				t.Run(fmt.Sprintf("v6=%v/forward=%v/noFib=%v", v6, forward, noFib), func(t *testing.T) {
					pin(t)
					l := newLab(t, v6, forward)
					cases := l.cases()
					if forward && !noFib { // the scene itself: without a guard the host meddles
						for _, c := range cases {
							if got := l.reaction(c.wire, c.frame); len(got) == 0 && !c.quiet {
								t.Errorf("%s: no reaction of the host without a guard; the case proves nothing", c.what)
							}
						}
					}
					g := NewGuard("lab")
					g.noFib = noFib
					in(t, l.ns, func() {
						if err := g.Install([]string{"d0", "d1"}, l.rules()); err != nil {
							t.Error(err)
						}
					})
					for _, c := range cases {
						before := stats(t, l.ns, g)
						got := l.reaction(c.wire, c.frame)
						after := stats(t, l.ns, g)
						for name := range after {
							want := before[name]
							if name == c.counter {
								want++
							}
							if after[name] != want {
								t.Errorf("%s: counter %s went from %d to %d", c.what, name, before[name], after[name])
							}
						}
						if c.counter != "" && len(got) != 0 {
							t.Errorf("%s: the host reacted: %v", c.what, got)
						}
						if c.counter == "" && len(got) == 0 && forward && !c.quiet {
							t.Errorf("%s: the host did not get it", c.what)
						}
					}
					in(t, l.ns, func() {
						if err := g.Remove(); err != nil {
							t.Error(err)
						}
					})
					if left := nft(t, l.ns, "list ruleset"); left != "" {
						t.Errorf("after Remove: %s", left)
					}
				})
			}
		}
	}
}

func stats(t testing.TB, ns string, g *Guard) (m map[string]uint64) {
	t.Helper()
	in(t, ns, func() {
		s, err := g.Stats()
		if err != nil {
			t.Error(err)
		}
		m = s.byName()
	})
	return m
}
