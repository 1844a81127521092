package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeHost is a namespace with two interfaces that have carrier.
func routeHost(t testing.TB) string {
	t.Helper()
	ns, far := newNS(t), newNS(t)
	for i := range 2 {
		ip(t, ns, fmt.Sprintf("link add eth%d type veth peer name p%d netns %s", i, i, far))
		ip(t, far, fmt.Sprintf("link set p%d up", i))
		ip(t, ns, fmt.Sprintf("link set eth%d addrgenmode none", i))
		ip(t, ns, fmt.Sprintf("link set eth%d up", i))
	}
	ip(t, ns, "addr add 10.5.0.2/24 dev eth0")
	ip(t, ns, "addr add 10.6.0.2/24 dev eth1")
	ip(t, ns, "addr add 2001:db8:5::2/64 dev eth0 nodad")
	return ns
}

func readView(t testing.TB, ns string, interfaces ...string) (v View) {
	t.Helper()
	in(t, ns, func() {
		var err error
		if v, err = Read(interfaces); err != nil {
			t.Error(err)
		}
	})
	return v
}

func (v View) route(dest string) (r Route, ok bool) {
	i := slices.IndexFunc(v.Routes, func(r Route) bool { return r.Dest == prefix(dest) })
	if i < 0 {
		return r, false
	}
	return v.Routes[i], true
}

// Each line is given to ip(8); the wanted route is what ip-route(8) says it means.
func TestRoutesAreReadAsTheKernelUsesThem(t *testing.T) {
	ns := routeHost(t)
	for _, c := range []struct {
		lines []string
		want  Route
	}{
		{nil, Route{Dest: prefix("10.5.0.0/24"), Link: "eth0", Src: addr("10.5.0.2")}},
		{nil, Route{Dest: prefix("2001:db8:5::/64"), Link: "eth0", Metric: 256}},
		{[]string{"route add default via 10.5.0.1"}, Route{Dest: prefix("0.0.0.0/0"), Via: addr("10.5.0.1"), Link: "eth0"}},
		{[]string{"-6 route add default via 2001:db8:5::1"}, Route{Dest: prefix("::/0"), Via: addr("2001:db8:5::1"), Link: "eth0", Metric: 1024}},
		{[]string{"route add 10.20.0.0/16 via 10.6.0.1 src 10.6.0.2 mtu 1400"},
			Route{Dest: prefix("10.20.0.0/16"), Via: addr("10.6.0.1"), Link: "eth1", Src: addr("10.6.0.2"), MTU: 1400}},
		{[]string{"route add 10.21.0.0/16 via 10.6.0.1 metric 200", "route add 10.21.0.0/16 via 10.5.0.1 metric 100", "route add 10.21.0.0/16 via 10.5.0.9 metric 300"},
			Route{Dest: prefix("10.21.0.0/16"), Via: addr("10.5.0.1"), Link: "eth0", Metric: 100}},
		{[]string{"route add 10.22.0.0/16 nexthop via 10.6.0.7 nexthop via 10.5.0.7"},
			Route{Dest: prefix("10.22.0.0/16"), Via: addr("10.6.0.7"), Link: "eth1", Multipath: 2}},
		{[]string{"route add unreachable 10.23.0.0/16"}, Route{Dest: prefix("10.23.0.0/16"), Kind: Unreachable}},
		{[]string{"route add throw 10.24.0.0/16"}, Route{Dest: prefix("10.24.0.0/16"), Kind: Unreachable}},
		{[]string{"route add blackhole 10.25.0.0/16"}, Route{Dest: prefix("10.25.0.0/16"), Kind: Blackhole}},
		{[]string{"route add prohibit 10.26.0.0/16"}, Route{Dest: prefix("10.26.0.0/16"), Kind: Prohibit}},
		{[]string{"-6 route add unreachable 2001:db8:23::/48"}, Route{Dest: prefix("2001:db8:23::/48"), Kind: Unreachable, Metric: 1024}},
		{[]string{"route add 10.27.0.0/16 via inet6 2001:db8:5::9 dev eth0"},
			Route{Dest: prefix("10.27.0.0/16"), Via: addr("2001:db8:5::9"), Link: "eth0"}},
		{[]string{"route add 10.28.0.5/32 dev eth1"}, Route{Dest: prefix("10.28.0.5/32"), Link: "eth1"}},
	} {
		for _, line := range c.lines {
			ip(t, ns, line)
		}
		if got, ok := readView(t, ns).route(c.want.Dest.String()); !ok || got != c.want {
			t.Errorf("%q:\n got %+v\nwant %+v", c.lines, got, c.want)
		}
	}
	for _, line := range []string{"route add 10.30.0.0/16 dev eth0 tos 0x10", "route add local 10.31.0.0/16 dev lo",
		"route add broadcast 10.32.0.0/16 dev eth0", "route add 10.33.0.0/16 dev eth0 table 100"} {
		before := readView(t, ns)
		ip(t, ns, line)
		if after := readView(t, ns); !slices.Equal(before.Routes, after.Routes) {
			t.Errorf("%s changed the routes to %v", line, after.Routes)
		}
	}
	v := readView(t, ns)
	for i := 1; i < len(v.Routes); i++ {
		if v.Routes[i-1].Dest.Bits() < v.Routes[i].Dest.Bits() {
			t.Errorf("%v before %v: a first match would not be the longest", v.Routes[i-1], v.Routes[i])
		}
	}
}

