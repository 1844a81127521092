package twin

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// network is what a round takes place in: clients behind port 0, which also leads to the
// rest of the world, real servers behind port 1.
type network struct {
	mtu      [2]int // bytes of IP packet, by port
	routes   []route
	sysctl   conf.Sysctl
	services []conf.Service
}

// route is a line of the routing table; of those that hold an address the longest counts.
type route struct {
	to   netip.Prefix
	via  netip.Addr // invalid: on-link
	port int        // -1: unreachable
	mtu  int        // 0: the port's
}

// own are the director's addresses: by port, IPv4 and IPv6.
var own = [2][2]netip.Prefix{
	{netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("2001:db8:1::1/64")},
	{netip.MustParsePrefix("10.0.2.1/24"), netip.MustParsePrefix("2001:db8:2::1/64")},
}

var directorMAC = [2]packet.MAC{{2, 0, 0, 0, 1, 1}, {2, 0, 0, 0, 2, 1}}

// hostMAC is the link address of every other host.
func hostMAC(port int, a netip.Addr) packet.MAC {
	b := a.As16()
	m := packet.MAC{2, 0, 4, 0, byte(port + 1), b[15]}
	if a.Is6() {
		m[2] = 6
	}
	return m
}

func addrs(s ...string) (list []netip.Addr) {
	for _, a := range s {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

var (
	vips    = [2][]netip.Addr{addrs("10.0.1.100", "192.0.2.80"), addrs("2001:db8:1::100", "2001:db8:7::80")}
	clients = [2][]netip.Addr{
		addrs("10.0.1.20", "10.0.1.21", "10.0.1.22", "198.51.100.1", "198.51.100.2", "198.51.100.255"),
		addrs("2001:db8:1::20", "2001:db8:1::21", "2001:db8:f::1", "2001:db8:f::2", "2001:db8:f:0:ffff:ffff:ffff:ffff"),
	}
	// Of the clients the last but one has a narrow way; of the servers too, where the last
	// but two is beyond port 0 and the last cannot be reached.
	servers = [2][]netip.Addr{
		addrs("10.0.2.11", "10.0.2.12", "10.0.2.13", "203.0.113.9", "10.0.2.18", "10.0.2.19"),
		addrs("2001:db8:2::11", "2001:db8:2::12", "2001:db8:2::13", "2001:db8:9::9", "2001:db8:2::18", "2001:db8:2::19"),
	}
)

// newNetwork draws MTUs, settings and services.
func newNetwork(r *rand.Rand) *network {
	n := &network{mtu: [2]int{1500, pick(r, 1500, 1400, 1300)}}
	for port := range own {
		for _, p := range own[port] {
			n.routes = append(n.routes, route{to: p.Masked(), port: port})
		}
	}
	gateways := addrs("10.0.1.254", "2001:db8:1::fe")
	for family, bits := range []int{32, 128} {
		narrow := clients[family][len(clients[family])-2]
		n.routes = append(n.routes,
			route{to: netip.PrefixFrom(narrow, bits), via: gateways[family], mtu: pick(r, 1400, 1300, 1280)},
			route{to: netip.PrefixFrom(servers[family][4], bits), port: 1, mtu: pick(r, 1300, 1290, 1280)},
			route{to: netip.PrefixFrom(servers[family][5], bits), port: -1})
	}
	n.routes = append(n.routes,
		route{to: netip.MustParsePrefix("0.0.0.0/0"), via: gateways[0]},
		route{to: netip.MustParsePrefix("::/0"), via: gateways[1]})
	n.sysctl = conf.Sysctl{
		ConnReuseMode: pick(r, 1, 1, 0, 2, 3), ExpireNodestConn: pick(r, conf.On, conf.Off, conf.Off),
		ExpireQuiescentTemplate: pick(r, conf.On, conf.Off, conf.Off), SloppyTCP: pick(r, conf.On, conf.Off, conf.Off, conf.Off),
		NATICMPSend: pick(r, conf.On, conf.Off, conf.Off), PMTUDisc: pick(r, conf.On, conf.On, conf.Off),
		SecureTCP: pick(r, 0, 0, 0, 3), AmDroprate: 10, Amemthresh: 1024,
	}
	families := pick(r, []int{0, 1}, []int{0, 1}, []int{0, 1}, []int{0}, []int{1})
	for _, f := range families {
		for _, k := range []conf.ServiceKey{
			{Proto: protoTCP, Addr: vips[f][0], Port: 80}, {Proto: protoTCP, Addr: vips[f][1], Port: 80},
			{Proto: protoUDP, Addr: vips[f][0], Port: 53}, {Proto: protoUDP, Addr: vips[f][1], Port: 53},
			{Proto: protoTCP, Addr: vips[f][0], Port: 21}, {Proto: protoTCP, Addr: vips[f][1], Port: 0},
			{Proto: protoUDP, Addr: vips[f][0], Port: 0}, {Proto: protoTCP, Addr: vips[f][1], Port: 8080},
		} {
			if r.IntN(4) > 0 {
				n.services = append(n.services, newService(r, f, k))
			}
		}
	}
	return n
}

func newService(r *rand.Rand, family int, k conf.ServiceKey) conf.Service {
	s := conf.Service{Key: k, Scheduler: pick(r, "rr", "rr", "rr", "wlc", "wrr", "sh"), OnePacket: k.Proto == protoUDP && r.IntN(4) == 0}
	if k.Port == 0 || r.IntN(4) == 0 {
		s.Persistence.Timeout = 6 * time.Minute
		s.Persistence.Prefix = pick(r, 0, 64)
		if family == 0 && r.IntN(2) == 0 {
			s.Persistence.Netmask = netip.MustParseAddr("255.255.255.0")
		}
	}
	only := r.IntN(6) // 0, 1, 2: servers of one method
	for _, i := range r.Perm(len(servers[family]))[:1+r.IntN(4)] {
		srv := conf.Server{Addr: servers[family][i], Port: k.Port, Weight: pick(r, 1, 1, 2, 3, 0)}
		srv.Forward = pick(r, conf.NAT, conf.DR, conf.Tunnel)
		if only < 3 {
			srv.Forward = []conf.Forward{conf.NAT, conf.DR, conf.Tunnel}[only]
		}
		if k.Port == 21 && srv.Forward == conf.NAT { // the FTP helper is no matter of this twin
			srv.Forward = conf.DR
		}
		switch {
		case srv.Forward == conf.NAT && k.Port != 0 && r.IntN(2) == 0:
			srv.Port = k.Port + 8000
		case srv.Forward == conf.Tunnel && r.IntN(3) == 0:
			srv.Addr = servers[1-family][i]
		}
		s.Servers = append(s.Servers, srv)
	}
	return s
}

// routeTo finds the way to an address, nil if there is none.
func (n *network) routeTo(a netip.Addr) (best *route) {
	for i := range n.routes {
		r := &n.routes[i]
		if r.to.Contains(a) && (best == nil || r.to.Bits() > best.to.Bits()) {
			best = r
		}
	}
	if best != nil && best.port < 0 {
		return nil
	}
	return best
}

// mtuOf is how long an IP packet may be on a route, in bytes.
func (n *network) mtuOf(r *route) int {
	if r.mtu != 0 {
		return r.mtu
	}
	return n.mtu[r.port]
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }
