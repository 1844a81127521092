package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// viaCluster is a cluster and a director that asks each server for its own name by its
// services, TCP and UDP, and plainly too.
type viaCluster struct {
	*cluster
	d *director
}

// viaServices are the services with their checks.
func (c *cluster) viaServices() string {
	const times = "interval = \"300ms\"\ntimeout = \"300ms\"\nretry_delay = \"50ms\"\nwarmup = \"0s\"\nfall = 2\nrise = 1\n"
	var b strings.Builder
	service := func(listen string, checks ...string) {
		fmt.Fprintf(&b, "[[service]]\nlisten = %q\nscheduler = \"rr\"\nforward = \"METHOD\"\n", listen)
		for i, srv := range c.servers {
			fmt.Fprintf(&b, "[[service.server]]\naddress = \"SERVER%d\"\n%s", i+1, c.shape.wrapped())
			for _, check := range checks {
				fmt.Fprintf(&b, "[[service.server.check]]\n%s%s", strings.ReplaceAll(check, "NAME", srv.name), times)
			}
		}
	}
	service("tcp/VIP:80", "name = \"path\"\ntype = \"http\"\nvia = \"service\"\nbody = '^NAME\\s'\n", "name = \"plain\"\ntype = \"http\"\nbody = '^NAME\\s'\n")
	service("udp/VIP:53", "name = \"path\"\ntype = \"udp\"\nvia = \"service\"\nsend = \"name?\"\nexpect = \"NAME\"\n")
	return b.String()
}

func newVia(t *testing.T, s shape, settings, more string, prepare func(c *cluster)) viaCluster {
	t.Helper()
	c := newCluster(t, s)
	prepare(c)
	for _, srv := range c.servers {
		at := srv.addr
		if s.method != "nat" {
			at = c.vip
		}
		u := srv.ListenUDP(netip.AddrPortFrom(at, 53))
		go func() {
			buf := make([]byte, 1500)
			for {
				_, from, err := u.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				_, _ = u.WriteToUDPAddrPort([]byte(srv.name), from)
			}
		}()
	}
	config := strings.Replace(c.config(2, more+c.viaServices()), "[director]", "[director]\n"+settings, 1)
	return viaCluster{c, startDirector(t, c.director, config)}
}

// finds waits until the director knows whether the first server is up, and that the second
// one is, by both services; a server that is down is out of the lists.
func (v viaCluster) finds(what string, up bool) {
	v.t.Helper()
	lab.Until(v.t, 10*time.Second, func() (bool, string) {
		all, list := v.d.health(""), v.d.services()
		said := fmt.Sprintf("%s: %+v; lists %+v", what, all, list)
		if len(all) != 2 || len(list) != 2 {
			return false, said
		}
		for i, svc := range all {
			first, second := svc.Servers[0], svc.Servers[1]
			if first.Up != up || !second.Up || len(list[i].Servers) != svc.Alive {
				return false, said
			}
			for j, srv := range svc.Servers {
				for _, c := range srv.Checks {
					if c.Last == nil || c.Up != (up || j == 1 || c.Name == "plain") || c.Last.OK != c.Up || c.Last.Why == "local" {
						return false, said
					}
				}
			}
		}
		return true, ""
	})
}

// settled takes the checks away, waits until nothing is left of what was asked, and looks
// that none of it counted for a service.
func (v viaCluster) settled() {
	v.t.Helper()
	for _, s := range v.d.services() {
		if s.Counts != (api.Counts{}) {
			v.t.Errorf("counted for a service: %+v", s)
		}
	}
	v.d.reload(v.config(2, v.web("rr", "", 1, 1)))
	lab.Until(v.t, 10*time.Second, func() (bool, string) {
		left := v.d.connections()
		return len(left) == 0, fmt.Sprintf("connections left: %+v", left)
	})
}

// A check by the service takes out whom a plain one thinks well: no VIP on lo, no
// decapsulator, a wrong gateway. Mended, they come back.
func TestViaService(t *testing.T) {
	for _, s := range []shape{
		{method: "nat", arms: 2, servers: 2}, {method: "dr", arms: 1, servers: 2}, {method: "tun", arms: 2, servers: 2},
		{method: "tun", tunnel: "gre", arms: 1, servers: 2}, {method: "tun", tunnel: "gue", arms: 1, servers: 2, v6: true},
	} {
		t.Run(s.String(), func(t *testing.T) {
			v := newVia(t, s, "", "", func(*cluster) {})
			v.finds("at first", true)
			first := v.servers[0]
			lo := fmt.Sprintf(" %v/%d dev lo", v.vip, v.vip.BitLen())
			switch s.method {
			case "nat":
				first.IP(strings.Replace(v.via(insideGW), "add", "replace", 1))
				v.finds("with a wrong gateway", false)
				first.IP(strings.Replace(v.via(insideDIP), "add", "replace", 1))
			case "dr":
				first.IP("addr del" + lo)
				v.finds("without the VIP on lo", false)
				first.IP("addr add" + lo)
			case "tun":
				first.decap.Signal(syscall.SIGTERM)
				if err := first.decap.Wait(5 * time.Second); err != nil {
					t.Fatal(err)
				}
				first.IP("addr add" + lo)
				v.finds("without a decapsulator", false)
				first.IP("addr del" + lo)
				first.startDecap(v.cluster)
			}
			v.finds("again", true)
			v.settled()
		})
	}
}

// It does so too where the host has the VIP itself, and filters strictly by the way back.
func TestViaServiceWithTheVIPOnTheHost(t *testing.T) {
	for _, s := range []shape{
		{method: "nat", arms: 2, servers: 2}, {method: "tun", arms: 1, servers: 2}, {method: "dr", arms: 2, servers: 2, v6: true},
	} {
		t.Run(s.String(), func(t *testing.T) {
			v := newVia(t, s, "", "", func(c *cluster) {
				c.director.IP(fmt.Sprintf("addr add %v/%d dev %s", c.vip, c.vip.BitLen(), c.port))
				for _, dev := range []string{"all", "default", "in"} {
					c.director.Sysctl("ipv4/conf/"+dev+"/rp_filter", "1")
				}
			})
			v.finds("with the VIP on the host", true)
		})
	}
}

// With one arm the director is on the servers' own subnet, and they need no gateway to
// answer it. An address of the host port, which only the director has a way to, is asked
// from instead.
func TestViaServiceFromTheHostPort(t *testing.T) {
	more := "[[port]]\nname = \"tun9\"\ndriver = \"tun\"\naddresses = \"192.0.2.1/32\"\n"
	v := newVia(t, shape{method: "nat", arms: 1, servers: 2}, "host_port = \"tun9\"\n", more, func(*cluster) {})
	v.finds("at first", true)
	v.servers[0].IP("route replace default via " + insideGW)
	v.finds("with a wrong gateway", false)
	v.servers[0].IP("route replace default via " + insideDIP)
	v.finds("again", true)
}
