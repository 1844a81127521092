package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// adverts listens at the router for neighbour advertisements of the VIP (RFC 4861
// section 4.4).
func (c *cluster) adverts(match func(lab.Seen, *layers.ICMPv6NeighborAdvertisement) bool) *lab.Sniffer {
	dev := map[int]string{1: "lan", 2: "outside"}[c.shape.arms]
	return c.router.Sniff(dev, func(s lab.Seen) bool {
		na, ok := s.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		if !ok {
			return false
		}
		who, _ := netip.AddrFromSlice(na.TargetAddress)
		return who == c.vip && match(s, na)
	})
}

// The director alone answers solicitations for an IPv6 VIP: solicited, and not as a
// router (RFC 4861 section 7.2.4).
func TestOnlyTheDirectorAnswersForTheIPv6VIP(t *testing.T) {
	for _, s := range []shape{
		{method: "nat", arms: 2, servers: 2, v6: true},
		{method: "nat", arms: 1, servers: 2, v6: true},
		{method: "dr", arms: 1, servers: 2, v6: true},
		{method: "tun", arms: 1, servers: 2, v6: true},
	} {
		t.Run(s.String(), func(t *testing.T) {
			c := newCluster(t, s)
			mac := c.director.MAC(c.port)
			const solicited, router = 0x40, 0x80
			ours := c.adverts(func(s lab.Seen, na *layers.ICMPv6NeighborAdvertisement) bool {
				return s.From(mac) && na.Flags&(solicited|router) == solicited
			})
			routers := c.adverts(func(_ lab.Seen, na *layers.ICMPv6NeighborAdvertisement) bool { return na.Flags&router != 0 })
			others := c.adverts(func(s lab.Seen, _ *layers.ICMPv6NeighborAdvertisement) bool { return !s.From(mac) })
			startDirector(t, c.director, c.config(1, c.web("rr", "", 1, 1)))
			dev := map[int]string{1: "lan", 2: "outside"}[s.arms]
			for range 3 {
				before := ours.Count()
				c.router.Must("ip", "-6", "neigh", "flush", "dev", dev)
				c.want("a request", fetch(c, c.client, 2, 1, c.url("/")), map[string]int{"s1": 1, "s2": 1})
				if ours.Count() == before {
					t.Error("the director has not answered")
				}
			}
			if others.Count() > 0 {
				t.Errorf("somebody else has the VIP: %v", others)
			}
			if routers.Count() > 0 {
				t.Errorf("the VIP is announced as a router: %v", routers)
			}
			if got := c.router.Must("ip", "-6", "neigh", "show", c.vip.String()); !strings.Contains(got, mac.String()) {
				t.Errorf("the router's neighbour is %q, want %v", got, mac)
			}
		})
	}
}

// Tunnels may cross families: what is outside is the real server's, what is inside the
// service's. 6in4 is RFC 4213, 4in6 and 6in6 are RFC 2473.
func TestTunnelsAcrossFamilies(t *testing.T) {
	for _, row := range []struct {
		name  string
		v6    bool   // the service
		outer string // the server's address of the other family
		net   string // of the director in the same network
		bits  string
	}{
		{"6in4", true, "10.77.0.11", "10.77.0.1", "/24"},
		{"4in6", false, "fd00:77::11", "fd00:77::1", "/64"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, shape{method: "tun", arms: 2, servers: 1, v6: row.v6})
			nodad := ""
			if !row.v6 {
				nodad = " nodad"
			}
			c.director.IP("addr add " + row.net + row.bits + " dev in" + nodad)
			c.servers[0].IP("addr add " + row.outer + row.bits + " dev eth0" + nodad)
			inside := c.servers[0].Sniff("eth0", func(s lab.Seen) bool {
				ip4, _ := s.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
				ip6, _ := s.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
				if row.v6 {
					return ip4 != nil && ip4.Protocol == layers.IPProtocolIPv6 && ip6 != nil && ip6.DstIP.String() == c.vip.String()
				}
				return ip6 != nil && ip6.NextHeader == layers.IPProtocolIPv4 && ip4 != nil && ip4.DstIP.String() == c.vip.String()
			})
			config := strings.ReplaceAll(c.web("rr", "", 1), "SERVER1", row.outer)
			d := startDirector(t, c.director, c.config(1, config))
			c.want("20 requests", fetch(c, c.client, 20, 1, c.url("/")), map[string]int{"s1": 20})
			c.download(mib)
			c.upload(mib)
			// SYN, ACK, request, FIN: four frames at least of every connection.
			if n := inside.Count(); n < 20*4 {
				t.Errorf("%d frames came as %s, want at least 80: %v", n, row.name, inside)
			}
			d.waitReason("forward_tunnel", 80)
		})
	}
}
