package dataplane_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// sipMessage is a request with a Call-ID; none without one.
func sipMessage(call string) []byte {
	if call == "" {
		return []byte("OPTIONS sip:x SIP/2.0\r\n\r\n")
	}
	return fmt.Appendf(nil, "INVITE sip:x SIP/2.0\r\nCall-ID: %s\r\n\r\n", call)
}

func serverCall(from packet.Addr, sport uint16, to packet.Addr, dport uint16, call string) packet.Spec {
	s := answer(from, sport, to, dport, 0)
	s.Proto, s.Payload = packet.UDP, sipMessage(call)
	return s
}

func clientCall(dport uint16, sport uint16, call string) packet.Spec {
	s := tcp(client, sport, 0)
	s.Proto, s.DstPort, s.Payload = packet.UDP, dport, sipMessage(call)
	return s
}

// sipRig has a UDP service on port 5060 with the SIP engine and two NAT servers.
func sipRig(t *testing.T, edit func(*conf.Service)) (*rig, conf.ServiceKey) {
	t.Helper()
	g := newRig(t, 1)
	c := conf.Service{
		Key:         conf.ServiceKey{Proto: packet.UDP, Addr: vip.Netip(), Port: 5060},
		Scheduler:   "rr",
		Persistence: conf.Persistence{Timeout: 300 * time.Second, Engine: "sip"},
	}
	if edit != nil {
		edit(&c)
	}
	if err := g.plane.AddService(c); err != nil {
		t.Fatal(err)
	}
	for _, rs := range []packet.Addr{rs1, rs2} {
		if err := g.plane.AddServer(c.Key, server(rs, 5060, conf.NAT)); err != nil {
			t.Fatal(err)
		}
	}
	g.plane.Publish()
	return g, c.Key
}

func (g *rig) conns() (conns, templates []dataplane.Conn) {
	g.plane.EachConn(func(c dataplane.Conn) bool {
		if c.Template {
			templates = append(templates, c)
		} else {
			conns = append(conns, c)
		}
		return true
	})
	return conns, templates
}

// A server's own request leaves as the service's, and what its client sends back, with
// the same Call-ID or to the same port, finds that server (ip_vs_new_conn_out).
func TestServerBeginsSIPCall(t *testing.T) {
	g, _ := sipRig(t, nil)
	for i, rs := range []packet.Addr{rs1, rs2, rs1} { // whomever the scheduler would have taken
		call, port := fmt.Sprintf("call%d@x", i), uint16(7000+i)
		out := g.rx(0, 1, serverCall(rs, 5060, client, port, call).Frame(), packet.Vnet{})
		if g.v != dataplane.Send || g.r != dataplane.ForwardReply || len(out) != 1 || out[0].port != 0 {
			t.Fatalf("the server's request ends as %v, %v", g.v, g.r)
		}
		f := packet.NewFrame(out[0].frame)
		if bad := f.Parse(); bad != packet.None || !f.VerifyTransport() {
			t.Fatalf("broken packet: %v", bad)
		}
		if want := (packet.Flow{Src: vip, SrcPort: 5060, Dst: client, DstPort: port, Proto: packet.UDP}); f.Flow != want || f.TTL != 63 {
			t.Errorf("leaves as %+v with TTL %d, want %+v", f.Flow, f.TTL, want)
		}
		if got, want := g.trace.Rule(g.r), "itself begins a call of udp/10.0.1.100:5060"; !strings.Contains(got, want) {
			t.Errorf("rule %q, want %q in it", got, want)
		}
		for _, back := range []packet.Spec{clientCall(5060, port, ""), clientCall(5060, port+100, call)} {
			out = g.rx(0, 0, back.Frame(), packet.Vnet{})
			if len(out) != 1 || packet.AddrFrom4([4]byte(out[0].frame[30:])) != rs {
				t.Errorf("port %d: the client's packet does not reach %v: %v", back.SrcPort, rs.Netip(), g.r)
			}
		}
	}
	conns, templates := g.conns()
	if len(conns) != 6 || len(templates) != 3 {
		t.Fatalf("%d connections and %d templates, want 6 and 3", len(conns), len(templates))
	}
	for _, c := range templates {
		if c.State != "ASSURED" || c.Dest.Port() != 5060 {
			t.Errorf("template %+v, want it assured", c)
		}
	}
	for _, c := range conns {
		if c.Expires > 300*time.Second || c.Expires < 299*time.Second {
			t.Errorf("%v expires in %v, want 300 s", c.Client, c.Expires)
		}
	}
}

// Statistics: one connection and one packet out, none in (ip_vs_conn_stats, ip_vs_out_stats).
func TestServerBegunCallCounts(t *testing.T) {
	g, _ := sipRig(t, nil)
	g.rx(0, 1, serverCall(rs1, 5060, client, 7000, "a@x").Frame(), packet.Vnet{})
	g.rx(0, 1, serverCall(rs1, 5060, client, 7000, "a@x").Frame(), packet.Vnet{})
	g.workers[0].HandOver()
	if f := g.plane.Services()[0].Figures; f.Conns != 1 || f.OutPkts != 2 || f.InPkts != 0 {
		t.Errorf("%+v, want 1 connection, 2 packets out, none in", f.Counter)
	}
}

