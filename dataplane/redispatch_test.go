package dataplane_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// again is a service whose servers' refusals are kept from clients so often. Its scheduler
// would always choose the server that was added last.
func again(g *rig, redispatch int, persistent bool, servers ...conf.Server) conf.ServiceKey {
	s := conf.Service{Key: conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 80}, Scheduler: "fo", Redispatch: redispatch}
	if persistent {
		s.Persistence.Timeout = time.Minute
	}
	return g.add(s, servers...)
}

// refusal is how a host answers a SYN to a port where nobody listens.
func refusal(from packet.Addr, sport uint16) []byte {
	return answer(from, 80, client, sport, packet.RST|packet.ACK).Frame()
}

// The client's SYNs come at 0, 1, 3, 7 and 15 seconds. As often as the service allows it
// hears nothing and the next server is asked; then it is told.
func TestRefusalsAreWithheld(t *testing.T) {
	for _, c := range []struct {
		name       string
		redispatch int
		persistent bool
		want       string // by SYN: the server asked, and W where its refusal is withheld
	}{
		{"as IPVS does", 0, false, "2"},
		{"once", 1, false, "2W 1"},
		{"three times, and no other than two servers", 3, false, "2W 1W 2W 1"},
		{"sticky clients move", 2, true, "2W 1W 2"},
	} {
		g := newRig(t, 1)
		again(g, c.redispatch, c.persistent, server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT))
		var got []string
		for try := range 5 {
			to := g.one(g.rx(0, 0, tcp(client, 4000, packet.SYN).Frame(), packet.Vnet{}), 1).Flow.Dst
			step := string('0' + to[15]%10)
			if out := g.rx(0, 1, refusal(to, 4000), packet.Vnet{}); len(out) > 0 {
				if f := g.one(out, 0); f.Flow.Dst != client || f.Flow.Src != vip || f.TCPFlags&packet.RST == 0 {
					t.Errorf("%s: the client got %+v", c.name, f.Flow)
				}
				got = append(got, step)
				break
			}
			if g.v != dataplane.Drop || g.r != dataplane.RefusalWithheld {
				t.Errorf("%s: ended with %v %v", c.name, g.v, g.r)
			}
			got = append(got, step+"W")
			g.now += time.Second << try
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

// A client whose second server answers has one connection, of that server alone.
func TestRedispatchedConnection(t *testing.T) {
	g := newRig(t, 1)
	k := again(g, 3, false, server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT))
	g.rx(0, 0, tcp(client, 4000, packet.SYN).Frame(), packet.Vnet{})
	g.rx(0, 1, refusal(rs2, 4000), packet.Vnet{})
	g.now += time.Second
	if to := g.one(g.rx(0, 0, tcp(client, 4000, packet.SYN).Frame(), packet.Vnet{}), 1).Flow.Dst; to != rs1 {
		t.Fatalf("asked %v", to)
	}
	if want := "its server refused the connection before (redispatch), then: "; !strings.HasPrefix(g.trace.Rule(g.r), want) || g.trace.Ended != "redispatch" {
		t.Errorf("%q (%s), want %q", g.trace.Rule(g.r), g.trace.Ended, want)
	}
	for _, flags := range []uint8{packet.SYN | packet.ACK, packet.ACK} {
		if f := g.one(g.rx(0, 1, answer(rs1, 80, client, 4000, flags).Frame(), packet.Vnet{}), 0); f.Flow.Src != vip || f.TCPFlags != flags {
			t.Errorf("the client got %+v", f.Flow)
		}
		g.rx(0, 0, tcp(client, 4000, packet.ACK).Frame(), packet.Vnet{})
	}
	// A reset of a connection that was answered is the client's to know.
	if f := g.one(g.rx(0, 1, answer(rs1, 80, client, 4000, packet.RST|packet.ACK).Frame(), packet.Vnet{}), 0); f.TCPFlags&packet.RST == 0 {
		t.Errorf("the client got %+v", f.Flow)
	}
	g.now += 9 * time.Second                                         // the refused one is over, the one that was reset not yet
	g.rx(0, 0, tcp(client, 4001, packet.SYN).Frame(), packet.Vnet{}) // lets time pass in the table
	g.workers[0].HandOver()
	for server, want := range map[packet.Addr]int{rs1: 1, rs2: 1} {
		if n := g.plane.Bound(k, &conf.ServerID{Addr: server.Netip(), Port: 80}); n != want {
			t.Errorf("%v has %d connections, want %d", server.Netip(), n, want)
		}
	}
}

// What is no refusal goes to the client: a RST of a server that had accepted, which goes on
// from its own sequence number, and one without an acknowledgment.
func TestOtherResetsPass(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*packet.Spec)
		want   bool
	}{
		{"a refusal", func(*packet.Spec) {}, true},
		{"after SYN-ACK", func(s *packet.Spec) { s.Seq = 7 }, false},
		{"no acknowledgment", func(s *packet.Spec) { s.TCPFlags = packet.RST }, false},
	} {
		g := newRig(t, 1)
		again(g, 3, false, server(rs1, 80, conf.NAT))
		g.rx(0, 0, tcp(client, 4000, packet.SYN).Frame(), packet.Vnet{})
		s := answer(rs1, 80, client, 4000, packet.RST|packet.ACK)
		c.change(&s)
		if out := g.rx(0, 1, s.Frame(), packet.Vnet{}); (len(out) == 0) != c.want {
			t.Errorf("%s: withheld %v (%v)", c.name, len(out) == 0, g.r)
		}
	}
}