// A next hop whose link is down is not taken.
func TestMultipathTakesTheFirstLiveHop(t *testing.T) {
	ns := routeHost(t)
	ip(t, ns, "route add 10.22.0.0/16 nexthop via 10.6.0.7 nexthop via 10.5.0.7")
	ip(t, ns, "link set eth1 down")
	got, _ := readView(t, ns).route("10.22.0.0/16")
	if got.Via != addr("10.5.0.7") || got.Link != "eth0" {
		t.Errorf("got %+v", got)
	}
}

func TestLinksAndLocalAddresses(t *testing.T) {
	ns := routeHost(t)
	ip(t, ns, "addr add 10.5.0.3/24 dev eth0")
	ip(t, ns, "link set eth0 mtu 1400 address 02:00:00:00:00:05")
	v := readView(t, ns, "eth0", "nosuch")
	if len(v.Links) != 1 {
		t.Fatalf("links %+v", v.Links)
	}
	want := []netip.Prefix{prefix("10.5.0.2/24"), prefix("10.5.0.3/24"), prefix("2001:db8:5::2/64")}
	l := v.Links[0]
	if l.Name != "eth0" || l.Index == 0 || l.MTU != 1400 || !l.Up || l.MAC != (packet.MAC{2, 0, 0, 0, 0, 5}) || !slices.Equal(l.Addresses, want) {
		t.Errorf("link %+v", l)
	}
	local := []netip.Addr{addr("10.5.0.2"), addr("10.5.0.3"), addr("10.6.0.2"), addr("127.0.0.1"), addr("::1"), addr("2001:db8:5::2")}
	if !slices.Equal(v.Local, local) {
		t.Errorf("local %v, want %v", v.Local, local)
	}
	ip(t, ns, "link set eth0 down")
	if v := readView(t, ns, "eth0"); v.Links[0].Up {
		t.Error("a link that was set down is up")
	}
	ip(t, ns, "link add eth3 type veth peer name p3")
	ip(t, ns, "link set eth3 up")
	if v := readView(t, ns, "eth3"); v.Links[0].Up {
		t.Error("a link whose peer is down, so without carrier, is up")
	}
}

// An address whose connected route is in another table still is on-link.
func TestConnectedRouteFromTheAddress(t *testing.T) {
	ns := routeHost(t)
	ip(t, ns, "route del 10.6.0.0/24 dev eth1")
	if got, _ := readView(t, ns).route("10.6.0.0/24"); got != (Route{Dest: prefix("10.6.0.0/24"), Link: "eth1", Src: addr("10.6.0.2")}) {
		t.Errorf("got %+v", got)
	}
	ip(t, ns, "addr add 10.66.0.2/24 dev eth1 noprefixroute")
	if got, ok := readView(t, ns).route("10.66.0.0/24"); ok {
		t.Errorf("noprefixroute was not heeded: %+v", got)
	}
}

// follow runs Follow in the namespace and gives its views.
func follow(t *testing.T, ns string, interfaces ...string) <-chan View {
	return followThrough(t, ns, func() {}, interfaces...)
}

