package demo

import (
	"fmt"
	"net/netip"
	"strings"
)

// The addresses are of RFC 5737 (documentation) where clients would see them, private
// where they would not.
const vip = "192.0.2.10"

// network is one bridge.
type network string

const (
	outside network = "outside"
	inside  network = "inside"
)

// socket is where a node is plugged in: its first is eth0.
type socket struct {
	net  network
	addr string // with prefix length
}

// node is one machine.
type node struct {
	name    string
	sockets []socket
	gateway string // of the default route; "": none
	forward bool   // it is a router
}

// server is a real server.
type server struct {
	name   string
	addr   netip.Addr
	weight int
}

// method is a forwarding method and the network that shows it.
type method struct {
	name       string // as in the configuration file and in --method
	title      string
	explain    []string
	picture    []string
	nodes      []node
	servers    []server
	realserver []string // arguments of dirigo realserver; nil: the servers need nothing
	ports      []string // of the director
}

var weights = []int{1, 2, 3}

// servers are server1 and so on, at prefix11 and so on.
func servers(prefix string) (list []server) {
	for i, w := range weights {
		list = append(list, server{fmt.Sprintf("server%d", i+1), netip.MustParseAddr(fmt.Sprintf("%s%d", prefix, 11+i)), w})
	}
	return list
}

// with adds the servers' nodes.
func (m method) with(net network, gateway string, list []server) method {
	m.servers = list
	for _, s := range list {
		m.nodes = append(m.nodes, node{name: s.name, sockets: []socket{{net, s.addr.String() + "/24"}}, gateway: gateway})
	}
	return m
}

// methods are all of them, in the order they are shown.
func methods() []method {
	client := node{name: "client", sockets: []socket{{outside, "192.0.2.1/24"}}}
	director := node{name: "director", sockets: []socket{{outside, "192.0.2.2/24"}}}
	nat := method{
		name: "nat", title: "NAT (masquerading)",
		explain: []string{
			"The director puts the server's address in place of the VIP, and the VIP back into the answers.",
			"So both directions pass through it, and it is the servers' default gateway.",
		},
		picture: []string{
			"client 192.0.2.1 ---- 192.0.2.2 director 10.77.0.1 ---- 10.77.0.11..13 server1..3",
			"                      VIP " + vip,
		},
		nodes: []node{client, {name: "director", sockets: []socket{{outside, "192.0.2.2/24"}, {inside, "10.77.0.1/24"}}}},
		ports: []string{"eth0", "eth1"},
	}
	dr := method{
		name: "dr", title: "DR (direct routing)",
		explain: []string{
			"The director changes nothing but the frame's MAC address. The servers have the VIP on lo, do not",
			"answer ARP for it (dirigo realserver), and answer the client directly, past the director.",
		},
		picture: []string{
			"client 192.0.2.1 ----+---- 192.0.2.2 director, VIP " + vip,
			"                     +---- 192.0.2.11..13 server1..3, VIP on lo",
		},
		nodes: []node{client, director}, realserver: []string{}, ports: []string{"eth0"},
	}
	director.gateway = "192.0.2.254"
	tun := method{
		name: "tun", title: "TUN (IPIP tunnels)",
		explain: []string{
			"The director puts an IP header to the server before the packet, so servers may be anywhere. They",
			"take it off (dirigo realserver --decap), have the VIP on lo and answer the client directly.",
		},
		picture: []string{
			"client 192.0.2.1 ----+---- 192.0.2.2 director, VIP " + vip,
			"                     +---- 192.0.2.254 router 10.77.0.254 ---- 10.77.0.11..13 server1..3, VIP on lo",
		},
		nodes: []node{client, director, {
			name: "router", sockets: []socket{{outside, "192.0.2.254/24"}, {inside, "10.77.0.254/24"}}, forward: true,
		}},
		realserver: []string{"--decap"}, ports: []string{"eth0"},
	}
	return []method{
		nat.with(inside, "10.77.0.1", servers("10.77.0.")),
		dr.with(outside, "", servers("192.0.2.")),
		tun.with(inside, "10.77.0.254", servers("10.77.0.")),
	}
}

// selected are the methods that --method names.
func selected(name string) ([]method, error) {
	var names []string
	for _, m := range methods() {
		if name == m.name {
			return []method{m}, nil
		}
		names = append(names, m.name)
	}
	if name == "all" {
		return methods(), nil
	}
	return nil, fmt.Errorf("--method %q: want %s or all", name, strings.Join(names, ", "))
}

// config is the director's configuration file. After some thousand requests the client
// uses its ports again, and where the director does not see the servers' answers their
// entries are still in FIN_WAIT then: conn_reuse_mode 3 schedules such a connection anew,
// the default would give it to the same server and upset the shares.
func (m *method) config(control string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[director]\nname = \"demo\"\nworkers = 2\ncontrol = %q\n\n[conntrack]\nmax_connections = 65536\n\n[sysctl]\nconn_reuse_mode = 3\n", control)
	for _, p := range m.ports {
		fmt.Fprintf(&b, "\n[[port]]\nname = %q\nring_slots = 64\n", p)
	}
	fmt.Fprintf(&b, "\n[[service]]\nname = \"web\"\nlisten = \"tcp/%s:80\"\nscheduler = \"wrr\"\nforward = %q\n", vip, m.name)
	for _, s := range m.servers {
		fmt.Fprintf(&b, "\n  [[service.server]]\n  name = %q\n  address = \"%v:80\"\n  weight = %d\n", s.name, s.addr, s.weight)
	}
	return b.String()
}

// share is what a server of weight w is to get of n.
func (m *method) share(w, n int) float64 {
	sum := 0
	for _, s := range m.servers {
		sum += s.weight
	}
	return float64(n) * float64(w) / float64(sum)
}