// What begins no call goes on as it is.
func TestServerPacketsThatBeginNoCall(t *testing.T) {
	spent := serverCall(rs1, 5060, client, 7000, "a@x")
	spent.TTL = 1
	overTCP := answer(rs1, 5060, client, 7000, packet.ACK)
	overTCP.Payload = sipMessage("a@x")
	for _, row := range []struct {
		name  string
		edit  func(*conf.Service)
		frame packet.Spec
	}{
		{"without Call-ID", nil, serverCall(rs1, 5060, client, 7000, "")},
		{"from another port", nil, serverCall(rs1, 5061, client, 7000, "a@x")},
		{"from another host", nil, serverCall(addr("10.0.2.13"), 5060, client, 7000, "a@x")},
		{"to the VIP", nil, serverCall(rs1, 5060, vip, 7000, "a@x")},
		{"TTL spent", nil, spent},
		{"TCP", nil, overTCP},
		{"service without engine", func(c *conf.Service) { c.Persistence.Engine = "" }, serverCall(rs1, 5060, client, 7000, "a@x")},
		{"service of port 0", func(c *conf.Service) { c.Key.Port = 0 }, serverCall(rs1, 5060, client, 7000, "a@x")},
		{"fwmark service", func(c *conf.Service) { c.Key = conf.ServiceKey{Fwmark: 9} }, serverCall(rs1, 5060, client, 7000, "a@x")},
	} {
		t.Run(row.name, func(t *testing.T) {
			g, _ := sipRig(t, row.edit)
			g.rx(0, 1, row.frame.Frame(), packet.Vnet{})
			if g.v == dataplane.Send || g.r == dataplane.ForwardReply {
				t.Errorf("ends as %v, %v", g.v, g.r)
			}
			if conns, templates := g.conns(); len(conns)+len(templates) > 0 {
				t.Errorf("made %+v, %+v", conns, templates)
			}
		})
	}
}

// A template of the same call for another server is disabled and a new one made
// (ip_vs_check_template with a server).
func TestServerBegunCallTakesTemplateOver(t *testing.T) {
	g, _ := sipRig(t, nil)
	g.rx(0, 1, serverCall(rs1, 5060, client, 7000, "a@x").Frame(), packet.Vnet{})
	g.rx(0, 1, serverCall(rs2, 5060, client, 7001, "a@x").Frame(), packet.Vnet{})
	_, templates := g.conns()
	byPort := map[uint16]packet.Addr{}
	for _, c := range templates {
		byPort[c.Virtual.Port()] = packet.AddrFrom(c.Dest.Addr())
	}
	if len(templates) != 2 || byPort[5060] != rs2 || byPort[65535] != rs1 {
		t.Errorf("templates by port %v, want that of 10.0.2.12 in use and that of 10.0.2.11 disabled", byPort)
	}
}

// Answers of one-packet services leave with the service's address; nothing but the
// template stays.
func TestServerAnswersOnePacketSIP(t *testing.T) {
	g, _ := sipRig(t, func(c *conf.Service) { c.OnePacket = true })
	out := g.rx(0, 0, clientCall(5060, 7000, "a@x").Frame(), packet.Vnet{})
	rs := packet.AddrFrom4([4]byte(out[0].frame[30:]))
	for range 2 {
		out = g.rx(0, 1, serverCall(rs, 5060, client, 7000, "a@x").Frame(), packet.Vnet{})
		if len(out) != 1 || packet.AddrFrom4([4]byte(out[0].frame[26:])) != vip {
			t.Fatalf("the answer ends as %v, %v", g.v, g.r)
		}
	}
	conns, templates := g.conns()
	if len(conns) != 0 || len(templates) != 1 || templates[0].State != "ASSURED" {
		t.Errorf("left %+v and %+v, want one assured template", conns, templates)
	}
}

// Of servers that share an end the one added last is found, whatever its service
// (ip_vs_rs_hash, ip_vs_find_real_service).
func TestLastAddedServerOfAnEndBegins(t *testing.T) {
	g, k := sipRig(t, nil)
	plain := conf.ServiceKey{Proto: packet.UDP, Addr: vip.Netip(), Port: 5070}
	if err := g.plane.AddService(conf.Service{Key: plain, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	if err := g.plane.AddServer(plain, server(rs1, 5060, conf.NAT)); err != nil {
		t.Fatal(err)
	}
	g.plane.Publish()
	if g.rx(0, 1, serverCall(rs1, 5060, client, 7000, "a@x").Frame(), packet.Vnet{}); g.r == dataplane.ForwardReply {
		t.Error("the service without engine does not hide the one with it")
	}
	if err := g.plane.DeleteServer(k, server(rs1, 5060, conf.NAT)); err != nil {
		t.Fatal(err)
	}
	if err := g.plane.AddServer(k, server(rs1, 5060, conf.NAT)); err != nil {
		t.Fatal(err)
	}
	g.plane.Publish()
	if g.rx(0, 1, serverCall(rs1, 5060, client, 7000, "a@x").Frame(), packet.Vnet{}); g.r != dataplane.ForwardReply {
		t.Errorf("after it was added again the request ends as %v, %v", g.v, g.r)
	}
}
