package host

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// OpenProbes lets sockets of the host reach the director as clients do: those bound to
// the TUN device (SO_BINDTODEVICE) send into it whatever their destination, and hear of
// nothing but what the director writes there.
//
// A policy rule "oif TUN lookup TABLE" finds the table's default route. It comes after
// the local table, where a VIP that the host has too is found; but that entry is of
// another device, so a look-up bound to this one passes it by (fib_table_lookup,
// rt6_score_route). Answers then come from one of the host's own addresses, hence
// accept_local. Where a reverse-path filter cannot be taken off the device (conf/all), it
// is loose there, and passes a source whose route leads elsewhere only if the device has
// some address (__fib_validate_source, no_addr): hence tunAddress. Install must have been
// called; a second call does nothing new, and Remove undoes all.
func (l *Local) OpenProbes(v6 bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.openProbes(v6); err != nil {
		return fmt.Errorf("probes through %s: %w", l.tun, err)
	}
	return nil
}

func (l *Local) openProbes(v6 bool) error {
	if l.servers == nil {
		return errors.New("local delivery is not installed")
	}
	link, err := netlink.LinkByName(l.tun)
	if err != nil {
		return err
	}
	if err := l.defaultRoute(link, v6); err != nil {
		return err
	}
	r := netlink.NewRule()
	r.Family, r.OifName, r.Priority, r.Table = unix.AF_INET, l.tun, localPriority, l.table
	if v6 {
		r.Family = unix.AF_INET6
	} else if err := l.openSource(link); err != nil {
		return err
	}
	if err := netlink.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("policy rule for what leaves by %s: %w", l.tun, err)
	}
	return nil
}

// tunAddress is the address of a TUN that has no other, one of the host's for itself.
var tunAddress = &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(127, 68, 73, 82).To4(), Mask: net.CIDRMask(32, 32)}, Scope: int(netlink.SCOPE_HOST)}

// openSource has the host accept IPv4 packets from the device whatever their source.
func (l *Local) openSource(link netlink.Link) error {
	if err := l.setSysctl("/proc/sys/net/ipv4/conf/"+l.tun+"/accept_local", "1"); err != nil {
		return err
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	if len(addrs) > 0 {
		return nil
	}
	if err := netlink.AddrAdd(link, tunAddress); err != nil {
		return fmt.Errorf("add address %v: %w", tunAddress.IPNet, err)
	}
	return nil
}

// closeSource takes the address away again from a device that stays.
func (l *Local) closeSource() error {
	link, err := netlink.LinkByName(l.tun)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.AddrDel(link, tunAddress)
	}
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete address %v of %s: %w", tunAddress.IPNet, l.tun, err)
	}
	return nil
}

// defaultRoute points a family of our table at the device.
func (l *Local) defaultRoute(link netlink.Link, v6 bool) error {
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Table: l.table, Family: unix.AF_INET, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}}
	if v6 {
		r.Family, r.Scope = unix.AF_INET6, netlink.SCOPE_UNIVERSE
		r.Dst = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("default route dev %s table %d: %w", l.tun, l.table, err)
	}
	return nil
}
