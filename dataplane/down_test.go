package dataplane_test

import (
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// Templates lead to a server with weight 0, but not to one that is down as well.
func TestTemplatesLeaveServersThatAreDown(t *testing.T) {
	g := newRig(t, 1)
	k := g.persist()
	sport := uint16(46000)
	to := func() packet.Addr {
		sport++
		return g.one(g.rx(0, 0, tcp(client, sport, packet.SYN).Frame(), packet.Vnet{}), 1).Flow.Dst
	}
	first := to()
	weigh := func(w int, down bool) {
		s := server(first, 80, conf.NAT)
		s.Weight = w
		if err := g.plane.EditServer(k, s); err != nil {
			t.Fatal(err)
		}
		g.plane.SetDown(dataplane.ServerOf{Service: k, Server: s.ID()}, down)
		g.plane.Publish()
	}
	weigh(0, false)
	if got := to(); got != first {
		t.Errorf("quiesced: %v, want %v", got, first)
	}
	weigh(1, true)
	if got := to(); got != first {
		t.Errorf("down and with a weight: %v, want %v", got, first)
	}
	weigh(0, true)
	other := to()
	if other == first {
		t.Errorf("down: still %v", first)
	}
	weigh(1, false)
	if got := to(); got != other {
		t.Errorf("up again: %v; the client is bound to %v by now", got, other)
	}
}

// A server that comes back is not down because it was when it went.
func TestAddedServerIsNotDown(t *testing.T) {
	g := newRig(t, 1)
	k := conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 80}
	s := server(rs1, 80, conf.NAT)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(g.plane.AddService(conf.Service{Key: k, Scheduler: "rr", Persistence: conf.Persistence{Timeout: time.Minute}}))
	must(g.plane.AddServer(k, s))
	g.plane.Publish()
	g.rx(0, 0, tcp(client, 46000, packet.SYN).Frame(), packet.Vnet{})
	g.plane.SetDown(dataplane.ServerOf{Service: k, Server: s.ID()}, true)
	must(g.plane.DeleteServer(k, s))
	g.plane.SetDown(dataplane.ServerOf{Service: k, Server: s.ID()}, true) // in the trash
	must(g.plane.AddServer(k, s))
	s.Weight = 0
	must(g.plane.EditServer(k, s))
	g.plane.Publish()
	if sent := g.rx(0, 0, tcp(client, 46001, packet.SYN).Frame(), packet.Vnet{}); len(sent) != 1 || g.r != dataplane.ForwardNAT {
		t.Errorf("%d sent, %v; want the template to lead to the server", len(sent), g.r)
	}
}
