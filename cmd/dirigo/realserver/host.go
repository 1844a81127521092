package realserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// procNet is relative to the calling thread's network namespace.
const procNet = "/proc/sys/net/"

func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(procNet + key)
	return strings.TrimSpace(string(b)), err
}

func writeSysctl(key, value string) error {
	return os.WriteFile(procNet+key, []byte(value), 0)
}

// look reads the host.
func look(c *Config) (*view, error) {
	v := &view{interfaces: c.Interfaces, answering: map[netip.Addr]string{}, sysctl: readSysctl}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var with4 []string
	for _, l := range links {
		a := l.Attrs()
		list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", a.Name, err)
		}
		loopback := a.Flags&net.FlagLoopback != 0
		if a.Name == "lo" && a.Flags&net.FlagUp == 0 {
			return nil, errors.New("lo is down, so the host would not hear its VIP: ip link set lo up")
		}
		for _, addr := range list {
			p, ok := prefixOf(addr.IPNet)
			switch {
			case !ok:
			case a.Name == "lo":
				v.loopback = append(v.loopback, p)
			case a.RawFlags&unix.IFF_NOARP == 0:
				v.answering[p.Addr()] = a.Name
				if p.Addr().Is4() && !loopback && !slices.Contains(with4, a.Name) {
					with4 = append(with4, a.Name)
				}
			}
		}
	}
	if len(v.interfaces) == 0 {
		if v.interfaces, err = uplinks(links); err != nil {
			return nil, err
		}
	}
	if len(v.interfaces) == 0 {
		v.interfaces = with4
	}
	return v, nil
}

// uplinks are the interfaces of the IPv4 default routes.
func uplinks(links []netlink.Link) (names []string, err error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	add := func(index int) {
		i := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Index == index })
		if i >= 0 && !slices.Contains(names, links[i].Attrs().Name) {
			names = append(names, links[i].Attrs().Name)
		}
	}
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); r.Dst != nil && (!ok || p.Bits() != 0) {
			continue
		}
		add(r.LinkIndex)
		for _, hop := range r.MultiPath {
			add(hop.LinkIndex)
		}
	}
	return names, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}

// apply makes the change.
func (c *Change) apply() error {
	if c.Sysctl != "" {
		return writeSysctl(c.Sysctl, c.Want)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.AddrAdd(lo, address(c.Address))
	}
	if err != nil {
		return fmt.Errorf("add %v to lo: %w", c.Address, err)
	}
	return nil
}

// undo takes the change back if it still stands. What somebody else has changed since
// is left to them, and said.
func (c *Change) undo() (note string, err error) {
	if c.Sysctl == "" {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.AddrDel(lo, address(c.Address))
		}
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return "", fmt.Errorf("remove %v from lo: %w", c.Address, err)
		}
		return "", nil
	}
	now, err := readSysctl(c.Sysctl)
	switch {
	case errors.Is(err, os.ErrNotExist): // the interface has gone
		return "", nil
	case err != nil:
		return "", err
	case now == c.Was:
		return "", nil
	case now != c.Want:
		return fmt.Sprintf("%s is %s by now, and stays so", sysctlName(c.Sysctl), now), nil
	}
	return "", writeSysctl(c.Sysctl, c.Was)
}

// address is what netlink wants. A VIP has duplicates, every real server has it: the
// kernel must not look for them (RFC 4862 section 5.4), on lo or wherever else.
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}
