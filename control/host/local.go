package host

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// localPriority is the priority of all our policy rules: after the local table (0), so
	// that what the host says to itself stays inside, and before main (32766).
	localPriority = 17481
	// localTables is the first of the 65536 routing tables directors may use; the
	// director's name picks one.
	localTables = 0x44490000
)

// Server is a local real server: an address of the host or one of 127.0.0.0/8, the IP
// protocol number, and the port in host byte order.
type Server struct {
	Addr  netip.Addr
	Proto uint8
	Port  uint16
}

// Local brings the answers of local real servers back to the director.
//
// The director translates a client's packet to the server's address and writes it into
// a TUN device; the host's stack takes it as received there. Its answer, from that
// address and port, would leave by the default route. So for each server there is a
// policy rule "from ADDR ipproto PROTO sport PORT lookup TABLE", and TABLE has only
// "default dev TUN" (ip-rule(8); selectors by port need Linux 4.17). The device needs no
// address, and accept_local only for clients that have an address of the host, of which
// only probes come this way (OpenProbes).
//
// Two things follow from choosing by source address and port. Clients that reach the
// same port of a host address directly, not through the VIP, have their answers sent
// into the TUN too: give such servers an address of 127.0.0.0/8, where nobody else can
// come from. And a UDP server has to answer from the address it was asked at: bound to
// it, or by IP_PKTINFO.
type Local struct {
	tun   string
	table int

	mu      sync.Mutex
	servers map[Server]bool
	sysctls []saved // what Install changed, to be put back
}

type saved struct{ path, value string }

// NewLocal names the local delivery of one director through the TUN device tun; nothing
// is changed before Install.
func NewLocal(name, tun string) *Local {
	return &Local{tun: tun, table: localTable(name)}
}

func localTable(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return localTables + int(h.Sum32()&0xffff)
}

// Install sets the TUN device up for delivery to the host, takes away what an earlier
// director of this name left, and adds the rules. The device must exist. On an error
// nothing of ours is left.
func (l *Local) Install(servers []Server) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.install(servers)
	if err != nil {
		err = errors.Join(fmt.Errorf("local delivery through %s: %w", l.tun, err), l.remove())
	}
	return err
}

func (l *Local) install(servers []Server) error {
	if err := check(servers); err != nil {
		return err
	}
	if err := clearLocal(l.table); err != nil {
		return err
	}
	link, err := netlink.LinkByName(l.tun)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil { // a route needs the device up
		return err
	}
	l.servers = map[Server]bool{}
	return l.update(servers)
}

// openTUN makes the host's stack accept what the director writes into the device.
func (l *Local) openTUN(servers []Server) error {
	const conf = "/proc/sys/net/ipv4/conf/"
	// Without it 127.0.0.0/8 is martian as a destination on any device but lo, and as a
	// source of what is routed out of one (ip_route_input_slow, __mkroute_output).
	if slices.ContainsFunc(servers, func(s Server) bool { return s.Addr.Unmap().IsLoopback() }) {
		if err := l.setSysctl(conf+l.tun+"/route_localnet", "1"); err != nil {
			return err
		}
	}
	// The way back to a client is by another device. Linux 6.18 looks it up with the ports,
	// finds our rule and passes any filter; for kernels that look without ports the filter
	// is taken off. The greater of conf/all and the device's counts, and where all is strict
	// (1), loose (2) is greater and asks only for some route to the client.
	all, err := os.ReadFile(conf + "all/rp_filter")
	if err != nil {
		return err
	}
	value := "0"
	if strings.TrimSpace(string(all)) != "0" {
		value = "2"
	}
	return l.setSysctl(conf+l.tun+"/rp_filter", value)
}

func (l *Local) setSysctl(path, value string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(old) == value+"\n" {
		return nil // /proc/sys may be read-only, as in containers
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return err
	}
	l.sysctls = append(l.sysctls, saved{path, string(old)})
	return nil
}

// Update changes the set of servers; rules that stay are not touched.
func (l *Local) Update(servers []Server) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.servers == nil {
		return fmt.Errorf("local delivery through %s: not installed", l.tun)
	}
	if err := check(servers); err != nil {
		return fmt.Errorf("local delivery through %s: %w", l.tun, err)
	}
	return l.update(servers)
}

