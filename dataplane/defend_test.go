package dataplane_test

import (
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// Half-open connections of a persistent service that drop_entry sacrifices take their
// templates along: a flood of forged clients does not fill the table with those.
func TestDropEntryEndsTemplates(t *testing.T) {
	g := newRig(t, 1)
	c := conf.Service{
		Key: conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 80}, Scheduler: "rr",
		Persistence: conf.Persistence{Timeout: 300 * time.Second},
	}
	if err := g.plane.AddService(c); err != nil {
		t.Fatal(err)
	}
	if err := g.plane.AddServer(c.Key, server(rs1, 80, conf.NAT)); err != nil {
		t.Fatal(err)
	}
	g.plane.SetSysctl(conf.Sysctl{DropEntry: 3, Amemthresh: 1024, AmDroprate: 10})
	g.plane.Publish()
	const clients = 600
	for i := range clients {
		g.rx(0, 0, tcp(packet.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)}), 40000, packet.SYN).Frame(), packet.Vnet{})
	}
	dropped := 0
	for range 20 {
		g.plane.Housekeep()
		for range 10 { // a second, in which nobody comes
			g.now += 100 * time.Millisecond
			if _, _, err := g.workers[0].Turn(); err != nil {
				t.Fatal(err)
			}
		}
		conns, templates := g.conns()
		if len(conns) != len(templates) {
			t.Fatalf("%d connections and %d templates are left", len(conns), len(templates))
		}
		dropped = clients - len(conns)
	}
	if dropped == 0 {
		t.Error("nothing was dropped")
	}
}
