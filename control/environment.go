package control

import (
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/host"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// environment says what the data plane knows of ports and routes: those of the file
// first, then the host's.
func (d *Director) environment(cfg *conf.Config) dataplane.Environment {
	env := dataplane.Environment{HostPort: d.portIndex(d.hostPort(cfg)), OwnPorts: d.ownPorts()}
	follow := cfg.Director.FollowRoutes
	for i, p := range cfg.Ports {
		link := d.links[i]
		addresses := p.Addresses
		if l := d.hostLink(p.Name); l != nil {
			if len(addresses) == 0 {
				addresses = l.Addresses
			}
			if p.MTU == 0 {
				link.MTU = l.MTU
			}
			if p.MAC == ([6]byte{}) && l.MAC != (packet.MAC{}) {
				link.MAC = l.MAC
			}
		}
		env.Ports = append(env.Ports, dataplane.PortEnv{Link: link, Addresses: addresses, Guarded: slices.Contains(d.guarded, p.Name)})
	}
	for _, r := range cfg.Routes {
		out := dataplane.Route{Dest: r.Dest, Kind: routeKinds[r.Kind], Via: r.Via, Src: r.Src, MTU: r.MTU}
		if r.Kind == conf.Unicast {
			out.Port = d.routePort(&r, env.Ports)
		}
		env.Routes = append(env.Routes, out)
	}
	for _, a := range d.view.Local {
		env.Routes = append(env.Routes, dataplane.Route{Dest: netip.PrefixFrom(a, a.BitLen()), Kind: dataplane.ToHost})
	}
	env.Routes = append(env.Routes, dataplane.Route{Dest: netip.MustParsePrefix("127.0.0.0/8"), Kind: dataplane.ToHost})
	for i, p := range env.Ports { // on-link subnets
		for _, a := range p.Addresses {
			env.Routes = append(env.Routes, dataplane.Route{Dest: a.Masked(), Port: i})
		}
	}
	if len(d.portNames(conf.AFPacket)) == 0 { // everything goes through the TUN, and the host routes it on
		if i := slices.IndexFunc(cfg.Ports, func(p conf.Port) bool { return p.Driver == conf.TUN }); i >= 0 {
			for _, all := range []string{"0.0.0.0/0", "::/0"} {
				env.Routes = append(env.Routes, dataplane.Route{Dest: netip.MustParsePrefix(all), Port: i})
			}
		}
		return env
	}
	if follow {
		for _, r := range d.view.Routes {
			env.Routes = append(env.Routes, d.hostRoute(&r))
		}
	}
	return env
}

var routeKinds = [...]dataplane.RouteKind{
	conf.Unicast: dataplane.Unicast, conf.LocalRoute: dataplane.ToHost, conf.Unreachable: dataplane.Unreachable,
}

// hostRoute takes a route over from the host. One by an interface that is no port hides
// shorter prefixes there, so it is kept as a dead end.
func (d *Director) hostRoute(r *host.Route) dataplane.Route {
	out := dataplane.Route{Dest: r.Dest, Via: r.Via, Src: r.Src, MTU: r.MTU, Port: d.portIndex(r.Link)}
	if r.Kind != host.Unicast || out.Port < 0 {
		out.Kind, out.Port = dataplane.Unreachable, 0
	}
	return out
}

// routePort is the port of a route in the file: the one it names, else the one on whose
// subnet its next hop is.
func (d *Director) routePort(r *conf.Route, ports []dataplane.PortEnv) int {
	if r.Port != "" {
		return d.portIndex(r.Port)
	}
	return slices.IndexFunc(ports, func(p dataplane.PortEnv) bool {
		return slices.ContainsFunc(p.Addresses, func(a netip.Prefix) bool { return a.Contains(r.Via) })
	})
}

// portIndex is the number of a port by name, -1 for none.
func (d *Director) portIndex(name string) int {
	return slices.IndexFunc(d.links, func(l dataplane.Link) bool { return l.Name == name })
}

func (d *Director) hostLink(name string) *host.LinkInfo {
	for i := range d.view.Links {
		if d.view.Links[i].Name == name {
			return &d.view.Links[i]
		}
	}
	return nil
}

// configureAll gives the data plane all settings.
func (d *Director) configureAll(cfg *conf.Config) {
	d.plane.SetSysctl(cfg.Sysctl)
	d.plane.SetTimeouts(cfg.Conntrack.TCP, cfg.Conntrack.TCPFin, cfg.Conntrack.UDP)
	d.plane.SetMarks(cfg.Marks)
}

// configure gives the data plane the settings that have changed.
func (d *Director) configure(e *effect) {
	if e.sysctl {
		d.plane.SetSysctl(d.cfg.Sysctl)
	}
	if e.timeouts {
		d.plane.SetTimeouts(d.cfg.Conntrack.TCP, d.cfg.Conntrack.TCPFin, d.cfg.Conntrack.UDP)
	}
	if e.marks {
		d.plane.SetMarks(d.cfg.Marks)
	}
}

// publish gives the workers a table of the whole state, and ends the connections of
// removed servers where they have to.
func (d *Director) publish(cfg *conf.Config, services []conf.Service) {
	d.publishTable(cfg, services)
	d.plane.ExpireOrphans()
}

// publishTable is publish without an end for the connections of removed servers, which
// the kernel lets come a tick later. It tells the neighbour cache what the director owns.
func (d *Director) publishTable(cfg *conf.Config, services []conf.Service) {
	d.env = d.environment(cfg)
	d.plane.SetEnvironment(d.env)
	d.plane.Publish()
	d.moveVia()

	ports := make([]arp.PortConfig, len(d.env.Ports))
	for i, p := range d.env.Ports {
		if p.L2 {
			ports[i] = arp.PortConfig{MAC: p.MAC, Addresses: p.Addresses, AnswerAddresses: len(cfg.Ports[i].Addresses) > 0 && d.foreign(cfg.Ports[i].Addresses)}
		}
	}
	d.vips = map[netip.Addr]int{}
	for i := range services {
		vip := services[i].Key.Addr
		if !vip.IsValid() {
			continue
		}
		if d.vips[vip]++; d.vips[vip] > 1 {
			continue
		}
		for _, port := range vipPorts(&d.env, vip) {
			ports[port].VIPs = append(ports[port].VIPs, packet.AddrFrom(vip))
		}
	}
	d.plane.Neighbors().SetPorts(ports)
	d.setStatic(cfg)
}

// vipPorts are the ports that answer for a VIP: those on whose subnet it is, else all, as
// it is routed to us, or the ports have no addresses.
func vipPorts(env *dataplane.Environment, vip netip.Addr) (on []int) {
	var all []int
	for i, p := range env.Ports {
		if !p.L2 {
			continue
		}
		all = append(all, i)
		if slices.ContainsFunc(p.Addresses, func(a netip.Prefix) bool { return a.Contains(vip) }) {
			on = append(on, i)
		}
	}
	if on == nil {
		return all
	}
	return on
}

// setStatic gives the neighbour cache the static neighbours.
func (d *Director) setStatic(cfg *conf.Config) {
	var static []arp.Static
	for _, n := range cfg.Neighbors {
		for i := range d.env.Ports {
			if n.Port == d.env.Ports[i].Name || n.Port == "" && d.env.Ports[i].L2 {
				static = append(static, arp.Static{Port: i, Addr: packet.AddrFrom(n.Address), MAC: packet.MAC(n.MAC)})
			}
		}
	}
	d.plane.Neighbors().SetStatic(static)
}

// foreign reports whether none of a port's configured addresses is the host's, so that
// nobody else answers for them.
func (d *Director) foreign(ps []netip.Prefix) bool {
	return !slices.ContainsFunc(ps, func(p netip.Prefix) bool { return slices.Contains(d.view.Local, p.Addr()) })
}

// routesChanged takes over a new view of the host.
func (d *Director) routesChanged(v host.View) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.view = v
	d.publish(d.cfg, d.state.Snapshot().Services)
	d.updateHost()
	d.log.Info("routes taken over from the host", "routes", len(v.Routes), "addresses", len(v.Local))
}
