package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// A cluster is a client, a router, a director and real servers.
//
//	two arms:  client --- router --- director --- lan --- servers
//	                         `------------------- lan
//	one arm:   client --- router --- lan --- director, servers
//
// Behind NAT the director is the servers' default gateway; with DR and tunnels that is
// the router, so that answers pass the director by.
type cluster struct {
	t                             testing.TB
	shape                         shape
	client, router, director, lan *lab.NS
	servers                       []*server
	vip                           netip.Addr
	port                          string // the director's port to the clients
	sources                       int    // addresses that clients of steady loads have had
}

// shape is what may differ between clusters.
type shape struct {
	method  string // nat, dr, tun
	mode    string // how the director's ports receive; "" is its default
	tunnel  string // type of tun's tunnels; "" is ipip
	arms    int    // 1 or 2; 0 is 2
	servers int    // 0 is 2
	queues  int    // of each interface; 0 is 1
	plain   bool   // no nginx, and no addresses for DR and tunnels
	v6      bool   // IPv6 in the place of IPv4: see ip
}

// Addresses. The VIP is in the network of the port by which clients come.
const (
	clientIP   = "198.18.0.10"
	client2IP  = "198.18.0.11"
	outsideDIP = "198.18.1.2"
	outsideGW  = "198.18.1.254"
	insideDIP  = "10.9.0.1"
	insideGW   = "10.9.0.254"
)

func (s shape) String() string {
	name := fmt.Sprintf("%s%s/%d-arm", s.method, s.tunnel, s.arms)
	if s.v6 {
		name += "/IPv6"
	}
	if s.mode != "" {
		name += "/" + s.mode
	}
	return name
}

// guePort is where servers take GUE packets.
const guePort = 6080

// wrapped is what a server's lines in the file say of its tunnel.
func (s shape) wrapped() string {
	switch s.tunnel {
	case "":
		return ""
	case "gue":
		return fmt.Sprintf("tunnel = { type = \"gue\", port = %d }\n", guePort)
	}
	return fmt.Sprintf("tunnel = { type = %q }\n", s.tunnel)
}

// ip is an address in the cluster's family: the IPv6 twin of 10.9.0.1 is fd00:10:9::1.
func (c *cluster) ip(v4 string) string {
	if !c.shape.v6 {
		return v4
	}
	i := strings.LastIndexByte(v4, '.')
	return netip.MustParseAddr("fd00:" + strings.ReplaceAll(v4[:i], ".", ":") + "::" + v4[i+1:]).String()
}

// on gives an interface an address with its network, in ip(8)'s words; via is a default route.
func (c *cluster) on(dev, v4 string) string {
	if c.shape.v6 {
		return "addr add " + c.ip(v4) + "/64 dev " + dev + " nodad"
	}
	return "addr add " + v4 + "/24 dev " + dev
}

func (c *cluster) via(v4 string) string {
	if c.shape.v6 {
		return "route add ::/0 via " + c.ip(v4)
	}
	return "route add default via " + v4
}

// newCluster lays the cables and starts the servers.
func newCluster(t testing.TB, s shape) *cluster {
	t.Helper()
	s.arms, s.servers, s.queues = max(s.arms, 1), max(s.servers, 1), max(s.queues, 1)
	c := &cluster{t: t, shape: s, client: lab.New(t, "client"), router: lab.New(t, "router"),
		director: lab.New(t, "director"), lan: lab.New(t, "lan")}
	c.lan.Bridge("switch0")
	lab.Veth(lab.Link{NS: c.client, Dev: "c0"}, lab.Link{NS: c.router, Dev: "client"}, s.queues)
	c.lan.Plug("switch0", lab.Link{NS: c.router, Dev: "lan"}, s.queues)
	c.lan.Plug("switch0", lab.Link{NS: c.director, Dev: "in"}, s.queues)
	c.client.IP(c.on("c0", clientIP), c.on("c0", client2IP), c.via("198.18.0.1"))
	c.router.IP(c.on("client", "198.18.0.1"), c.on("lan", insideGW))
	c.router.Sysctl("ipv4/ip_forward", "1")
	c.router.Sysctl("ipv6/conf/all/forwarding", "1")
	c.router.Sysctl("ipv4/conf/all/send_redirects", "0")
	c.router.Sysctl("ipv4/conf/lan/send_redirects", "0") // one arm: the way back may be shorter
	c.director.IP(c.on("in", insideDIP))
	if s.arms == 2 {
		lab.Veth(lab.Link{NS: c.router, Dev: "outside"}, lab.Link{NS: c.director, Dev: "out"}, s.queues)
		c.router.IP(c.on("outside", outsideGW))
		c.director.IP(c.on("out", outsideDIP), c.via(outsideGW))
		c.vip, c.port = netip.MustParseAddr(c.ip("198.18.1.100")), "out"
	} else {
		c.director.IP(c.via(insideGW))
		c.vip, c.port = netip.MustParseAddr(c.ip("10.9.0.100")), "in"
	}
	for i := range s.servers {
		c.servers = append(c.servers, c.newServer(i+1))
	}
	return c
}

// config is a configuration with the cluster's ports and whatever follows, in which
// VIP, SERVER1 and so on stand for addresses.
func (c *cluster) config(workers int, rest string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[director]\nworkers = %d\n", workers)
	mode := ""
	if c.shape.mode != "" {
		mode = fmt.Sprintf("mode = %q\n", c.shape.mode)
	}
	if c.shape.arms == 2 {
		b.WriteString("[[port]]\nname = \"out\"\n" + mode)
	}
	b.WriteString("[[port]]\nname = \"in\"\n" + mode)
	b.WriteString(c.fill(rest))
	return b.String()
}

// fill puts addresses in the place of their names.
func (c *cluster) fill(s string) string {
	pairs := []string{"VIP", bracket(c.vip), "METHOD", c.shape.method}
	for i, srv := range c.servers {
		pairs = append(pairs, fmt.Sprintf("SERVER%d", i+1), srv.addr.String())
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// web is a service of TCP port 80 with servers of the given weights.
func (c *cluster) web(scheduler, more string, weights ...int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[[service]]\nlisten = \"tcp/VIP:80\"\nscheduler = %q\nforward = \"METHOD\"\n%s\n", scheduler, more)
	for i, w := range weights {
		fmt.Fprintf(&b, "[[service.server]]\naddress = \"SERVER%d\"\nweight = %d\n%s", i+1, w, c.shape.wrapped())
	}
	return b.String()
}

// url is an address of the virtual service.
func (c *cluster) url(path string) string { return "http://" + bracket(c.vip) + path }

// bracket is an address as it is written before a port.
func bracket(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// everyDev calls f for both ends of every cable.
func (c *cluster) everyDev(f func(ns *lab.NS, dev string)) {
	all := append([]*lab.NS{c.client, c.router, c.director, c.lan}, c.serverSpaces()...)
	for _, ns := range all {
		for dev := range strings.FieldsSeq(ns.Must("sh", "-c", "ls /sys/class/net")) {
			if dev != "lo" && dev != "switch0" && !strings.Contains(dev, "tun") {
				f(ns, dev)
			}
		}
	}
}

func (c *cluster) serverSpaces() (list []*lab.NS) {
	for _, s := range c.servers {
		list = append(list, s.NS)
	}
	return list
}
