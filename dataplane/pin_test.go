package dataplane_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// dip is an address of the director's own host: see withHost.
var dip = addr("10.0.1.1")

// pinRig is a rig whose host has a port, and a service with one quiesced server.
func pinRig(t *testing.T, method conf.Forward) (*rig, conf.ServiceKey) {
	g := newRig(t, 1)
	g.withHost(false)
	g.env.OwnPorts = conf.PortRange{First: 61000, Last: 61999}
	g.plane.SetEnvironment(g.env)
	s := server(rs1, 80, method)
	s.Weight = 0
	return g, g.serve(packet.TCP, 80, "rr", s)
}

func (g *rig) pin(k conf.ServiceKey, s conf.Server, sport uint16) dataplane.Pin {
	g.tb.Helper()
	p, err := g.plane.Pin(k, 80, &s, netip.AddrPortFrom(dip.Netip(), sport))
	if err != nil {
		g.tb.Fatal(err)
	}
	return p
}

// probe is a segment that the host sends into its port.
func (g *rig) probe(sport uint16, flags uint8) []sent {
	g.tb.Helper()
	return g.rx(0, 2, tcp(dip, sport, flags).Frame()[14:], packet.Vnet{})
}

// atHost is the only packet sent, one to the host.
func (g *rig) atHost(s []sent) packet.Flow {
	g.tb.Helper()
	if len(s) != 1 || s[0].port != 2 {
		g.tb.Fatalf("%d frames sent (verdict %v, reason %v), want 1 to the host", len(s), g.v, g.r)
	}
	return parse(g.tb, append(make([]byte, 12, 1600), append(ethType(s[0].frame), s[0].frame...)...)).Flow
}

func ethType(ip []byte) []byte {
	if ip[0]>>4 == 6 {
		return []byte{0x86, 0xdd}
	}
	return []byte{0x08, 0}
}

// A pinned connection goes to its server by the server's method, whether or not that is
// in the service, and the answer comes to the host as a client would get it.
func TestPin(t *testing.T) {
	toVIP := packet.Flow{Src: dip, SrcPort: 61000, Dst: vip, DstPort: 80, Proto: packet.TCP}
	fromVIP := packet.Flow{Src: vip, SrcPort: 80, Dst: dip, DstPort: 61000, Proto: packet.TCP}
	for _, c := range []struct {
		method conf.Forward
		reason dataplane.Reason
		there  packet.Flow // at the server
		back   packet.Flow // of the server's answer
	}{
		{conf.NAT, dataplane.ForwardNAT, packet.Flow{Src: dip, SrcPort: 61000, Dst: rs2, DstPort: 8080, Proto: packet.TCP},
			packet.Flow{Src: rs2, SrcPort: 8080, Dst: dip, DstPort: 61000, Proto: packet.TCP}},
		{conf.DR, dataplane.ForwardDR, toVIP, fromVIP},
		{conf.Tunnel, dataplane.ForwardTunnel, packet.Flow{Src: addr("10.0.2.1"), Dst: rs2, Proto: packet.IPIP}, fromVIP},
	} {
		t.Run(c.method.String(), func(t *testing.T) {
			g, k := pinRig(t, c.method)
			g.pin(k, server(rs2, 8080, c.method), 61000) // no server of the service
			f := g.one(g.probe(61000, packet.SYN), 1)
			if g.r != c.reason || f.Flow != c.there || f.DstMAC() != hostMAC(1, rs2) {
				t.Errorf("at the server: %v %+v to %x", g.r, f.Flow, f.DstMAC())
			}
			reply := answer(c.back.Src, c.back.SrcPort, dip, 61000, packet.SYN|packet.ACK)
			if got := g.atHost(g.rx(0, 1, reply.Frame(), packet.Vnet{})); got != fromVIP {
				t.Errorf("at the host: %+v", got)
			}
			g.one(g.probe(61000, packet.ACK), 1)
			// It is nobody's traffic.
			g.workers[0].HandOver()
			if st := g.plane.Services()[0]; st.Counter != (dataplane.Counter{}) || st.Servers[0].Active+st.Servers[0].Inactive != 0 || g.plane.Total().Counter != (dataplane.Counter{}) {
				t.Errorf("counted for the service: %+v, in all %+v", st, g.plane.Total())
			}
			// Another connection of the host is a client's: no server takes it.
			if g.probe(61001, packet.SYN); g.r != dataplane.NoDestination {
				t.Errorf("without a pin: %v", g.r)
			}
		})
	}
}

// The answer of a NAT server counts only by the port that leads there.
func TestPinAnswerByAnotherPort(t *testing.T) {
	g, k := pinRig(t, conf.NAT)
	g.pin(k, server(rs1, 80, conf.NAT), 61000)
	g.one(g.probe(61000, packet.SYN), 1)
	reply := answer(rs1, 80, dip, 61000, packet.SYN|packet.ACK)
	reply.EthDst = dirMACs[0]
	if s := g.rx(0, 0, reply.Frame(), packet.Vnet{}); len(s) != 0 || g.v != dataplane.Drop || g.r != dataplane.StrayAnswer {
		t.Errorf("%v %v, %d frames", g.v, g.r, len(s))
	}
}

