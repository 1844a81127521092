package conf

import "slices"

// wholeMark is the mask of a rule that sets every bit.
const wholeMark = 1<<32 - 1

// warn notes what a valid state probably does not mean.
func (p *problems) warn(cfg *Config) {
	if len(cfg.Ports) == 0 {
		p.add("port", "there is no [[port]], so no frame comes in")
	}
	for i := range cfg.Ports {
		if port := &cfg.Ports[i]; port.Mode == BlocksMode && port.Latency == Low {
			p.add(join(at("port", i), "latency"), "low has little effect with mode = \"blocks\": each packet waits for its block, 1 to 2 ms")
		}
	}
	for i := range cfg.Routes {
		if r := &cfg.Routes[i]; r.Via.IsValid() && !cfg.onLink(r) {
			p.add(join(at("route", i), "via"), "%v is in no network of %s", r.Via, portOrAny(r.Port))
		}
	}
	for i := range cfg.Services {
		p.warnService(at("service", i), &cfg.Services[i], cfg)
	}
	p.warnMarks(cfg)
}

func portOrAny(name string) string {
	if name == "" {
		return "any port"
	}
	return "port " + name
}

// onLink reports whether the next hop is in a network of the route's port, or may be:
// a port without addresses takes those of its interface.
func (c *Config) onLink(r *Route) bool {
	for i := range c.Ports {
		port := &c.Ports[i]
		if r.Port != "" && r.Port != port.Name {
			continue
		}
		if len(port.Addresses) == 0 || r.Via.IsLinkLocalUnicast() {
			return true
		}
		for _, a := range port.Addresses {
			if a.Contains(r.Via) {
				return true
			}
		}
	}
	return false
}

func (p *problems) warnService(path string, s *Service, cfg *Config) {
	if len(s.Servers) == 0 {
		p.add(path, "has no server, so every client is refused")
	}
	if s.SchedFlags != 0 && s.Scheduler != "sh" && s.Scheduler != "mh" {
		p.add(join(path, "flags"), "have no effect on %s; sh and mh have flags", s.Scheduler)
	}
	if t := &s.Persistence; t.Engine != "" && t.Timeout == 0 {
		p.add(join(join(path, "persistence"), "engine"), "%s has no effect without a timeout", t.Engine)
	} else if t.Engine != "" && s.Key.Fwmark == 0 && serviceProtocols.word(s.Key.Proto) != "udp" {
		p.add(join(join(path, "persistence"), "engine"), "%s reads UDP only, so every packet of this service is dropped", t.Engine)
	}
	p.warnHealth(path, s)
	for i := range s.Servers {
		d, path := &s.Servers[i], at(join(path, "server"), i)
		if d.Forward != NAT && s.Redispatch != 0 {
			p.add(join(path, "forward"), "answers of a %s server do not come by the director, which can keep none of its refusals from clients: redispatch is for nat", forwards.word(d.Forward))
		}
		switch {
		case d.Forward == Local && cfg.Director.HostPort == "" && !cfg.guarded():
			p.add(join(path, "forward"), "local needs director.host_port, the way to the host's own stack: one is made only where a port has its guard on")
		case d.Forward == DR && len(cfg.Ports) > 0 && !cfg.ethernet():
			p.add(join(path, "forward"), "dr needs a port with Ethernet; all ports have driver = \"tun\"")
		case d.Forward == NAT && s.OnePacket:
			p.add(join(path, "forward"), "replies of a NAT server are not translated with one_packet; dr or tun servers answer by themselves")
		case s.Key.Fwmark == 0 && s.Key.Port == 0 && d.Port != 0:
			p.add(join(path, "address"), "the port %d is never used: a service for all ports keeps the client's", d.Port)
		}
	}
}

// guarded reports whether a port has its guard on, so that the director makes itself a
// way to the host's own stack.
func (c *Config) guarded() bool {
	return slices.ContainsFunc(c.Ports, func(p Port) bool { return p.Driver == AFPacket && p.Guard == GuardOn })
}

func (c *Config) ethernet() bool {
	for i := range c.Ports {
		if c.Ports[i].Driver != TUN {
			return true
		}
	}
	return false
}

// warnMarks finds mark rules and fwmark services that do not meet. Rules with masks
// change parts of a mark, so it looks for what could meet, bit by bit, and stays
// silent in doubt.
func (p *problems) warnMarks(cfg *Config) {
	var wanted [2]map[uint32]bool // marks of services, by family
	for f := range wanted {
		wanted[f] = make(map[uint32]bool)
	}
	for i := range cfg.Services {
		k := cfg.Services[i].Key
		if k.Fwmark == 0 {
			continue
		}
		wanted[family(k.V6)][k.Fwmark] = true
		if !cfg.marked(k) {
			p.add(join(at("service", i), "fwmark"), "no [[mark]] rule gives an %s packet the mark %d", familyName(k.V6), k.Fwmark)
		}
	}
	var later [2]uint32 // bits that rules further down may still change
	for i := len(cfg.Marks) - 1; i >= 0; i-- {
		m := &cfg.Marks[i]
		useful := m.Value == 0 // takes a mark away
		for f := range wanted {
			if !m.AnyFamily && f != family(m.V6) {
				continue
			}
			useful = useful || meets(wanted[f], m.Value, m.Mask&^later[f])
			if m.Mask != wholeMark {
				later[f] |= m.Mask
			}
		}
		if !useful {
			p.add(join(at("mark", i), "value"), "no fwmark service has the mark %d", m.Value)
		}
	}
}

func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// meets reports whether a wanted mark has value's bits where mask has ones.
func meets(wanted map[uint32]bool, value, mask uint32) bool {
	if mask == wholeMark {
		return wanted[value]
	}
	for w := range wanted {
		if (w^value)&mask == 0 {
			return true
		}
	}
	return false
}

// marked reports whether the rules may give the mark of a fwmark service: some rule
// sets it whole, or rules that set parts of it make it up.
func (c *Config) marked(k ServiceKey) bool {
	var whole []uint32
	var parts uint32
	for i := range c.Marks {
		m := &c.Marks[i]
		switch {
		case !m.AnyFamily && m.V6 != k.V6 || m.Value&^k.Fwmark != 0:
		case m.Mask == wholeMark:
			whole = append(whole, m.Value)
		default:
			parts |= m.Value
		}
	}
	for _, v := range append(whole, 0) {
		if v|parts == k.Fwmark {
			return true
		}
	}
	return false
}
