package dataplane_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// The rule names the objects at stake, and tells apart what shares a reason.
func TestRuleNamesItsObjects(t *testing.T) {
	quiesced, full := server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT)
	quiesced.Weight, full.Upper = 0, 1
	gone := server(addr("198.18.0.9"), 80, conf.NAT)
	spent, long := tcp(client, 40000, packet.SYN), tcp(client, 40000, packet.SYN)
	spent.TTL, long.Payload = 1, make([]byte, 1480)
	elsewhere := tcp(client, 40000, packet.SYN)
	elsewhere.DstPort = 81
	ospf := packet.Spec{Flow: packet.Flow{Src: client, Dst: vip, Proto: 89}, Payload: make([]byte, 20), EthDst: dirMACs[0]}
	mine := tcp(addr("127.0.0.1"), 40000, packet.SYN)
	for _, c := range []struct {
		name      string
		scheduler string
		servers   []conf.Server
		before    []packet.Spec
		frame     packet.Spec
		want      string
	}{
		{"no server", "rr", nil, nil, tcp(client, 40000, packet.SYN), "tcp/10.0.1.100:80 has no server; the client is told port unreachable"},
		{"weight 0", "rr", []conf.Server{quiesced}, nil, tcp(client, 40000, packet.SYN), "all servers of tcp/10.0.1.100:80 have weight 0; "},
		{"overloaded", "rr", []conf.Server{quiesced, full}, []packet.Spec{tcp(client, 40001, packet.SYN)}, tcp(client, 40000, packet.SYN), "have weight 0 or are overloaded"},
		{"none", "none", []conf.Server{server(rs1, 80, conf.NAT)}, nil, tcp(client, 40000, packet.SYN), "scheduler none, which chooses no server"},
		{"nothing listens", "rr", nil, nil, elsewhere, "no virtual service listens on tcp/10.0.1.100:81"},
		{"ACK", "rr", nil, nil, tcp(client, 40000, packet.ACK), "only a SYN opens one of TCP (sysctl sloppy_tcp is off)"},
		{"RST", "rr", nil, nil, tcp(client, 40000, packet.RST), "a RST or ABORT opens none"},
		{"dead end", "rr", []conf.Server{gone}, nil, tcp(client, 40000, packet.SYN), "the route to 198.18.0.9:80 is a dead end"},
		{"TTL", "rr", []conf.Server{server(rs1, 8080, conf.NAT)}, nil, spent, "TTL 1 is spent on the way to 10.0.2.11:8080; the client is told time exceeded"},
		{"MTU", "rr", []conf.Server{server(rs1, 80, conf.DR)}, nil, long, "longer than the 1500 bytes of the way to 10.0.2.11:80, "},
		{"tunnel MTU", "rr", []conf.Server{server(rs1, 80, conf.Tunnel)}, nil, long, "longer than the 1480 bytes that the tunnel to 10.0.2.11:80 leaves"},
		{"ping elsewhere", "rr", nil, nil, packet.Spec{Flow: packet.Flow{Src: client, Dst: addr("10.0.1.1"), Proto: packet.ICMP}, ICMPType: 8, EthDst: dirMACs[0]}, "neither an error nor a ping"},
		{"refused", "rr", []conf.Server{server(rs1, 80, conf.NAT)}, nil, elsewhere, "no virtual service listens on tcp/10.0.1.100:81: refused as its host would"},
		{"protocol", "rr", nil, nil, ospf, "this is IP protocol 89"},
		{"martian", "rr", nil, nil, mine, "source address 127.0.0.1:40000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, 1)
			g.env.Routes = append(g.env.Routes, dataplane.Route{Dest: netip.PrefixFrom(gone.Addr, 32), Kind: dataplane.Unreachable})
			g.plane.SetEnvironment(g.env)
			g.serve(packet.TCP, 80, c.scheduler, c.servers...)
			for _, s := range c.before {
				g.rx(0, 0, s.Frame(), packet.Vnet{})
			}
			g.rx(0, 0, c.frame.Frame(), packet.Vnet{})
			if got := g.trace.Rule(g.r); !strings.Contains(got, c.want) {
				t.Errorf("%v, %v: %q, want %q in it", g.v, g.r, got, c.want)
			}
		})
	}
}

// An answer that goes no further names the server that sent it.
func TestRuleOfAnswer(t *testing.T) {
	g := newRig(t, 1)
	g.serve(packet.TCP, 80, "rr", server(rs1, 8080, conf.NAT))
	g.rx(0, 0, tcp(client, 40000, packet.SYN).Frame(), packet.Vnet{})
	spent := answer(rs1, 8080, client, 40000, packet.SYN|packet.ACK)
	spent.TTL = 1
	g.rx(0, 1, spent.Frame(), packet.Vnet{})
	if got, want := g.trace.Rule(g.r), "TTL 1 of the answer of 10.0.2.11:8080 is spent; the server is told time exceeded"; got != want {
		t.Errorf("%v: %q, want %q", g.r, got, want)
	}
}

// A hash that leads to a server of weight 0 is another rule than none of weight; and a SYN
// on an old connection says by which setting it became a new one.
func TestRuleOfHashAndReuse(t *testing.T) {
	g := newRig(t, 1)
	quiesced := server(rs2, 80, conf.NAT)
	k := g.serve(packet.TCP, 80, "sh", server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT))
	for c := range byte(60) {
		g.rx(0, 0, tcp(packet.AddrFrom4([4]byte{10, 0, 1, 2 + c}), 40000, packet.SYN).Frame(), packet.Vnet{})
	}
	quiesced.Weight = 0
	if err := g.plane.EditServer(k, quiesced); err != nil {
		t.Fatal(err)
	}
	hashed := 0
	for c := range byte(60) {
		from := packet.AddrFrom4([4]byte{10, 0, 1, 2 + c})
		g.rx(0, 0, tcp(from, 40000, packet.ACK).Frame(), packet.Vnet{}) // ESTABLISHED; in SYN_RECV a RST changes nothing
		g.rx(0, 0, tcp(from, 40000, packet.RST).Frame(), packet.Vnet{}) // CLOSE
		g.rx(0, 0, tcp(from, 40000, packet.SYN).Frame(), packet.Vnet{})
		if g.trace.Ended != "conn_reuse_mode" {
			t.Fatalf("ended by %q, %v", g.trace.Ended, g.r)
		}
		if g.r != dataplane.NoDestination {
			continue
		}
		hashed++
		want := "its older connection was ended (sysctl conn_reuse_mode), then: the server of tcp/10.0.1.100:80 that scheduler sh leads this packet to has weight 0"
		if got := g.trace.Rule(g.r); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if hashed == 0 {
		t.Error("no client was hashed to the server of weight 0")
	}
}
