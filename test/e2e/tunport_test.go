package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A director without an interface of its own: the host routes the VIP into its TUN
// device, and the servers' answers come back there by policy rule.
func TestTUNPortOnly(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprintf("workers=%d", workers), func(t *testing.T) {
			c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
			c.director.Sysctl("ipv4/ip_forward", "1")
			c.router.IP(fmt.Sprintf("route add %v/32 via %s", c.vip, outsideDIP)) // no ARP for the VIP
			d := startDirector(t, c.director, fmt.Sprintf("[director]\nworkers = %d\n[[port]]\nname = \"lvs0\"\ndriver = \"tun\"\n", workers)+c.fill(c.web("rr", "", 1, 1)))
			c.director.IP(fmt.Sprintf("route replace %v/32 dev lvs0", c.vip))
			c.want("requests", fetch(c, c.client, 40, 1, c.url("/")), map[string]int{"s1": 20, "s2": 20})
			c.want("parallel requests", fetch(c, c.client, 400, 50, c.url("/")), map[string]int{"s1": 200, "s2": 200})
			c.download(16 * mib)
			c.upload(16 * mib)
			d.reload(fmt.Sprintf("[director]\nworkers = %d\n[[port]]\nname = \"lvs0\"\ndriver = \"tun\"\n", workers) + c.fill(c.web("rr", "", 0, 1)))
			c.want("after a reload", fetch(c, c.client, 10, 1, c.url("/")), map[string]int{"s2": 10})
			d.stop()
			c.nothingLeft(d)
		})
	}
}

// Real servers on the director's own host, beside one elsewhere: at a loopback address,
// and at the DIP.
func TestLocalServers(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	for name, addr := range map[string]string{"loop": "127.0.0.1:8080", "dip": outsideDIP + ":8080"} {
		l := c.director.Listen(addr)
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			client, _, _ := strings.Cut(r.RemoteAddr, ":")
			fmt.Fprintf(w, "%s %s\n", name, client)
		}))
	}
	config := strings.Replace(c.config(2, `[[port]]
name = "host0"
driver = "tun"
[[service]]
listen = "tcp/VIP:80"
scheduler = "rr"
forward = "nat"
[[service.server]]
address = "SERVER1"
[[service.server]]
address = "127.0.0.1:8080"
[[service.server]]
address = "DIP:8080"
`), "[director]", "[director]\nhost_port = \"host0\"", 1)
	d := startDirector(t, c.director, strings.Replace(config, "DIP", outsideDIP, 1))
	c.want("30 requests", fetch(c, c.client, 30, 1, c.url("/")), map[string]int{
		"s1": 10, "loop " + clientIP: 10, "dip " + clientIP: 10})
	c.want("300 requests", fetch(c, c.client, 300, 30, c.url("/")), map[string]int{
		"s1": 100, "loop " + clientIP: 100, "dip " + clientIP: 100})
	d.waitReason("forward_local", 200*4)
	d.stop()
	c.nothingLeft(d)
}

// nothingLeft checks that a director that has stopped took everything with it.
func (c *cluster) nothingLeft(d *director) {
	c.t.Helper()
	if got := c.director.Must("nft", "list", "tables"); got != "" {
		c.t.Errorf("nft tables are left: %s", got)
	}
	if got := c.director.Must("ip", "-br", "link", "show", "type", "tun"); got != "" {
		c.t.Errorf("TUN devices are left: %s", got)
	}
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(c.director.Must("ip", family, "rule")) {
			if !strings.Contains(line, "lookup local") && !strings.Contains(line, "lookup main") && !strings.Contains(line, "lookup default") {
				c.t.Errorf("a policy rule is left: %s", line)
			}
		}
		for line := range strings.Lines(c.director.Must("ip", family, "route", "show", "table", "all")) {
			if _, other, found := strings.Cut(line, "table "); found && !strings.HasPrefix(other, "local") && !strings.HasPrefix(other, "main") {
				c.t.Errorf("a route is left: %s", line)
			}
		}
	}
	if _, err := d.status(); err == nil {
		c.t.Error("somebody still serves the control socket")
	}
	if got, err := c.director.Run("ls", d.socket); err == nil {
		c.t.Errorf("the control socket is left: %s", got)
	}
}
