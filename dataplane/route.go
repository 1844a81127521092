package dataplane

import (
	"cmp"
	"encoding/binary"
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
	kind   RouteKind
	onLink bool
	port   uint16
	mtu    uint32
	via    packet.Addr
	src    packet.Addr
}

// routeTable finds the longest prefix that contains an address: one map for each prefix
// length in use, asked from the longest on. Workers keep what they found (routeCache).
type routeTable struct {
	lengths []routeLength
}

type routeLength struct {
	bits   int // within the family
	v6     bool
	routes map[packet.Addr]*route // by masked address
}

// compileRoutes makes the table. Of several routes to one prefix the first counts.
func compileRoutes(rs []Route, ports []Link) (t routeTable) {
	for _, r := range rs {
		c := &route{
			kind: r.Kind, via: packet.AddrFrom(r.Via), onLink: !r.Via.IsValid(),
			port: uint16(r.Port), src: packet.AddrFrom(r.Src), mtu: uint32(r.MTU),
		}
		if r.Kind == Unicast && (r.Port < 0 || r.Port >= len(ports)) {
			c.kind, c.port = Unreachable, 0
		} else if c.mtu == 0 && r.Kind == Unicast {
			c.mtu = uint32(ports[r.Port].MTU)
		}
		p := newPrefix(r.Dest)
		i := slices.IndexFunc(t.lengths, func(l routeLength) bool { return l.bits == p.bits && l.v6 == p.v6 })
		if i < 0 {
			i = len(t.lengths)
			t.lengths = append(t.lengths, routeLength{p.bits, p.v6, map[packet.Addr]*route{}})
		}
		if t.lengths[i].routes[p.addr] == nil {
			t.lengths[i].routes[p.addr] = c
		}
	}
	slices.SortFunc(t.lengths, func(a, b routeLength) int { return cmp.Compare(b.bits, a.bits) })
	return t
}

// find returns the route to dst, nil if there is none.
func (t *routeTable) find(dst packet.Addr) *route {
	v6 := !dst.Is4()
	for i := range t.lengths {
		if l := &t.lengths[i]; l.v6 == v6 {
			if r := l.routes[dst.Mask(l.bits)]; r != nil {
				return r
			}
		}
	}
	return nil
}

// routeCache is a worker's own memory of recent answers, good for one table.
type routeCache struct {
	gen     uint64
	entries [routeEntries]routeEntry
}

const routeEntries = 1024 // power of two

type routeEntry struct {
	addr  packet.Addr
	route *route
	known bool
}

// route finds the route to dst in the table of the batch.
func (w *Worker) route(dst *packet.Addr) *route {
	c := &w.routes
	if c.gen != w.table.gen {
		*c = routeCache{gen: w.table.gen}
	}
	lo := binary.LittleEndian.Uint64(dst[8:]) ^ binary.LittleEndian.Uint64(dst[:])
	e := &c.entries[lo*0x9e3779b97f4a7c15>>(64-10)] // 2^64 over the golden ratio: Knuth 6.4
	if !e.known || e.addr != *dst {
		*e = routeEntry{*dst, w.table.routes.find(*dst), true}
	}
	return e.route
}
