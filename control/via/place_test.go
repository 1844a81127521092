package via

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
)

var ip, pre = netip.MustParseAddr, netip.MustParsePrefix

// twoArms is a director between clients (port out) and servers (port in), with a TUN to
// its host and a port that is not guarded.
func twoArms() Place {
	port := func(name string, guarded bool, addrs ...string) (p dataplane.PortEnv) {
		p.Name, p.Guarded = name, guarded
		for _, a := range addrs {
			p.Addresses = append(p.Addresses, pre(a))
		}
		return p
	}
	p := Place{Environment: dataplane.Environment{
		Ports: []dataplane.PortEnv{
			port("out", true, "198.51.100.2/24", "2001:db8:1::2/64", "fe80::1/64"),
			port("in", true, "10.0.0.1/24", "10.0.0.100/24", "fe80::2/64"),
			port("tun", false),
			port("own", false, "10.5.0.1/24"),
		},
		HostPort: 2,
	}}
	for i, e := range p.Ports {
		for _, a := range e.Addresses {
			p.Local = append(p.Local, a.Addr())
			p.Routes = append(p.Routes, dataplane.Route{Dest: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), Kind: dataplane.ToHost}, dataplane.Route{Dest: a.Masked(), Port: i})
		}
	}
	p.Routes = append(p.Routes, dataplane.Route{Dest: pre("0.0.0.0/0"), Via: ip("198.51.100.1"), Port: 0},
		dataplane.Route{Dest: pre("::/0"), Via: ip("2001:db8:1::1"), Port: 0},
		dataplane.Route{Dest: pre("10.8.0.0/16"), Via: ip("10.0.0.9"), Port: 1},
		dataplane.Route{Dest: pre("10.9.0.0/16"), Kind: dataplane.Unreachable})
	return p
}

// Who asks is somebody outside the server's subnet, if there is such an address.
func TestSource(t *testing.T) {
	vip := func(a netip.Addr) bool { return a == ip("10.0.0.100") || a == ip("198.51.100.80") }
	oneArm := func(p *Place) {
		p.Ports = append(p.Ports[:0:0], p.Ports[1:]...)
		p.HostPort = 1
		p.Routes = slices.DeleteFunc(p.Routes, func(r dataplane.Route) bool { return r.Port == 0 && r.Kind == dataplane.Unicast })
		for i := range p.Routes {
			if p.Routes[i].Kind == dataplane.Unicast {
				p.Routes[i].Port--
			}
		}
		p.Routes = append(p.Routes, dataplane.Route{Dest: pre("0.0.0.0/0"), Via: ip("10.0.0.254"), Port: 0})
	}
	for _, c := range []struct {
		what        string
		vip, server string
		method      conf.Forward
		change      func(*Place)
		want        string // an address, or words of the error
	}{
		{"the clients' side", "198.51.100.80", "10.0.0.11", conf.NAT, nil, "198.51.100.2"},
		{"the clients' side, by the default route", "203.0.113.80", "10.0.0.11", conf.DR, nil, "198.51.100.2"},
		{"not the VIP's subnet, if the server is on it", "10.0.0.100", "10.0.0.11", conf.NAT, nil, "198.51.100.2"},
		{"a server behind a router", "10.0.0.100", "10.8.0.1", conf.NAT, nil, "10.0.0.1"},
		{"a server without a route", "198.51.100.80", "10.9.0.1", conf.NAT, nil, "198.51.100.2"},
		{"one arm: the server's own subnet, but no VIP", "10.0.0.100", "10.0.0.11", conf.NAT, oneArm, "10.0.0.1"},
		{"the host port's address, behind NAT", "10.0.0.100", "10.0.0.11", conf.NAT, func(p *Place) {
			oneArm(p)
			p.Ports[p.HostPort].Addresses = []netip.Prefix{pre("192.0.2.1/32")}
			p.Local = append(p.Local, ip("192.0.2.1"))
		}, "192.0.2.1"},
		{"and with no other method", "10.0.0.100", "10.0.0.11", conf.DR, func(p *Place) {
			oneArm(p)
			p.Ports[p.HostPort].Addresses = []netip.Prefix{pre("192.0.2.1/32")}
			p.Local = append(p.Local, ip("192.0.2.1"))
		}, "10.0.0.1"},
		{"an IPv6 service by an IPv4 tunnel", "2001:db8:1::80", "10.0.0.11", conf.Tunnel, nil, "2001:db8:1::2"},
		{"no address that is not the host's", "198.51.100.80", "10.0.0.11", conf.NAT, func(p *Place) {
			p.Local = slices.DeleteFunc(p.Local, func(a netip.Addr) bool { return a == ip("198.51.100.2") })
		}, "10.0.0.1"},
		{"none of the family", "2001:db8:1::80", "10.0.0.11", conf.Tunnel, func(p *Place) {
			p.Local = slices.DeleteFunc(p.Local, func(a netip.Addr) bool { return a.Is6() && !a.IsLinkLocalUnicast() })
		}, "no guarded port has an IPv6 address"},
		{"a port without a guard", "198.51.100.80", "10.5.0.2", conf.NAT, nil, "port own, and no guard"},
		{"a server on the host", "198.51.100.80", "10.0.0.1", conf.NAT, nil, "on the director's own host"},
		{"a local server", "198.51.100.80", "10.0.0.11", conf.Local, nil, "leads to no other machine"},
		{"nowhere yet", "198.51.100.80", "10.0.0.11", conf.NAT, func(p *Place) { *p = Place{} }, "no guarded port"},
	} {
		p := twoArms()
		if c.change != nil {
			c.change(&p)
		}
		got := p.source(ends{ip(c.vip), ip(c.server), c.method}, vip)
		if a, err := netip.ParseAddr(c.want); err == nil {
			if got.err != nil || got.addr != a {
				t.Errorf("%s: from %v, %v; want %s", c.what, got.addr, got.err, c.want)
			}
		} else if !errors.Is(got.err, health.ErrLocal) || !strings.Contains(got.err.Error(), c.want) {
			t.Errorf("%s: from %v, %v; want an error with %q", c.what, got.addr, got.err, c.want)
		}
	}
}