// Errors come back as a client would see them: a server's, a DR server's, and the
// director's own about a server that it cannot reach.
func TestPinErrors(t *testing.T) {
	unreachable := func(g *rig, src packet.Addr, quoted packet.Spec) packet.Flow {
		e := packet.Spec{Flow: packet.Flow{Src: src, Dst: dip, Proto: packet.ICMP}, EthDst: dirMACs[1], EthSrc: hostMAC(1, rs1),
			ICMPType: 3, ICMPCode: 3, Payload: quoted.Frame()[14:]}
		return g.atHost(g.rx(0, 1, e.Frame(), packet.Vnet{}))
	}
	want := packet.Flow{Src: vip, Dst: dip, Proto: packet.ICMP}
	t.Run("nat", func(t *testing.T) {
		g, k := pinRig(t, conf.NAT)
		g.pin(k, server(rs1, 80, conf.NAT), 61000)
		g.probe(61000, packet.SYN)
		quote := tcp(dip, 61000, packet.SYN)
		quote.Dst = rs1
		if got := unreachable(g, rs1, quote); got != want {
			t.Errorf("%+v", got)
		}
	})
	t.Run("dr", func(t *testing.T) {
		g, k := pinRig(t, conf.DR)
		g.pin(k, server(rs1, 80, conf.DR), 61000)
		g.probe(61000, packet.SYN)
		if got := unreachable(g, vip, tcp(dip, 61000, packet.SYN)); got != want {
			t.Errorf("%+v", got)
		}
	})
	t.Run("no route", func(t *testing.T) {
		g, k := pinRig(t, conf.NAT)
		g.env.Routes = append([]dataplane.Route{{Dest: netip.MustParsePrefix("10.9.0.0/16"), Kind: dataplane.Unreachable}}, g.env.Routes...)
		g.plane.SetEnvironment(g.env)
		g.plane.Publish()
		g.pin(k, server(addr("10.9.0.1"), 80, conf.NAT), 61000)
		if got := g.atHost(g.probe(61000, packet.SYN)); got != want || g.r != dataplane.NoRoute {
			t.Errorf("%v %+v", g.r, got)
		}
	})
}

// A pin outlives every timer until Unpin, then its entry goes, and so does all that it
// took; meanwhile nobody else gets its ends.
func TestPinEnds(t *testing.T) {
	g, k := pinRig(t, conf.NAT)
	s := server(rs1, 80, conf.NAT)
	p := g.pin(k, s, 61000)
	if _, err := g.plane.Pin(k, 80, &s, netip.AddrPortFrom(dip.Netip(), 61000)); !errors.Is(err, dataplane.ErrPinned) {
		t.Errorf("pinned twice: %v", err)
	}
	// Another service with the same NAT server: the answers could not be told apart.
	other := conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 81}
	if _, err := g.plane.Pin(other, 81, &s, netip.AddrPortFrom(dip.Netip(), 61000)); !errors.Is(err, dataplane.ErrPinned) {
		t.Errorf("pinned twice by the server's end: %v", err)
	}
	step := func(d time.Duration) {
		for end := g.now + d; g.now < end; g.now += time.Second {
			g.plane.Housekeep()
			g.probe(61900, packet.ACK) // the worker's clock goes on
		}
	}
	step(10 * time.Minute)
	g.one(g.probe(61000, packet.SYN), 1)
	g.rx(0, 1, answer(rs1, 80, dip, 61000, packet.RST|packet.ACK).Frame(), packet.Vnet{})
	// A SYN sent again, though it looks like a new connection's, is not scheduled.
	if g.one(g.probe(61000, packet.SYN), 1); g.r != dataplane.ForwardNAT {
		t.Errorf("again: %v", g.r)
	}
	g.plane.Unpin(p)
	g.plane.Housekeep()
	g.one(g.probe(61000, packet.RST), 1) // the connection's last words are still forwarded
	step(5 * time.Second)
	g.plane.Conns().Advance(conntrack.TickOf(g.now), 0, 1) // the rig's other worker does not turn
	if n, pins := g.plane.Conns().Len(), g.plane.Pins(); n != 0 || pins != 0 {
		t.Errorf("%d entries and %d pins are left", n, pins)
	}
	g.pin(k, s, 61000)
}

// What cannot be pinned is said.
func TestPinRefuses(t *testing.T) {
	g, k := pinRig(t, conf.NAT)
	from := netip.AddrPortFrom(dip.Netip(), 61000)
	local, nat := server(rs1, 80, conf.Local), server(rs1, 80, conf.NAT)
	mark := conf.ServiceKey{Fwmark: 3}
	if _, err := g.plane.Pin(mark, 80, &nat, from); err == nil {
		t.Error("a fwmark service was pinned")
	}
	if _, err := g.plane.Pin(k, 80, &local, from); err == nil {
		t.Error("a local server was pinned")
	}
	if _, err := g.plane.Pin(k, 80, &nat, netip.MustParseAddrPort("[2001:db8::1]:61000")); err == nil {
		t.Error("an IPv4 service was pinned from IPv6")
	}
	full, err := dataplane.New(dataplane.Config{MaxConnections: 1, Clock: func() time.Duration { return time.Hour }})
	if err != nil {
		t.Fatal(err)
	}
	defer full.Conns().Close()
	if _, err := full.Pin(k, 80, &nat, from); err != nil {
		t.Error(err)
	}
	if _, err := full.Pin(k, 80, &nat, netip.AddrPortFrom(dip.Netip(), 61001)); !errors.Is(err, conntrack.ErrFull) {
		t.Errorf("in a full table: %v", err)
	}
}