// followThrough is follow with something to do before each view is given.
func followThrough(t *testing.T, ns string, first func(), interfaces ...string) <-chan View {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	views, ended := make(chan View, 1000), make(chan error, 1)
	go func() {
		enter(t, ns)
		ended <- Follow(ctx, interfaces, func(v View) {
			first()
			views <- v
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Follow: %v", err)
			}
		case <-time.After(bound):
			t.Error("Follow did not end with its context")
		}
	})
	return views
}

// await gives the first view that is as wanted.
func awaitView(t *testing.T, views <-chan View, what string, ok func(View) bool) {
	t.Helper()
	late := time.After(bound)
	for {
		select {
		case v := <-views:
			if ok(v) {
				return
			}
		case <-late:
			t.Fatalf("no view with %s", what)
		}
	}
}

func TestFollowSeesChanges(t *testing.T) {
	ns := routeHost(t)
	views := follow(t, ns, "eth0", "eth1", "eth2")
	link := func(name string, ok func(LinkInfo) bool) func(View) bool {
		return func(v View) bool {
			return slices.ContainsFunc(v.Links, func(l LinkInfo) bool { return l.Name == name && ok(l) })
		}
	}
	any := func(LinkInfo) bool { return true }
	awaitView(t, views, "what there is at the start", link("eth0", any))
	for _, c := range []struct {
		line string
		ok   func(View) bool
	}{
		{"route add 10.40.0.0/16 via 10.5.0.1", func(v View) bool { r, ok := v.route("10.40.0.0/16"); return ok && r.Via == addr("10.5.0.1") }},
		{"route change 10.40.0.0/16 via 10.5.0.7", func(v View) bool { r, ok := v.route("10.40.0.0/16"); return ok && r.Via == addr("10.5.0.7") }},
		{"route del 10.40.0.0/16", func(v View) bool { _, ok := v.route("10.40.0.0/16"); return !ok }},
		{"-6 route add 2001:db8:40::/48 via 2001:db8:5::1", func(v View) bool { _, ok := v.route("2001:db8:40::/48"); return ok }},
		{"addr add 10.41.0.2/24 dev eth1", link("eth1", func(l LinkInfo) bool { return slices.Contains(l.Addresses, prefix("10.41.0.2/24")) })},
		{"-6 addr add 2001:db8:41::2/64 dev eth1 nodad", link("eth1", func(l LinkInfo) bool { return slices.Contains(l.Addresses, prefix("2001:db8:41::2/64")) })},
		{"addr del 10.41.0.2/24 dev eth1", link("eth1", func(l LinkInfo) bool { return !slices.Contains(l.Addresses, prefix("10.41.0.2/24")) })},
		{"link set eth1 mtu 1300", link("eth1", func(l LinkInfo) bool { return l.MTU == 1300 })},
		{"link set eth1 down", link("eth1", func(l LinkInfo) bool { return !l.Up })},
		{"link add eth2 type veth peer name p9", link("eth2", any)},
		{"link del eth2", func(v View) bool { return !link("eth2", any)(v) }},
	} {
		ip(t, ns, c.line)
		awaitView(t, views, c.line, c.ok)
	}
}

// While Follow is busy the kernel has more notices than the socket holds (an skb counts
// for at least 768 bytes, the socket has 2 MiB): the view afterwards is right all the same.
func TestFollowSurvivesOverflow(t *testing.T) {
	const burst = 6000
	ns := routeHost(t)
	busy, done := make(chan struct{}), make(chan struct{})
	views := followThrough(t, ns, func() {
		select {
		case busy <- struct{}{}:
			<-done
		case <-done:
		}
	})
	<-busy
	in(t, ns, func() {
		for i := range burst {
			dst := netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 0})
			r := &netlink.Route{Dst: netlink.NewIPNet(dst.AsSlice()), Type: unix.RTN_BLACKHOLE}
			if err := netlink.RouteAdd(r); err != nil {
				t.Error(err)
				return
			}
		}
	})
	close(done)
	readings := 0
	awaitView(t, views, "all routes of the burst", func(v View) bool {
		readings++
		n := 0
		for _, r := range v.Routes {
			if r.Kind == Blackhole {
				n++
			}
		}
		return n == burst
	})
	if readings > 10 {
		t.Errorf("%d readings for one burst", readings)
	}
}
