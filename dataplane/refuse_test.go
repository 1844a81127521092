package dataplane_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

// A VIP that only the director has answers where nobody wants a packet, as a host would.
func TestVIPRefusesAsAHost(t *testing.T) {
	g := newRig(t, 1)
	g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
	to := func(proto uint8, port uint16, flags uint8) packet.Spec {
		s := tcp(client, 41000, flags)
		s.Proto, s.DstPort = proto, port
		return s
	}
	closed := to(packet.TCP, 81, packet.SYN)
	closed.Seq = 7
	f := g.one(g.rx(0, 0, closed.Frame(), packet.Vnet{}), 0)
	if f.Flow.Src != vip || f.Flow.SrcPort != 81 || f.Flow.Dst != client || f.TCPFlags != packet.RST|packet.ACK || f.DstMAC() != hostMAC(0, client) {
		t.Errorf("SYN to a closed port: %+v, flags %#x", f.Flow, f.TCPFlags)
	}
	for _, c := range []struct {
		name       string
		frame      packet.Spec
		typ, code  uint8
		reason     dataplane.Reason
		spoil      bool
		unanswered bool
	}{
		{"UDP", to(packet.UDP, 53, 0), 3, 3, dataplane.NoService, false, false},
		{"UDP with a wrong checksum", to(packet.UDP, 53, 0), 0, 0, dataplane.NoService, true, true},
		{"a protocol nobody knows", to(89, 0, 0), 3, 2, dataplane.NotBalanced, false, false},
		{"GRE", to(packet.GRE, 0, 0), 0, 0, dataplane.NotBalanced, false, true},
		{"RST", to(packet.TCP, 81, packet.RST), 0, 0, dataplane.NoConnection, false, true},
	} {
		c.frame.Payload = []byte("payload!")
		b := c.frame.Frame()
		if c.spoil {
			b[len(b)-1] ^= 1
		}
		s := g.rx(0, 0, b, packet.Vnet{})
		if c.unanswered {
			if len(s) != 0 || g.v != dataplane.Pass || g.r != c.reason {
				t.Errorf("%s: %v, %v, %d frames sent", c.name, g.v, g.r, len(s))
			}
			continue
		}
		f := g.one(s, 0)
		typ, code := f.ICMPType()
		if g.v != dataplane.Taken || g.r != c.reason || f.Flow.Src != vip || typ != c.typ || code != c.code {
			t.Errorf("%s: %v, %v, answered by %v with %d/%d", c.name, g.v, g.r, f.Flow.Src, typ, code)
		}
	}
}

// withHost gives the rig a worker with a third port, which leads to the host, and puts
// the guard on the other two. The host has the VIP too, if it is to.
func (g *rig) withHost(vipThere bool) {
	g.env.HostPort = 2
	g.env.Ports = append(g.env.Ports, dataplane.PortEnv{Link: dataplane.Link{Name: "host", MTU: 1500}})
	for i := range 2 {
		g.env.Ports[i].Guarded = true
	}
	g.env.Routes = append(g.env.Routes, dataplane.Route{Dest: netip.MustParsePrefix("10.0.1.1/32"), Kind: dataplane.ToHost})
	if vipThere {
		g.env.Routes = append(g.env.Routes, dataplane.Route{Dest: netip.PrefixFrom(vip.Netip(), 32), Kind: dataplane.ToHost})
	}
	var qs []*pcap.Queue
	var dq []dataplane.Queue
	for i := range 3 {
		q := &pcap.Queue{L2: i < 2, Sink: func(b []byte, v packet.Vnet) { g.sent = append(g.sent, sent{i, bytes.Clone(b), v}) }}
		qs, dq = append(qs, q), append(dq, q)
	}
	w := g.plane.NewWorker(dq)
	g.workers, g.queues = []*dataplane.Worker{w}, [][]*pcap.Queue{qs}
	g.plane.SetEnvironment(g.env)
	g.plane.Publish()
}