func (l *Local) update(servers []Server) error {
	if err := l.openTUN(servers); err != nil {
		return err
	}
	if err := l.defaultRoutes(servers); err != nil {
		return err
	}
	want := map[Server]bool{}
	for _, s := range servers {
		s.Addr = s.Addr.Unmap()
		want[s] = true
		if l.servers[s] {
			continue
		}
		if err := netlink.RuleAdd(l.rule(s)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("policy rule for %v: %w", s, err)
		}
		l.servers[s] = true
	}
	for s := range l.servers {
		if want[s] {
			continue
		}
		if err := netlink.RuleDel(l.rule(s)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("policy rule for %v: %w", s, err)
		}
		delete(l.servers, s)
	}
	return nil
}

// defaultRoutes points our table at the device, for the families in use: IPv6 may be
// disabled there (conf/DEV/disable_ipv6), which is no matter without IPv6 servers.
func (l *Local) defaultRoutes(servers []Server) error {
	link, err := netlink.LinkByName(l.tun)
	if err != nil {
		return err
	}
	for _, v6 := range []bool{false, true} {
		if !slices.ContainsFunc(servers, func(s Server) bool { return s.Addr.Unmap().Is6() == v6 }) {
			continue
		}
		if err := l.defaultRoute(link, v6); err != nil {
			return err
		}
	}
	return nil
}

// check refuses servers that no rule can serve.
func check(servers []Server) error {
	for _, s := range servers {
		a := s.Addr.Unmap()
		switch {
		case !a.IsValid():
			return fmt.Errorf("local server without an address")
		case a.Is6() && a.IsLoopback():
			// ip6_rcv drops ::1 on any device but lo; there is no route_localnet for IPv6.
			return fmt.Errorf("local server %v: ::1 cannot be reached through a device; use an address of the host", s)
		case s.Proto != packet.TCP && s.Proto != packet.UDP && s.Proto != packet.SCTP:
			return fmt.Errorf("local server %v: protocol has no ports", s)
		case s.Port == 0:
			return fmt.Errorf("local server %v: a port is needed, or all the host sends from there would be diverted", s)
		}
	}
	return nil
}

// String is the server as address:port/protocol number.
func (s Server) String() string {
	return fmt.Sprintf("%v/%d", netip.AddrPortFrom(s.Addr, s.Port), s.Proto)
}

// Remove takes the rules and the table away and puts the device's settings back, if it
// still exists. It is not an error when they are not there.
func (l *Local) Remove() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remove()
}

func (l *Local) remove() error {
	err := errors.Join(clearLocal(l.table), l.closeSource())
	for _, s := range l.sysctls {
		if e := os.WriteFile(s.path, []byte(s.value), 0); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	l.servers, l.sysctls = nil, nil
	return err
}

// ClearLocal removes the rules and routes of the director of that name, alive or not.
func ClearLocal(name string) error { return clearLocal(localTable(name)) }

func clearLocal(table int) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := netlink.RuleList(family)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue // no IPv6
		}
		if err != nil {
			return fmt.Errorf("list policy rules: %w", err)
		}
		for i := range rules {
			if rules[i].Table != table || rules[i].Priority != localPriority {
				continue
			}
			if err := netlink.RuleDel(&rules[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("delete %v: %w", rules[i], err)
			}
		}
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("list routes of table %d: %w", table, err)
		}
		for i := range routes {
			if err := netlink.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("delete %v: %w", routes[i], err)
			}
		}
	}
	return nil
}

func (l *Local) rule(s Server) *netlink.Rule {
	r := netlink.NewRule()
	r.Family = unix.AF_INET
	if s.Addr.Is6() {
		r.Family = unix.AF_INET6
	}
	bits := s.Addr.BitLen()
	r.Src = &net.IPNet{IP: s.Addr.AsSlice(), Mask: net.CIDRMask(bits, bits)}
	r.IPProto = int(s.Proto)
	r.Sport = netlink.NewRulePortRange(s.Port, s.Port)
	r.Priority = localPriority
	r.Table = l.table
	return r
}
