package host

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// View is what the host says about where packets go, at one instant. It is the
// reader's own: nothing in it is shared with a later View.
type View struct {
	Links  []LinkInfo   // the interfaces asked for, by name; one that does not exist is missing
	Routes []Route      // both families: longest prefix first, then by address
	Local  []netip.Addr // every address of the host, on any interface, sorted
}

// LinkInfo is one interface of the host.
type LinkInfo struct {
	Name      string
	Index     int
	MAC       packet.MAC     // zero when the interface has none
	MTU       int            // bytes of IP packet
	Up        bool           // administratively up and with carrier (IFF_UP and IFF_LOWER_UP)
	Addresses []netip.Prefix // address with its prefix length, in the kernel's order: the primary first
}

// Kind says what a route does with a packet; the values' names are ip-route(8)'s.
type Kind uint8

const (
	Unicast     Kind = iota // to Via, or on-link, by Link
	Unreachable             // ICMP host unreachable; also "throw", which ends the lookup in the main table
	Blackhole               // dropped silently
	Prohibit                // ICMP communication administratively prohibited
)

// Route is one route of the main table. There is one Route for each Dest: the one of
// least metric, as the kernel would choose. A route by an interface that is no port of
// the director is kept, since it hides shorter prefixes as it does in the kernel.
type Route struct {
	Dest      netip.Prefix
	Kind      Kind
	Via       netip.Addr // gateway; invalid: on-link. May be IPv6 for an IPv4 Dest (RFC 5549)
	Link      string     // interface name; "" unless Unicast
	Src       netip.Addr // preferred source; invalid: none given
	MTU       int        // bytes, the route's own; 0: the link's
	Metric    int        // the kernel's priority; smaller wins
	Multipath int        // next hops the kernel would spread over; the first usable one is taken
}

// dumpTries bounds how often a dump that changed under the reader is asked for again.
const dumpTries = 5

// Read reads the host's view once, in the network namespace of the calling thread.
// interfaces names those to report in Links; empty means all.
func Read(interfaces []string) (View, error) {
	var err error
	for range dumpTries {
		var v View
		if v, err = read(interfaces); err == nil {
			return v, nil
		}
		// NLM_F_DUMP_INTR: the tables changed while they were dumped.
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return View{}, err
}

func read(interfaces []string) (v View, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return v, fmt.Errorf("list links: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return v, fmt.Errorf("list addresses: %w", err)
	}
	names := make(map[int]string, len(links))
	byIndex := make(map[int]*LinkInfo, len(links))
	all := make([]LinkInfo, 0, len(links))
	for _, l := range links {
		info := linkInfo(l.Attrs())
		names[info.Index] = info.Name
		all = append(all, info)
		byIndex[info.Index] = &all[len(all)-1]
	}
	t := routeTable{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return v, fmt.Errorf("list routes: %w", err)
		}
		for i := range routes {
			t.addKernel(&routes[i], names)
		}
	}
	for _, a := range addrs {
		p, ok := prefixOf(a.IPNet)
		if !ok {
			continue
		}
		v.Local = append(v.Local, p.Addr())
		if l := byIndex[a.LinkIndex]; l != nil {
			l.Addresses = append(l.Addresses, p)
			t.addConnected(p, a.Flags, l)
		}
	}
	for i := range all {
		if len(interfaces) == 0 || slices.Contains(interfaces, all[i].Name) {
			v.Links = append(v.Links, all[i])
		}
	}
	slices.SortFunc(v.Links, func(a, b LinkInfo) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(v.Local, netip.Addr.Compare)
	v.Local = slices.Compact(v.Local)
	v.Routes = t.sorted()
	return v, nil
}

func linkInfo(a *netlink.LinkAttrs) LinkInfo {
	info := LinkInfo{
		Name:  a.Name,
		Index: a.Index,
		MTU:   a.MTU,
		Up:    a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0,
	}
	if len(a.HardwareAddr) == len(info.MAC) {
		copy(info.MAC[:], a.HardwareAddr)
	}
	return info
}

// routeTable holds the best route of each destination.
type routeTable map[netip.Prefix]Route

// addKernel takes in one route of the main table, unless a better one is known.
func (t routeTable) addKernel(k *netlink.Route, names map[int]string) {
	dest, ok := prefixOf(k.Dst)
	if !ok || k.Tos != 0 { // a route for one TOS is not for all packets
		return
	}
	r := Route{Dest: dest.Masked(), Src: addrOf(k.Src), MTU: k.MTU, Metric: k.Priority}
	switch k.Type {
	case unix.RTN_UNICAST:
		hop, ok := firstHop(k)
		if !ok {
			return
		}
		r.Via, r.Link, r.Multipath = viaOf(hop), names[hop.LinkIndex], len(k.MultiPath)
		if r.Link == "" {
			return
		}
	case unix.RTN_UNREACHABLE, unix.RTN_THROW:
		r.Kind = Unreachable
	case unix.RTN_BLACKHOLE:
		r.Kind = Blackhole
	case unix.RTN_PROHIBIT:
		r.Kind = Prohibit
	default: // local, broadcast, anycast, multicast: not a way out
		return
	}
	// Routes of equal metric: the kernel lists and uses the oldest first.
	if old, known := t[r.Dest]; !known || r.Metric < old.Metric {
		t[r.Dest] = r
	}
}

// addConnected adds the on-link route of an address where the main table has none, as
// for an interface enslaved to a VRF, whose connected routes are in the VRF's table.
func (t routeTable) addConnected(p netip.Prefix, flags int, l *LinkInfo) {
	dest := p.Masked()
	if _, known := t[dest]; known || !l.Up || p.IsSingleIP() || p.Addr().IsLoopback() || flags&unix.IFA_F_NOPREFIXROUTE != 0 {
		return
	}
	t[dest] = Route{Dest: dest, Link: l.Name, Src: p.Addr()}
}

func (t routeTable) sorted() []Route {
	out := make([]Route, 0, len(t))
	for _, r := range t {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Route) int {
		if d := b.Dest.Bits() - a.Dest.Bits(); d != 0 {
			return d
		}
		return a.Dest.Addr().Compare(b.Dest.Addr())
	})
	return out
}

// firstHop is the route's only next hop, or the first of several that is not dead.
func firstHop(k *netlink.Route) (netlink.NexthopInfo, bool) {
	if len(k.MultiPath) == 0 {
		h := netlink.NexthopInfo{LinkIndex: k.LinkIndex, Gw: k.Gw, Via: k.Via}
		return h, k.Flags&unix.RTNH_F_DEAD == 0
	}
	for _, h := range k.MultiPath {
		if h.Flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) == 0 {
			return *h, true
		}
	}
	return netlink.NexthopInfo{}, false
}

func viaOf(h netlink.NexthopInfo) netip.Addr {
	if v, ok := h.Via.(*netlink.Via); ok && v != nil {
		return addrOf(v.Addr)
	}
	return addrOf(h.Gw)
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 || bits != 8*len(n.IP) && bits != 32 {
		return netip.Prefix{}, false
	}
	if bits == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones), true
}

// Equal reports whether two views say the same.
func (v View) Equal(w View) bool {
	return slices.Equal(v.Routes, w.Routes) && slices.Equal(v.Local, w.Local) &&
		slices.EqualFunc(v.Links, w.Links, func(a, b LinkInfo) bool {
			return a.Name == b.Name && a.Index == b.Index && bytes.Equal(a.MAC[:], b.MAC[:]) &&
				a.MTU == b.MTU && a.Up == b.Up && slices.Equal(a.Addresses, b.Addresses)
		})
}