// What the guard keeps from the host, and is not the director's after all, the host gets
// by the host port, once; what it has seen itself it does not get again.
func TestHostGetsWhatTheGuardKept(t *testing.T) {
	g := newRig(t, 1)
	g.withHost(true)
	g.serve(packet.TCP, 80, "rr", server(rs1, 8080, conf.NAT))
	mark := conf.ServiceKey{Fwmark: 7}
	marked := netip.MustParsePrefix("10.9.0.0/24")
	g.plane.SetMarks([]conf.Mark{{Proto: packet.TCP, Dest: []netip.Prefix{marked}, DestPorts: []conf.PortRange{{First: 80, Last: 89}}, Value: 7, Mask: ^uint32(0)}})
	if err := g.plane.AddService(conf.Service{Key: mark, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	if err := g.plane.AddServer(mark, server(rs2, 0, conf.NAT)); err != nil {
		t.Fatal(err)
	}
	g.plane.Publish()
	from := func(port int, src packet.Addr, sport uint16, dst packet.Addr, dport uint16) []byte {
		return packet.Spec{Flow: packet.Flow{Src: src, SrcPort: sport, Dst: dst, DstPort: dport, Proto: packet.TCP},
			TCPFlags: packet.ACK, TTL: 64, EthDst: dirMACs[port], EthSrc: hostMAC(port, src)}.Frame()
	}
	icmp := func(port int, src packet.Addr, q packet.Flow) []byte {
		q.Proto = packet.TCP
		quote := packet.Spec{Flow: q, TCPFlags: packet.ACK}.IP()
		return packet.Spec{Flow: packet.Flow{Src: src, Dst: q.Src, Proto: packet.ICMP}, ICMPType: 3, ICMPCode: 1, Payload: quote,
			EthDst: dirMACs[port], EthSrc: hostMAC(port, src)}.Frame()
	}
	pieces := func(sport uint16) (last []byte) { // its first half is given to the director here
		whole := packet.Spec{Flow: packet.Flow{Src: rs1, SrcPort: sport, Dst: client, DstPort: 9, Proto: packet.TCP}, TCPFlags: packet.ACK,
			Payload: make([]byte, 400), EthDst: dirMACs[1], EthSrc: hostMAC(1, rs1)}.Frame()
		cut := func(off, n int, flags byte) []byte {
			b := append(bytes.Clone(whole[:34]), whole[34+off:34+off+n]...)
			b[16], b[17], b[20], b[21], b[24], b[25] = 0, byte(20+n), flags, byte(off/8), 0, 0
			sum := ^packet.Fold(packet.Sum(b[14:34], 0))
			b[24], b[25] = byte(sum>>8), byte(sum)
			return b
		}
		g.rx(0, 1, cut(0, 200, 0x20), packet.Vnet{})
		return cut(200, 220, 0)
	}
	there, director := addr("10.9.0.3"), addr("10.0.1.1")
	for _, c := range []struct {
		name  string
		port  int
		frame []byte
		given bool
	}{
		{"ACK without a connection to the service", 0, from(0, client, 41000, vip, 80), true},
		{"to another port of the VIP", 0, from(0, client, 41000, vip, 81), false},
		{"ACK to a marked port", 0, from(0, client, 41000, there, 85), true},
		{"to a port that is not marked", 0, from(0, client, 41000, there, 90), false},
		{"from the NAT server's port", 1, from(1, rs1, 8080, client, 41000), true},
		{"from another port of it", 1, from(1, rs1, 8081, client, 41000), false},
		{"from the NAT server's port to the host", 1, from(1, rs1, 8080, director, 41000), false},
		{"from a marked port of the server without one", 1, from(1, rs2, 85, client, 41000), true},
		{"from another port of that", 1, from(1, rs2, 90, client, 41000), false},
		{"error about a packet to the NAT server", 1, icmp(1, rs1, packet.Flow{Src: client, SrcPort: 9, Dst: rs1, DstPort: 8080}), true},
		{"error about something else", 1, icmp(1, rs1, packet.Flow{Src: client, SrcPort: 9, Dst: rs1, DstPort: 8081}), false},
		{"error about an answer of the marked service", 0, icmp(0, client, packet.Flow{Src: there, SrcPort: 85, Dst: client, DstPort: 9}), true},
		{"fragments from another port of the NAT server", 1, pieces(8081), true}, // its later ones were kept
	} {
		s := g.rx(0, c.port, c.frame, packet.Vnet{})
		if g.v != dataplane.Pass {
			t.Errorf("%s: %v, %v, want pass", c.name, g.v, g.r)
		}
		switch {
		case !c.given && len(s) != 0:
			t.Errorf("%s: the host gets it twice", c.name)
		case c.given && (len(s) != 1 || s[0].port != 2):
			t.Errorf("%s: %d frames sent, want 1 to the host", c.name, len(s))
		case c.given && c.frame[21] == 0 && !bytes.Equal(s[0].frame, c.frame[14:]):
			t.Errorf("%s: the host gets %x, want it as it came", c.name, s[0].frame)
		}
	}
}
