package control

import (
	"fmt"
	"net"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
)

// The guard keeps balanced frames from the host before anybody knows which of them the
// director will turn away: a packet without a connection to a VIP that the host has too,
// a real server's own traffic from the port it serves. These the host gets by a TUN
// port. A file that names no such port, and has a guard, is given one.

// maxOwnPorts is how many names are tried for that TUN: one for each director of a host.
const maxOwnPorts = 64

// ownPort gives cfg, which is the director's own copy, a TUN that leads to the host,
// where it needs one.
func (d *Director) ownPort(cfg *conf.Config) {
	guarded := slices.ContainsFunc(cfg.Ports, func(p conf.Port) bool { return p.Driver == conf.AFPacket && p.Guard == conf.GuardOn })
	if cfg.Director.HostPort != "" || !guarded {
		return
	}
	if d.own == "" {
		d.own = freeName()
	}
	cfg.Director.HostPort = d.own
	cfg.Ports = append(slices.Clone(cfg.Ports), conf.Port{Name: d.own, Driver: conf.TUN, RingSlots: conf.DefaultRingSlots})
}

// disown takes the TUN away again: the host has none, or none that can be had.
func (d *Director) disown(cfg *conf.Config, why error) {
	d.log.Warn("the host does not get what the guard keeps from it and is not balanced", "err", why)
	cfg.Ports = slices.DeleteFunc(cfg.Ports, func(p conf.Port) bool { return p.Name == d.own })
	cfg.Director.HostPort = ""
}

// freeName is a name that no interface has yet.
func freeName() string {
	for n := range maxOwnPorts {
		name := fmt.Sprintf("dirigo%d", n)
		if _, err := net.InterfaceByName(name); err != nil {
			return name
		}
	}
	return fmt.Sprintf("dirigo%d", maxOwnPorts)
}
