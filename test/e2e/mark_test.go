package e2e

import (
	"fmt"
	"net/netip"
	"testing"
)

const marked = `[[mark]]
destination = "VIP"
proto = "tcp"
dport = [80, 443]
value = 7
[[service]]
fwmark = 7
scheduler = "rr"
forward = "METHOD"
persistence = { timeout = "1m" }
[[service.server]]
address = "SERVER1"
[[service.server]]
address = "SERVER2"
`

// http and https of one site under one mark, with persistence: a client has both at the
// same server. A fwmark service has no address, so somebody else has to bring the VIP's
// frames: a service of another port, a route at the router, or the host that has the VIP.
func TestMarkedPortsShareAServer(t *testing.T) {
	const other = "[[service]]\nlisten = \"tcp/VIP:9\"\nscheduler = \"rr\"\nforward = \"METHOD\"\n"
	for _, row := range []struct {
		method, by, more string
		bring            func(*cluster)
	}{
		{"nat", "a service", other, func(*cluster) {}},
		{"dr", "a service", other, func(*cluster) {}},
		{"tun", "a service", other, func(*cluster) {}},
		{"nat", "a route", "", func(c *cluster) { c.router.IP(fmt.Sprintf("route add %v/32 via %s", c.vip, outsideDIP)) }},
		{"nat", "the host", "", func(c *cluster) { c.director.IP(fmt.Sprintf("addr add %v/32 dev out", c.vip)) }},
	} {
		t.Run(row.method+", VIP by "+row.by, func(t *testing.T) {
			c := newCluster(t, shape{method: row.method, arms: 2, servers: 2})
			row.bring(c)
			startDirector(t, c.director, c.config(2, marked+row.more))
			c.sticks()
			if got, err := tryFetch(c.client, 1, 1, c.url(":8080/"), "--connect-timeout", "0.3"); err == nil {
				t.Errorf("port 8080, which has no mark, was answered: %v", got)
			}
		})
	}
}

// A service of all ports: what the client asks for decides the server's port.
func TestServiceOfAllPorts(t *testing.T) {
	for _, method := range []string{"nat", "dr", "tun"} {
		t.Run(method, func(t *testing.T) {
			c := newCluster(t, shape{method: method, arms: 2, servers: 2})
			startDirector(t, c.director, c.config(2, `[[service]]
listen = "tcp/VIP:*"
scheduler = "rr"
forward = "METHOD"
persistence = {}
[[service.server]]
address = "SERVER1"
[[service.server]]
address = "SERVER2"
`))
			c.sticks()
			if got := c.one(fetch(c, c.client, 2, 1, c.url(":8080/who"))); len(got) < 4 || got[len(got)-4:] != "8080" {
				t.Errorf("a request to port 8080: %q", got)
			}
		})
	}
}

// sticks checks that each of four clients has one server on ports 80 and 443, and that
// not all have the same.
func (c *cluster) sticks() {
	c.t.Helper()
	servers := map[string]int{}
	for i := range 4 {
		from := netip.AddrFrom4([4]byte{198, 18, 0, byte(50 + i)}).String()
		c.client.IP("addr add " + from + "/24 dev c0")
		first := ""
		for _, port := range []string{"80", "443", "80"} {
			got := c.one(fetch(c, c.client, 3, 1, c.url(":"+port+"/who"), "--interface", from))
			var name, client, at string
			if _, err := fmt.Sscan(got, &name, &client, &at); err != nil || client != from || at != port {
				c.t.Errorf("%s asked port %s: answer %q", from, port, got)
			}
			if first == "" {
				first = name
				servers[name]++
			} else if name != first {
				c.t.Errorf("%s had %s and then %s on port %s", from, first, name, port)
			}
		}
	}
	c.want("clients by server", servers, map[string]int{"s1": 2, "s2": 2})
}
