package dataplane

import (
	"fmt"
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
)

// CheckServerAddress refuses with conf.ErrInvalid an address that cannot be a new
// server's: AddServer would refuse it too. Safe for concurrent use.
func (p *Plane) CheckServerAddress(a netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.env.oneMachine(a)
}

// loopback is broadcast to like any other network of a port (fib_add_ifaddr).
var loopback = netip.MustParsePrefix("127.0.0.1/8")

// oneMachine is the judgement of ip_vs_new_dest: an address must be local, or that of one
// machine for all the routes tell.
func (e *Environment) oneMachine(a netip.Addr) error {
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6():
	case a.Is6() && a.IsLinkLocalUnicast() && !e.local(a):
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
	case e.broadcast(a):
	default:
		return nil
	}
	return fmt.Errorf("%v is not the address of one machine: %w", a, conf.ErrInvalid)
}

// local reports whether an address is the host's own.
func (e *Environment) local(a netip.Addr) bool {
	for _, r := range e.Routes {
		if r.Kind == ToHost && r.Dest.Contains(a) {
			return true
		}
	}
	return false
}

// broadcast reports whether an address is the last one of a port's network, where that
// has room for one.
func (e *Environment) broadcast(a netip.Addr) bool {
	if isLast(loopback, a) {
		return true
	}
	for _, port := range e.Ports {
		for _, p := range port.Addresses {
			if isLast(p, a) {
				return true
			}
		}
	}
	return false
}

func isLast(p netip.Prefix, a netip.Addr) bool {
	return a.Is4() && p.Bits() < 31 && p.Contains(a) && !p.Contains(a.Next())
}
