package dataplane_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// tunnelKinds are the kinds of tunnels, with the bytes of what is between the two IP headers.
var tunnelKinds = []struct {
	name   string
	server conf.Server
	middle int
}{
	{"ipip", conf.Server{}, 0},
	{"gue", conf.Server{TunType: conf.TunGUE, TunPort: 6080}, 8 + 4},
	{"gue-csum", conf.Server{TunType: conf.TunGUE, TunPort: 6080, TunFlags: 1}, 8 + 4},
	{"gre", conf.Server{TunType: conf.TunGRE}, 4},
	{"gre-csum", conf.Server{TunType: conf.TunGRE, TunFlags: 1}, 8},
}

// A router says what of a tunnel fits, quoting the director's own packet; the client's
// next packet that does not is told too big, that less the outer headers. 20 and 40
// bytes: RFC 2003, RFC 2473; 8 and 4 of GUE, 4 or 8 of GRE (ipvs_gue_encap, ipvs_gre_encap).
func TestPathMTUOfTunnelsWithIPv6(t *testing.T) {
	client6, vip6 := addr("2001:db8:1::7"), addr("2001:db8:1::100")
	for _, row := range []struct {
		name                          string
		client, vip, dip, rip, router packet.Addr
		mtu                           uint32
		outer, inner                  int // lengths of the IP headers
	}{
		{"6in4", client6, vip6, addr("10.0.2.1"), addr("10.0.2.9"), addr("10.0.2.254"), 1340, 20, 40},
		{"4in6", client, vip, addr("2001:db8:2::1"), addr("2001:db8:2::9"), addr("2001:db8:2::fe"), 1400, 40, 20},
		{"6in6", client6, vip6, addr("2001:db8:2::1"), addr("2001:db8:2::9"), addr("2001:db8:2::fe"), 1400, 40, 40},
	} {
		for _, kind := range tunnelKinds {
			t.Run(row.name+"/"+kind.name, func(t *testing.T) {
				inside := int(row.mtu) - row.outer - kind.middle
				fits := inside - row.inner - 20 // TCP payload
				large := fits + 1
				g := newRig(t, 1)
				env := dataplane.Environment{HostPort: -1}
				for i, nets := range [][]string{{"10.0.1.1/24", "2001:db8:1::1/64"}, {"10.0.2.1/24", "2001:db8:2::1/64"}} {
					p := dataplane.PortEnv{Link: dataplane.Link{Name: []string{"cl0", "sv0"}[i], MAC: dirMACs[i], MTU: 1500, L2: true, Offload: true}}
					for _, n := range nets {
						pre := netip.MustParsePrefix(n)
						p.Addresses = append(p.Addresses, pre)
						env.Routes = append(env.Routes, dataplane.Route{Dest: pre.Masked(), Port: i})
					}
					env.Ports = append(env.Ports, p)
				}
				g.plane.SetEnvironment(env)
				g.plane.Neighbors().SetStatic([]arp.Static{
					{Port: 0, Addr: row.client, MAC: hostMAC(0, row.client)}, {Port: 1, Addr: row.rip, MAC: hostMAC(1, row.rip)},
				})
				key := conf.ServiceKey{Proto: packet.TCP, Addr: row.vip.Netip(), Port: 80}
				if err := g.plane.AddService(conf.Service{Key: key, Scheduler: "rr"}); err != nil {
					t.Fatal(err)
				}
				rs := server(row.rip, 80, conf.Tunnel)
				rs.TunType, rs.TunPort, rs.TunFlags = kind.server.TunType, kind.server.TunPort, kind.server.TunFlags
				if err := g.plane.AddServer(key, rs); err != nil {
					t.Fatal(err)
				}
				g.plane.Publish()
				segment := func(flags uint8, size int) packet.Spec {
					s := tcp(row.client, 4000, flags)
					s.Dst, s.V6, s.Payload = row.vip, !row.vip.Is4(), make([]byte, size)
					return s
				}
				send := func(size int) dataplane.Reason {
					g.rx(0, 0, segment(packet.ACK, size).Frame(), packet.Vnet{})
					return g.r
				}
				g.rx(0, 0, segment(packet.SYN, 0).Frame(), packet.Vnet{})
				if r := send(large); r == dataplane.TooBig {
					t.Fatal("too big for a link of 1500 bytes")
				}
				out := g.rx(0, 0, segment(packet.ACK, fits).Frame(), packet.Vnet{})
				if len(out) != 1 {
					t.Fatalf("%d packets for the server: %v", len(out), g.r)
				}
				outer := out[0].frame[14:] // as the router has it
				outerV6 := !row.dip.Is4()
				says := packet.Spec{
					Flow:   packet.Flow{Src: row.router, Dst: row.dip, Proto: packet.ICMP, V6: outerV6},
					EthDst: dirMACs[1], EthSrc: hostMAC(1, row.router),
					ICMPType: packet.ICMPUnreachable, ICMPCode: 4, ICMPRest: row.mtu, Payload: outer[:548],
				}
				if outerV6 {
					says.Proto, says.ICMPType, says.ICMPCode = packet.ICMPv6, packet.ICMPv6TooBig, 0
				}
				broken := says.Frame()
				broken[len(broken)-1]++
				if g.rx(0, 1, broken, packet.Vnet{}); g.r != dataplane.BadICMPChecksum {
					t.Errorf("a message with a wrong checksum ends as %v", g.r)
				}
				if r := send(large); r == dataplane.TooBig {
					t.Error("a message with a wrong checksum was believed")
				}
				if g.rx(0, 1, says.Frame(), packet.Vnet{}); g.v != dataplane.Taken || g.r != dataplane.TunnelPathMTU {
					t.Errorf("the message ends as %v, %v", g.v, g.r)
				}
				if r := send(large); r != dataplane.TooBig || len(g.sent) != 1 {
					t.Fatalf("a packet one byte too large ends as %v, %d packets sent", r, len(g.sent))
				}
				told := packet.NewFrame(g.sent[0].frame)
				if bad := told.Parse(); bad != packet.None || !told.IsICMPError() || told.Flow.Src != row.vip || told.Flow.Dst != row.client {
					t.Fatalf("the client is told by %+v", told.Flow)
				}
				if got := binary.BigEndian.Uint32(told.Buf[told.L4+4:]); int(got) != inside {
					t.Errorf("the client is told an MTU of %d, want %d", got, inside)
				}
				if r := send(fits); r == dataplane.TooBig {
					t.Error("a packet that just fits is too big")
				}
				if len(g.sent) != 1 || len(g.sent[0].frame)-14 != int(row.mtu) {
					t.Errorf("the packet that just fits leaves in %d pieces, want one of %d bytes", len(g.sent), row.mtu)
				}
				if row.inner == 20 { // what the client lets be cut is cut outside, for the path
					cuttable := segment(packet.ACK, large)
					cuttable.DF = false
					out := g.rx(0, 0, cuttable.Frame(), packet.Vnet{})
					if len(out) != 2 || len(out[0].frame)-14 > int(row.mtu) {
						t.Errorf("without DF it leaves in %d pieces (%v), want 2 that fit", len(out), g.r)
					}
				}
			})
		}
	}
}
