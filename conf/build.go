package conf

import (
	"net/netip"
	"slices"
)

// build turns the file's spelling into the model. Where a value has a mistake the
// default stands for it, so that the rest can still be judged.
func (p *problems) build(raw *rawConfig) *Config {
	cfg := Default()
	p.director(&cfg.Director, &raw.Director)
	p.metrics(&cfg.Metrics, &raw.Metrics)
	p.api(&cfg.API, &raw.API)
	for i := range raw.Port {
		cfg.Ports = append(cfg.Ports, p.port(&raw.Port[i]))
	}
	for i := range raw.Route {
		cfg.Routes = append(cfg.Routes, p.route(&raw.Route[i]))
	}
	for i := range raw.Neighbor {
		cfg.Neighbors = append(cfg.Neighbors, p.neighbor(&raw.Neighbor[i], cfg.Ports))
	}
	ct, t := &cfg.Conntrack, &raw.Conntrack.Timeouts
	ct.MaxConnections = p.whole(raw.Conntrack.MaxConnections, ct.MaxConnections)
	ct.TCP = p.duration(t.TCP, ct.TCP)
	ct.TCPFin = p.duration(t.TCPFin, ct.TCPFin)
	ct.UDP = p.duration(t.UDP, ct.UDP)
	p.sysctl(&cfg.Sysctl, raw.Sysctl)
	for i := range raw.Mark {
		cfg.Marks = append(cfg.Marks, p.mark(&raw.Mark[i]))
	}
	p.healthDefaults(raw)
	for i := range raw.Service {
		cfg.Services = append(cfg.Services, p.service(&raw.Service[i], raw))
	}
	return cfg
}

func (p *problems) director(d *Director, raw *rawDirector) {
	d.Name = p.text(raw.Name, d.Name)
	d.Workers = p.whole(raw.Workers, d.Workers)
	d.Control = p.text(raw.Control, d.Control)
	d.ControlGroup = p.text(raw.ControlGroup, d.ControlGroup)
	d.FollowRoutes = p.flag(raw.FollowRoutes, d.FollowRoutes)
	d.Announce = p.whole(raw.Announce, d.Announce)
	d.HostPort = p.text(raw.HostPort, d.HostPort)
	d.Pin = p.flag(raw.Pin, d.Pin)
}

func (p *problems) port(raw *rawPort) Port {
	port := Port{
		Name:      p.text(raw.Name, ""),
		Driver:    choice(p, raw.Driver, AFPacket, "a driver", drivers),
		Guard:     choice(p, raw.Guard, GuardOn, "a guard setting", guards),
		MAC:       p.mac(raw.MAC),
		MTU:       p.whole(raw.MTU, 0),
		RingSlots: p.whole(raw.RingSlots, DefaultRingSlots),
		Mode:      choice(p, raw.Mode, RingMode, "a mode", modes),
		Latency:   choice(p, raw.Latency, Balanced, "a latency", latency),
	}
	port.BusyPoll = p.duration(raw.BusyPoll, port.Latency.BusyPoll())
	if raw.MTU.written && port.MTU == 0 {
		p.add(raw.MTU.path, "0 is no size; leave the key out for the interface's MTU, or %s", mtuBounds)
	}
	for _, v := range p.list(raw.Addresses) {
		port.Addresses = append(port.Addresses, p.prefix(v))
	}
	return port
}

func (p *problems) route(raw *rawRoute) Route {
	r := Route{
		Dest: p.net(raw.Dest), // an address alone is the route to that host
		Kind: choice(p, raw.Type, Unicast, "a type of route", routes),
		Via:  p.addr(raw.Via),
		Port: p.text(raw.Port, ""),
		Src:  p.addr(raw.Src),
		MTU:  p.whole(raw.MTU, 0),
	}
	if raw.MTU.written && r.MTU == 0 {
		p.add(raw.MTU.path, "0 is no size; leave the key out for the port's MTU, or %s", mtuBounds)
	}
	return r
}

func (p *problems) neighbor(raw *rawNeighbor, ports []Port) Neighbor {
	n := Neighbor{Address: p.addr(raw.Address), MAC: p.mac(raw.MAC), Port: p.text(raw.Port, "")}
	if len(ports) == 1 && !raw.Port.written {
		n.Port = ports[0].Name
	}
	return n
}

// sysctl takes switches as true or false and as the kernel's 1 or 0, and expirations
// as times.
func (p *problems) sysctl(s *Sysctl, raw openTable) {
	for name, v := range raw {
		t := findSetting(name)
		switch {
		case t == nil || t.why != "":
			p.add(v.path, "%s", unknownSysctl(name))
		case t.seconds != nil:
			*t.seconds(s) = p.duration(v, *t.seconds(s))
		case t.number != nil:
			*t.number(s) = p.whole(v, *t.number(s))
		default:
			switch on := v.v.(type) {
			case bool:
				*t.flag(s) = onOff(on)
				continue
			case int64:
				if on == 0 || on == 1 {
					*t.flag(s) = Switch(on)
					continue
				}
			}
			p.add(v.path, "is %s; write true or false (1 or 0)", kindOf(v.v))
		}
	}
}

func (p *problems) mark(raw *rawMark) Mark {
	m := Mark{
		V6:        choice(p, raw.Family, false, "a family", families),
		AnyFamily: !raw.Family.written,
		Proto:     p.protocol(raw.Proto),
		InPort:    p.text(raw.InPort, ""),
	}
	if p.seen[raw.Proto.path] { // whether it has ports is not known
		p.settle(join(raw.At, "sport"))
		p.settle(join(raw.At, "dport"))
	}
	for _, v := range p.list(raw.Source) {
		m.Source = append(m.Source, p.net(v))
	}
	for _, v := range p.list(raw.Destination) {
		m.Dest = append(m.Dest, p.net(v))
	}
	for _, v := range p.list(raw.SPort) {
		m.SourcePorts = append(m.SourcePorts, p.portRange(v))
	}
	for _, v := range p.list(raw.DPort) {
		m.DestPorts = append(m.DestPorts, p.portRange(v))
	}
	if i := slices.IndexFunc(m.prefixes(), netip.Prefix.IsValid); i >= 0 && m.AnyFamily {
		m.AnyFamily, m.V6 = false, m.prefixes()[i].Addr().Is6()
	}
	if raw.Value.written {
		m.Value, m.Mask = p.markValue(raw.Value)
	} else {
		p.add(join(raw.At, "value"), `is missing; write the mark, like value = 5`)
	}
	return m
}

// prefixes are all addresses the rule names.
func (m *Mark) prefixes() []netip.Prefix { return slices.Concat(m.Source, m.Dest) }