// With one server alone it is asked again; and when it is taken out meanwhile, the client
// is told.
func TestRedispatchWithoutAnother(t *testing.T) {
	g := newRig(t, 1)
	only := server(rs1, 80, conf.NAT)
	k := again(g, 3, false, only)
	g.rx(0, 0, tcp(client, 4000, packet.SYN).Frame(), packet.Vnet{})
	g.rx(0, 1, refusal(rs1, 4000), packet.Vnet{})
	g.now += time.Second
	if to := g.one(g.rx(0, 0, tcp(client, 4000, packet.SYN).Frame(), packet.Vnet{}), 1).Flow.Dst; to != rs1 {
		t.Errorf("asked %v", to)
	}
	g.rx(0, 1, refusal(rs1, 4000), packet.Vnet{})
	only.Weight = 0
	if err := g.plane.EditServer(k, only); err != nil {
		t.Fatal(err)
	}
	g.now += 2 * time.Second
	if f := g.one(g.rx(0, 0, tcp(client, 4000, packet.SYN).Frame(), packet.Vnet{}), 0); f.Flow.Proto != packet.ICMP || g.r != dataplane.NoDestination {
		t.Errorf("%v, and the client got %+v", g.r, f.Flow)
	}
}

// Two SYNs reach a server before its first refusal: neither refusal is told, nor one that
// comes when the client has gone on to another server. What the server accepts after all is
// a connection like any other.
func TestSecondRefusalAndSecondThoughts(t *testing.T) {
	syn, ack := tcp(client, 4000, packet.SYN).Frame(), tcp(client, 4000, packet.ACK).Frame()
	twice := func(t *testing.T) *rig {
		g := newRig(t, 1)
		again(g, 1, false, server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT))
		g.rx(0, 0, syn, packet.Vnet{})
		g.rx(0, 0, syn, packet.Vnet{})
		if out := g.rx(0, 1, refusal(rs2, 4000), packet.Vnet{}); len(out) > 0 {
			t.Fatalf("the first refusal was told (%v)", g.r)
		}
		return g
	}
	g := twice(t)
	if out := g.rx(0, 1, refusal(rs2, 4000), packet.Vnet{}); len(out) > 0 || g.r != dataplane.RefusalWithheld {
		t.Errorf("the second refusal was told (%v)", g.r)
	}
	of := []dataplane.ServerOf{{Service: conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 80}, Server: conf.ServerID{Addr: rs2.Netip(), Port: 80}}}
	if n := g.plane.Signs(of, 2*time.Second)[0].Refused; n != 1 {
		t.Errorf("%d refusals of one connection", n)
	}
	g.now += time.Second
	g.rx(0, 0, syn, packet.Vnet{})
	if out := g.rx(0, 1, refusal(rs2, 4000), packet.Vnet{}); len(out) > 0 && g.one(out, 0).Flow.Dst == client {
		t.Errorf("a late refusal was told (%v)", g.r)
	}

	g = twice(t)
	g.rx(0, 1, answer(rs2, 80, client, 4000, packet.SYN|packet.ACK).Frame(), packet.Vnet{})
	g.rx(0, 0, ack, packet.Vnet{})
	if to := g.one(g.rx(0, 0, syn, packet.Vnet{}), 1).Flow.Dst; to != rs2 {
		t.Errorf("a late SYN of an accepted connection went to %v", to.Netip())
	}
}

