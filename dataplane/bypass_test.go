package dataplane_test

import (
	"net/netip"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// With cache_bypass a fwmark service without a server lets its packets go on to where
// they were sent, and the rest of the connection with them, also when a server is back.
func TestCacheBypass(t *testing.T) {
	origin := addr("203.0.113.9") // behind the default route
	syn := func(dst packet.Addr, flags uint8) packet.Spec {
		s := tcp(client, 40000, flags)
		s.Flow.Dst = dst
		return s
	}
	for _, row := range []struct {
		name   string
		on     conf.Switch
		dst    packet.Addr
		fwmark bool
		reason dataplane.Reason
	}{
		{"on", conf.On, origin, true, dataplane.ForwardBypass},
		{"off", conf.Off, origin, true, dataplane.NoDestination},
		{"of an address service", conf.On, vip, false, dataplane.NoDestination},
		{"to the subnet's broadcast", conf.On, addr("10.0.1.255"), true, dataplane.NoDestination},
		{"to a group", conf.On, addr("224.0.0.9"), true, dataplane.NoDestination},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newRig(t, 1)
			sc := conf.Default().Sysctl
			sc.CacheBypass = row.on
			g.plane.SetSysctl(sc)
			k := conf.ServiceKey{Fwmark: 9}
			if row.fwmark {
				g.plane.SetMarks([]conf.Mark{{Dest: []netip.Prefix{netip.PrefixFrom(row.dst.Netip(), 32)}, Value: 9, Mask: ^uint32(0)}})
				if err := g.plane.AddService(conf.Service{Key: k, Scheduler: "rr"}); err != nil {
					t.Fatal(err)
				}
				g.plane.Publish()
			} else {
				g.serve(packet.TCP, 80, "rr")
			}
			s := g.rx(0, 0, syn(row.dst, packet.SYN).Frame(), packet.Vnet{})
			if g.r != row.reason {
				t.Fatalf("reason %v, want %v", g.r, row.reason)
			}
			if row.reason != dataplane.ForwardBypass {
				return
			}
			f := g.one(s, 0)
			if f.Flow.Dst != row.dst || f.Flow.DstPort != 80 || f.TTL != 63 || f.DstMAC() != hostMAC(0, addr("10.0.1.254")) {
				t.Errorf("sent to %v:%d by %v with TTL %d; want it unchanged, by the gateway, TTL 63", f.Flow.Dst, f.Flow.DstPort, f.DstMAC(), f.TTL)
			}
			if err := g.plane.AddServer(k, server(rs1, 0, conf.NAT)); err != nil {
				t.Fatal(err)
			}
			g.plane.Publish()
			g.one(g.rx(0, 0, syn(row.dst, packet.ACK).Frame(), packet.Vnet{}), 0)
			if g.r != dataplane.ForwardBypass {
				t.Errorf("the next packet: %v, want forward_bypass", g.r)
			}
			var listed []dataplane.Conn
			g.plane.EachConn(func(c dataplane.Conn) bool { listed = append(listed, c); return true })
			if len(listed) != 1 || listed[0].Dest != netip.MustParseAddrPort("0.0.0.0:0") || listed[0].State != "ESTABLISHED" || listed[0].Packets != 2 {
				t.Errorf("listed %+v, want one entry without a server, ESTABLISHED after 2 packets", listed)
			}
			if st := g.plane.Services()[0]; st.Counter.Conns != 0 || st.Servers[0].Active != 0 {
				t.Errorf("counted %+v; bypassed connections count nowhere", st)
			}
		})
	}
}
