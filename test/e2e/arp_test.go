package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// claims listens at the router for ARP frames in which somebody says to have the VIP.
func (c *cluster) claims(match func(lab.Seen, *layers.ARP) bool) *lab.Sniffer {
	dev := map[int]string{1: "lan", 2: "outside"}[c.shape.arms]
	return c.router.Sniff(dev, func(s lab.Seen) bool {
		a := s.ARP()
		if a == nil {
			return false
		}
		who, _ := netip.AddrFromSlice(a.SourceProtAddress)
		return who == c.vip && match(s, a)
	})
}

// In one arm with DR everybody in the network has the VIP; only the director answers.
func TestOnlyTheDirectorAnswersForTheVIP(t *testing.T) {
	for _, method := range []string{"nat", "dr", "tun"} {
		t.Run(method, func(t *testing.T) {
			c := newCluster(t, shape{method: method, arms: 1, servers: 2})
			mac := c.director.MAC("in")
			ours := c.claims(func(s lab.Seen, a *layers.ARP) bool { return s.From(mac) && a.Operation == layers.ARPReply })
			others := c.claims(func(s lab.Seen, _ *layers.ARP) bool { return !s.From(mac) })
			startDirector(t, c.director, c.config(1, c.web("rr", "", 1, 1)))
			for range 5 {
				before := ours.Count()
				c.router.IP("neigh flush dev lan")
				c.want("a request", fetch(c, c.client, 2, 1, c.url("/")), map[string]int{"s1": 1, "s2": 1})
				if ours.Count() == before {
					t.Error("the director has not answered")
				}
			}
			if others.Count() > 0 {
				t.Errorf("somebody else has the VIP: %v", others)
			}
			// What the router believes.
			if got := c.router.Must("ip", "neigh", "show", c.vip.String()); !strings.Contains(got, mac.String()) {
				t.Errorf("the router's neighbour is %q, want %v", got, mac)
			}
		})
	}
}

// announce = 2: two gratuitous ARPs for each VIP, a second apart, sender and target the
// VIP (RFC 5227 section 3), to everybody.
func TestGratuitousARPAtStart(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1, plain: true})
	mac := c.director.MAC("out")
	heard := c.claims(func(s lab.Seen, a *layers.ARP) bool {
		e := s.LinkLayer().(*layers.Ethernet)
		target, _ := netip.AddrFromSlice(a.DstProtAddress)
		return target == c.vip && s.From(mac) && e.DstMAC.String() == "ff:ff:ff:ff:ff:ff" && string(a.SourceHwAddress) == string(mac)
	})
	startDirector(t, c.director, c.config(1, c.web("rr", "", 1)))
	lab.Until(t, 5*time.Second, func() (bool, string) {
		return heard.Count() == 2, fmt.Sprintf("%d of 2 gratuitous ARPs", heard.Count())
	})
	if got := c.router.Must("sh", "-c", "ip neigh replace "+c.vip.String()+" lladdr 02:00:00:00:00:99 nud stale dev outside; ip neigh show "+c.vip.String()); !strings.Contains(got, "02:00:00:00:00:99") {
		t.Fatalf("router: %q", got)
	}
}

// A server that comes back with another link address is believed, once it has spoken and
// the old address has left three probes unanswered, 0.3 s each, in all 0.9 s; no sooner
// than a second after the last answer.
func TestServerWithANewMAC(t *testing.T) {
	c, took := withNewMAC(t, func(s *server) {
		// As servers do that come up: it asks for its gateway, to tell it something.
		conn, err := s.Dial(context.Background(), "udp", insideDIP+":9", netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		lab.Until(t, 5*time.Second, func() (bool, string) {
			_, _ = conn.Write([]byte("hello"))
			got := s.Must("ip", "neigh", "show", insideDIP)
			return strings.Contains(got, "lladdr"), "the server has not found its gateway: " + got
		})
	}, 9*time.Second)
	// Half of it are steps of the clients: a connection attempt each 0.2 s.
	if c.t.Logf("reached again after %v", took); took > 3*time.Second {
		t.Errorf("the server was reached again after %v", took)
	}
}

// One that says nothing is found when its entry is no longer believed: 30 s, 5 s in
// doubt and three probes a second apart after the last answer.
func TestSilentServerWithANewMAC(t *testing.T) {
	c, took := withNewMAC(t, func(*server) {}, 45*time.Second)
	c.t.Logf("reached again after %v", took)
}

// withNewMAC gives a server another link address while its link is down, lets it do
// what it does when it is up again, and measures until it is reached.
func withNewMAC(t *testing.T, up func(*server), limit time.Duration) (*cluster, time.Duration) {
	t.Helper()
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	startDirector(t, c.director, c.config(1, c.web("rr", "", 1)))
	fetch(c, c.client, 4, 1, c.url("/"))
	s := c.servers[0]
	s.IP("link set eth0 down", "link set eth0 address 02:00:00:00:aa:01", "link set eth0 up", "route add default via "+insideDIP)
	start := time.Now()
	up(s)
	lab.Until(t, limit, func() (bool, string) {
		_, err := tryFetch(c.client, 1, 1, c.url("/"), "--connect-timeout", "0.2")
		return err == nil, fmt.Sprint(err)
	})
	return c, time.Since(start)
}

// A next hop is resolved when it is needed, again when it has moved, and a server that
// is not there costs nobody else anything.
func TestNextHopRouter(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	asked := c.router.Sniff("outside", func(s lab.Seen) bool {
		a := s.ARP()
		if a == nil || a.Operation != layers.ARPRequest {
			return false
		}
		target, _ := netip.AddrFromSlice(a.DstProtAddress)
		return target.String() == outsideGW && s.From(c.director.MAC("out"))
	})
	dead := strings.Replace(c.web("rr", "", 1, 1), "SERVER2", "10.9.0.77", 1)
	d := startDirector(t, c.director, c.config(1, dead))
	got, err := tryFetch(c.client, 6, 6, c.url("/"), "--connect-timeout", "2")
	if err == nil || got["s1"] != 3 {
		t.Errorf("with one of two servers missing: %v, %v; want 3 answers of s1", got, err)
	}
	if asked.Count() == 0 {
		t.Error("the director has not asked for its router")
	}
	d.reload(c.config(1, c.web("rr", "", 1)))
	c.want("after the missing one was removed", fetch(c, c.client, 10, 1, c.url("/")), map[string]int{"s1": 10})
}
