package control

import (
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/host"
)

// localServers are the NAT servers whose answers have to be led into the TUN: those on
// the host itself, and where a TUN is the only way, all.
func (d *Director) localServers(cfg *conf.Config) (list []host.Server) {
	all := len(d.portNames(conf.AFPacket)) == 0
	for _, s := range append(slices.Clone(cfg.Services), d.plane.Lingering()...) {
		for _, srv := range s.Servers {
			if srv.Forward != conf.NAT && srv.Forward != conf.Local || !all && !d.isLocal(srv.Addr) {
				continue
			}
			l := host.Server{Addr: srv.Addr, Proto: s.Key.Proto, Port: srv.Port}
			if l.Port != 0 && l.Proto != 0 && !slices.Contains(list, l) {
				list = append(list, l)
			}
		}
	}
	return list
}

func (d *Director) isLocal(a netip.Addr) bool {
	return a.IsLoopback() || slices.Contains(d.view.Local, a) ||
		slices.ContainsFunc(d.cfg.Routes, func(r conf.Route) bool { return r.Kind == conf.LocalRoute && r.Dest.Contains(a) })
}