// A hash that leads to the server which refused, and was taken out meanwhile, is no reason to
// send the client away.
func TestRedispatchPastAHash(t *testing.T) {
	for _, scheduler := range []string{"sh", "dh", "mh"} {
		g := newRig(t, 1)
		k := g.add(conf.Service{Key: conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 80}, Scheduler: scheduler, Redispatch: 1},
			server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT))
		first := g.one(g.rx(0, 0, tcp(client, 4000, packet.SYN).Frame(), packet.Vnet{}), 1).Flow.Dst
		g.rx(0, 1, refusal(first, 4000), packet.Vnet{})
		out := server(first, 80, conf.NAT)
		out.Weight = 0
		if err := g.plane.EditServer(k, out); err != nil {
			t.Fatal(err)
		}
		g.now += time.Second
		if to := g.one(g.rx(0, 0, tcp(client, 4000, packet.SYN).Frame(), packet.Vnet{}), 1).Flow; to.Dst == first || to.Proto != packet.TCP {
			t.Errorf("%s: %v, then %v (%v)", scheduler, first.Netip(), to.Dst.Netip(), g.r)
		}
	}
}

// An FTP server may refuse a data connection that it has asked for: the client's session is
// with it all the same.
func TestRefusedDataConnection(t *testing.T) {
	g := newRig(t, 1)
	k := conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 21}
	g.add(conf.Service{Key: k, Scheduler: "fo", Redispatch: 3, Persistence: conf.Persistence{Timeout: time.Minute}},
		server(rs1, 21, conf.NAT), server(rs2, 21, conf.NAT))
	from := func(sport, dport uint16, flags uint8, text string, seq, ack uint32) []sent {
		s := tcp(client, sport, flags)
		s.Flow.DstPort, s.Payload, s.Seq, s.Ack = dport, []byte(text), seq, ack
		return g.rx(0, 0, s.Frame(), packet.Vnet{})
	}
	back := func(sport, dport uint16, flags uint8, text string, seq, ack uint32) []sent {
		s := answer(rs2, sport, client, dport, flags)
		s.Payload, s.Seq, s.Ack = []byte(text), seq, ack
		return g.rx(0, 1, s.Frame(), packet.Vnet{})
	}
	const data = 156*256 + 64
	from(4000, 21, packet.SYN, "", 100, 0)
	back(21, 4000, packet.SYN|packet.ACK, "", 500, 101)
	from(4000, 21, packet.ACK, "", 101, 501)
	from(4000, 21, packet.ACK, "PASV\r\n", 101, 501)
	back(21, 4000, packet.ACK, "227 Entering Passive Mode (10,0,2,12,156,64).\r\n", 501, 107)
	if to := g.one(from(4001, data, packet.SYN, "", 900, 0), 1).Flow; to.Dst != rs2 || to.DstPort != data {
		t.Fatalf("the data connection goes to %v port %d", to.Dst.Netip(), to.DstPort)
	}
	if out := back(data, 4001, packet.RST|packet.ACK, "", 0, 901); len(out) != 1 || g.one(out, 0).Flow.Src != vip {
		t.Errorf("the client was not told: %v", g.r)
	}
	if to := g.one(from(4002, 21, packet.SYN, "", 100, 0), 1).Flow.Dst; to != rs2 {
		t.Errorf("the client's next session is with %v", to.Netip())
	}
}

