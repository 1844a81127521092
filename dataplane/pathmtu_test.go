package dataplane_test

import (
	"net/netip"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A router says what of an IP-in-IP tunnel fits; the client's next packet that does not is
// answered with too big, that less the outer header. 20 and 40 bytes: RFC 2003, RFC 2473.
func TestPathMTUOfTunnelsWithIPv6(t *testing.T) {
	client6, vip6 := addr("2001:db8:1::7"), addr("2001:db8:1::100")
	for _, row := range []struct {
		name                          string
		client, vip, dip, rip, router packet.Addr
		mtu                           uint32
		fits, large                   int // transport payload: the largest that still fits inside, and one that does not
	}{
		{"6in4", client6, vip6, addr("10.0.2.1"), addr("10.0.2.9"), addr("10.0.2.254"), 1340, 1340 - 20 - 40 - 20, 1340 - 20 - 40 - 19},
		{"4in6", client, vip, addr("2001:db8:2::1"), addr("2001:db8:2::9"), addr("2001:db8:2::fe"), 1400, 1400 - 40 - 20 - 20, 1400 - 40 - 20 - 19},
		{"6in6", client6, vip6, addr("2001:db8:2::1"), addr("2001:db8:2::9"), addr("2001:db8:2::fe"), 1400, 1400 - 40 - 40 - 20, 1400 - 40 - 40 - 19},
	} {
		t.Run(row.name, func(t *testing.T) {
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
			key := conf.ServiceKey{Proto: packet.TCP, Addr: row.vip.Netip(), Port: 80}
			if err := g.plane.AddService(conf.Service{Key: key, Scheduler: "rr"}); err != nil {
				t.Fatal(err)
			}
			if err := g.plane.AddServer(key, server(row.rip, 80, conf.Tunnel)); err != nil {
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
			if r := send(row.large); r == dataplane.TooBig {
				t.Fatal("too big for a link of 1500 bytes")
			}
			inner := segment(packet.ACK, 8)
			proto := uint8(packet.IPIP)
			if inner.V6 {
				proto = packet.IPv6
			}
			outer := packet.Spec{Flow: packet.Flow{Src: row.dip, Dst: row.rip, Proto: proto, V6: !row.dip.Is4()}, DF: true, Payload: inner.IP()}
			says := packet.Spec{
				Flow:   packet.Flow{Src: row.router, Dst: row.dip, Proto: packet.ICMP, V6: outer.V6},
				EthDst: dirMACs[1], EthSrc: hostMAC(1, row.router),
				ICMPType: packet.ICMPUnreachable, ICMPCode: 4, ICMPRest: row.mtu, Payload: outer.IP(),
			}
			if outer.V6 {
				says.Proto, says.ICMPType, says.ICMPCode = packet.ICMPv6, packet.ICMPv6TooBig, 0
			}
			broken := says.Frame()
			broken[len(broken)-1]++
			if g.rx(0, 1, broken, packet.Vnet{}); g.r != dataplane.BadICMPChecksum {
				t.Errorf("a message with a wrong checksum ends as %v", g.r)
			}
			if r := send(row.large); r == dataplane.TooBig {
				t.Error("a message with a wrong checksum was believed")
			}
			if g.rx(0, 1, says.Frame(), packet.Vnet{}); g.v != dataplane.Taken || g.r != dataplane.TunnelPathMTU {
				t.Errorf("the message ends as %v, %v", g.v, g.r)
			}
			if r := send(row.large); r != dataplane.TooBig {
				t.Errorf("a packet one byte too large ends as %v", r)
			}
			if r := send(row.fits); r == dataplane.TooBig {
				t.Error("a packet that just fits is too big")
			}
		})
	}
}
