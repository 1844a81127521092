package via

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
)

// Place is where the director stands in the network.
type Place struct {
	dataplane.Environment
	Local []netip.Addr // addresses of the host
}

// origin is the source address for a server, or why there is none.
type origin struct {
	addr netip.Addr
	err  error
}

// source chooses the address of the host from which a server is asked. A client is
// somewhere else than the server, and so that the server's answer goes the way of a
// client's (by its gateway, above all), an address outside the server's own subnet is
// taken where there is one: behind NAT the host port's, which nothing but the server's
// gateway leads to; then those of the ports to the clients: on the VIP's subnet, then by
// the default route. Else it is one on the server's subnet, and its gateway goes unasked.
func (p *Place) source(e ends, vip func(netip.Addr) bool) origin {
	method, rt := e.method, p.route(e.server)
	switch {
	case method != conf.NAT && method != conf.DR && method != conf.Tunnel:
		return refused("forward = %q leads to no other machine", method)
	case rt != nil && rt.Kind == dataplane.ToHost:
		return refused("the server is on the director's own host, where its answers stay")
	case rt != nil && rt.Kind == dataplane.Unicast && !p.Ports[rt.Port].Guarded:
		return refused("answers would come by port %s, and no guard keeps the host off them", p.Ports[rt.Port].Name)
	}
	var on []netip.Prefix
	if method == conf.NAT && p.HostPort >= 0 && p.HostPort < len(p.Ports) {
		on = append(on, p.Ports[p.HostPort].Addresses...)
	}
	for _, port := range p.Ports {
		if slices.ContainsFunc(port.Addresses, func(a netip.Prefix) bool { return a.Contains(e.vip) }) {
			on = append(on, guarded(&port)...)
		}
	}
	for _, to := range []*dataplane.Route{p.defaultRoute(e.vip.Is6()), rt} {
		if to != nil && to.Kind == dataplane.Unicast {
			on = append(on, guarded(&p.Ports[to.Port])...)
		}
	}
	on = slices.DeleteFunc(on, func(a netip.Prefix) bool {
		return a.Addr().Is6() != e.vip.Is6() || a.Addr().IsLinkLocalUnicast() || vip(a.Addr()) || !slices.Contains(p.Local, a.Addr())
	})
	for _, a := range on {
		if !a.Contains(e.server) {
			return origin{addr: a.Addr()}
		}
	}
	if len(on) > 0 {
		return origin{addr: on[0].Addr()}
	}
	family := "IPv4"
	if e.vip.Is6() {
		family = "IPv6"
	}
	return refused("no guarded port has an %s address of the host, other than a VIP, to ask from", family)
}

func refused(format string, args ...any) origin {
	return origin{err: fmt.Errorf("%w: %s", health.ErrLocal, fmt.Sprintf(format, args...))}
}

// guarded are the addresses of a port where the host is kept off answers.
func guarded(p *dataplane.PortEnv) []netip.Prefix {
	if p.Guarded {
		return p.Addresses
	}
	return nil
}

// route is the route to an address, nil for none: the first of the longest prefix, as for
// the workers.
func (p *Place) route(to netip.Addr) (best *dataplane.Route) {
	for i := range p.Routes {
		if r := &p.Routes[i]; r.Dest.Contains(to) && (best == nil || r.Dest.Bits() > best.Dest.Bits()) {
			best = r
		}
	}
	return best
}

func (p *Place) defaultRoute(v6 bool) *dataplane.Route {
	for i := range p.Routes {
		if r := &p.Routes[i]; r.Dest.Bits() == 0 && r.Dest.Addr().Is6() == v6 {
			return r
		}
	}
	return nil
}