// Passive signs have every refusal once, told or not, and none of a server that has the
// connections which another refused.
func TestSignsOfWithheldRefusals(t *testing.T) {
	for _, c := range []struct {
		redispatch int
		servers    []conf.Server
		refused    map[packet.Addr]int // in all, of 40 clients
	}{
		{0, []conf.Server{server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT)}, map[packet.Addr]int{rs1: 0, rs2: 40}},
		{3, []conf.Server{server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT)}, map[packet.Addr]int{rs1: 0, rs2: 40}},
		{1, []conf.Server{server(rs2, 80, conf.NAT)}, map[packet.Addr]int{rs2: 80}}, // each asks twice
	} {
		g := newRig(t, 1)
		k := again(g, c.redispatch, false, c.servers...)
		var of []dataplane.ServerOf
		for i := range c.servers {
			of = append(of, dataplane.ServerOf{Service: k, Server: c.servers[i].ID()})
		}
		refused, unanswered := map[packet.Addr]int{}, 0
		open := func(sport uint16) {
			if to := g.one(g.rx(0, 0, tcp(client, sport, packet.SYN).Frame(), packet.Vnet{}), 1).Flow.Dst; to == rs2 {
				g.rx(0, 1, refusal(rs2, sport), packet.Vnet{})
			} else {
				g.rx(0, 1, answer(rs1, 80, client, sport, packet.SYN|packet.ACK).Frame(), packet.Vnet{})
			}
		}
		look := func() {
			for i, s := range g.plane.Signs(of, 2*time.Second) {
				refused[packet.AddrFrom(of[i].Server.Addr)] += s.Refused
				unanswered += s.Unanswered
			}
		}
		for tick := range uint16(60) { // of 0.1 s
			if tick < 40 {
				open(4000 + tick)
			}
			if c.redispatch > 0 && tick >= 10 && tick < 50 {
				open(4000 + tick - 10) // the second SYN, one second later
			}
			if tick%20 == 19 {
				look()
			}
			g.now += 100 * time.Millisecond
		}
		for a, want := range c.refused {
			if refused[a] != want {
				t.Errorf("redispatch %d, %d servers: %d refusals of %v, want %d", c.redispatch, len(c.servers), refused[a], a.Netip(), want)
			}
		}
		if unanswered > 0 {
			t.Errorf("redispatch %d, %d servers: %d unanswered", c.redispatch, len(c.servers), unanswered)
		}
	}
}

// A mark gathers ports, each of which the service is meant to serve while nothing sticks
// clients to one server: a refusal at any of them is another server's chance.
func TestRedispatchOfAMark(t *testing.T) {
	g := newRig(t, 1)
	g.plane.SetMarks([]conf.Mark{{Proto: packet.TCP, DestPorts: []conf.PortRange{{First: 80, Last: 81}}, Value: 7, Mask: 1<<32 - 1}})
	g.add(conf.Service{Key: conf.ServiceKey{Fwmark: 7}, Scheduler: "fo", Redispatch: 1}, server(rs1, 0, conf.NAT), server(rs2, 0, conf.NAT))
	syn := tcp(client, 4000, packet.SYN)
	syn.Flow.DstPort = 81
	first := g.one(g.rx(0, 0, syn.Frame(), packet.Vnet{}), 1).Flow
	g.rx(0, 1, answer(first.Dst, 81, client, 4000, packet.RST|packet.ACK).Frame(), packet.Vnet{})
	if g.r != dataplane.RefusalWithheld {
		t.Errorf("the refusal ended with %v", g.r)
	}
	g.now += time.Second
	if second := g.one(g.rx(0, 0, syn.Frame(), packet.Vnet{}), 1).Flow; second.Dst == first.Dst || second.DstPort != 81 {
		t.Errorf("asked %v, then %v port %d", first.Dst.Netip(), second.Dst.Netip(), second.DstPort)
	}
}
