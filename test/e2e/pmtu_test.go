package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// tooBig reports whether a frame is an ICMP message by which a path's MTU is found:
// "fragmentation needed" (RFC 1191 section 4) or "packet too big" (RFC 8201 section 4).
func tooBig(s lab.Seen) bool {
	if icmp, ok := s.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return icmp.TypeCode == layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded)
	}
	icmp, ok := s.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	return ok && icmp.TypeCode.Type() == layers.ICMPv6TypePacketTooBig
}

// moveClient puts another client in the client's place, behind a second router whose
// cable to the first is narrower than what client and servers know of:
//
//	client --- far router --(mtu)-- router --- ...
func (c *cluster) moveClient(mtu int) {
	c.t.Helper()
	far, client := lab.New(c.t, "far"), lab.New(c.t, "client2")
	lab.Veth(lab.Link{NS: client, Dev: "c0"}, lab.Link{NS: far, Dev: "client"}, 1)
	lab.Veth(lab.Link{NS: far, Dev: "back"}, lab.Link{NS: c.router, Dev: "far"}, 1)
	size := fmt.Sprintf(" mtu %d", mtu)
	far.IP("link set back"+size, c.on("client", "198.18.3.1"), c.on("back", "198.18.4.2"), c.via("198.18.4.1"))
	c.router.IP("link set far"+size, c.on("far", "198.18.4.1"),
		strings.Replace(c.via("198.18.4.2"), map[bool]string{false: "default", true: "::/0"}[c.shape.v6], c.network("198.18.3.0"), 1))
	far.Sysctl("ipv4/ip_forward", "1")
	far.Sysctl("ipv6/conf/all/forwarding", "1")
	client.IP(c.on("c0", "198.18.3.10"), c.via("198.18.3.1"))
	c.client = client
}

// network is the network of a cable, given its IPv4 address.
func (c *cluster) network(v4 string) string {
	if c.shape.v6 {
		return strings.TrimSuffix(c.ip(v4), "0") + "/64"
	}
	return v4 + "/24"
}

// knows checks the MTU that the client's stack has found for the way to the VIP.
func (c *cluster) knows(mtu int) {
	c.t.Helper()
	if got := c.client.Must("ip", "route", "get", c.vip.String()); !strings.Contains(got, fmt.Sprintf(" mtu %d ", mtu)) {
		c.t.Errorf("the client's way to the VIP is %q, want an MTU of %d", got, mtu)
	}
}

// A router between client and director has a narrow cable. What it says of packets to the
// client reaches the server whose packets they were, with every method: it is sent to the
// VIP, and the director knows whose connection it quotes.
func TestPathMTUTowardsTheClient(t *testing.T) {
	for _, s := range []shape{
		{method: "nat", arms: 2}, {method: "dr", arms: 2}, {method: "tun", arms: 2}, {method: "nat", arms: 1},
		{method: "nat", arms: 2, v6: true}, {method: "dr", arms: 2, v6: true}, {method: "tun", arms: 2, v6: true},
	} {
		t.Run(s.String(), func(t *testing.T) {
			c := newCluster(t, s)
			c.moveClient(1300)
			startDirector(t, c.director, c.config(1, c.web("rr", "", 1)))
			atDirector := c.director.Sniff(c.port, tooBig)
			atServer := c.servers[0].Sniff("eth0", tooBig)
			c.download(mib)
			if s.method != "tun" && atServer.Count() == 0 || atDirector.Count() == 0 {
				t.Errorf("%d messages of the router reached the director, %d the server", atDirector.Count(), atServer.Count())
			}
			// What the server has found it would say in its SYN-ACK (MSS), and the client had
			// nothing to find.
			c.servers[0].Must("ip", "route", "flush", "cache")
			c.servers[0].Must("ip", "-6", "route", "flush", "cache")
			c.upload(mib)
			c.knows(1300)
		})
	}
}

// A router between director and server has a narrow cable: what it says of tunnel
// packets is for the director, which tells the client what fits inside.
func TestPathMTUInsideTheTunnel(t *testing.T) {
	for _, row := range []struct {
		v6            bool
		mtu, overhead int
	}{
		{false, 1300, 20}, // RFC 2003 section 3.1
		{true, 1400, 40},  // RFC 2473 section 3
	} {
		s := shape{method: "tun", arms: 2, v6: row.v6}
		t.Run(s.String(), func(t *testing.T) {
			c := newCluster(t, s)
			// director --- lan --- between --(mtu)-- server
			between, server := lab.New(t, "between"), c.servers[0]
			c.lan.Plug("switch0", lab.Link{NS: between, Dev: "near"}, 1)
			lab.Veth(lab.Link{NS: between, Dev: "far"}, lab.Link{NS: server.NS, Dev: "eth1"}, 1)
			size := fmt.Sprintf(" mtu %d", row.mtu)
			between.IP(c.on("near", "10.9.0.50"), "link set far"+size, c.on("far", "10.9.8.1"))
			between.Sysctl("ipv4/ip_forward", "1")
			between.Sysctl("ipv6/conf/all/forwarding", "1")
			server.IP("link set eth1"+size, c.on("eth1", "10.9.8.11"))
			c.director.IP("route add " + c.network("10.9.8.0") + " via " + c.ip("10.9.0.50"))

			config := strings.ReplaceAll(c.web("rr", "", 1), "SERVER1", c.ip("10.9.8.11"))
			startDirector(t, c.director, c.config(1, config))
			atDirector := c.director.Sniff("in", tooBig)
			c.upload(mib)
			if atDirector.Count() == 0 {
				t.Error("the router between director and server had nothing to say")
			}
			c.knows(row.mtu - row.overhead)
			c.download(mib)
		})
	}
}
