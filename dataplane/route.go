package dataplane

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/packet"
)

// RouteKind says what a route does with a packet.
type RouteKind uint8

const (
	Unicast     RouteKind = iota // out by Port, to Via or, on-link, to the destination itself
	ToHost                       // an address of the director's own host
	Unreachable                  // also blackhole and prohibit
)

// Route is one line of the routing table that the workers read.
type Route struct {
	Dest netip.Prefix
	Kind RouteKind
	Via  netip.Addr // invalid: on-link
	Port int        // index of the port it leaves by
	Src  netip.Addr // source of what the director itself sends this way
	MTU  int        // bytes of IP packet; 0: the port's
}

// route is a compiled Route.
type route struct {
	prefix
	kind   RouteKind
	via    packet.Addr
	onLink bool
	port   uint16
	src    packet.Addr
	mtu    uint32
}

// compileRoutes orders routes by prefix length, longest first, keeping the given order
// within a length; the first that contains a destination is the one to use.
func compileRoutes(rs []Route, ports []Link) []route {
	out := make([]route, 0, len(rs))
	for _, r := range rs {
		c := route{
			prefix: newPrefix(r.Dest), kind: r.Kind, via: packet.AddrFrom(r.Via), onLink: !r.Via.IsValid(),
			port: uint16(r.Port), src: packet.AddrFrom(r.Src), mtu: uint32(r.MTU),
		}
		if c.mtu == 0 && r.Kind == Unicast {
			c.mtu = uint32(ports[r.Port].MTU)
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b route) int { return cmp.Compare(b.bits, a.bits) })
	return out
}

// route finds the longest prefix that contains dst; nil if there is none.
func (t *Table) route(dst packet.Addr) *route {
	for i := range t.routes {
		if t.routes[i].contains(dst) {
			return &t.routes[i]
		}
	}
	return nil
}
