package conf

import "net/netip"

func (p *problems) checkRoutes(cfg *Config) {
	first := make(map[netip.Prefix]int)
	for i := range cfg.Routes {
		r, path := &cfg.Routes[i], at("route", i)
		if r.Port != "" && cfg.port(r.Port) == nil {
			p.add(join(path, "port"), "%q is not a [[port]]; %s", r.Port, cfg.portNames())
		}
		if r.Kind != Unicast {
			p.leadsNowhere(path, r)
		} else if r.Port == "" && !r.Via.IsValid() && !p.seen[join(path, "via")] && !p.seen[join(path, "type")] {
			p.add(path, "leads nowhere; write via, the next hop, or port for what is on the link, or both")
		}
		if r.MTU != 0 && (r.MTU < minMTU || r.MTU > maxMTU) {
			p.add(join(path, "mtu"), "is %d; %s", r.MTU, mtuBounds)
		}
		if !p.network(join(path, "dest"), r.Dest) {
			continue
		}
		for key, a := range map[string]netip.Addr{"via": r.Via, "src": r.Src} {
			if why := unusable(a); a.IsValid() && why != "" {
				p.add(join(path, key), "%v %s; write the address of one machine", a, why)
			} else if a.IsValid() && a.Is6() != r.Dest.Addr().Is6() {
				p.add(join(path, key), "%v is not of the family of %v; write an %s address", a, r.Dest, familyName(r.Dest.Addr().Is6()))
			}
		}
		if j, twice := first[r.Dest]; twice {
			p.add(join(path, "dest"), "%v is already the destination of %s; write one route for each destination", r.Dest, at("route", j))
		} else {
			first[r.Dest] = i
		}
	}
}

// leadsNowhere notes the keys of a way out that a route without one has.
func (p *problems) leadsNowhere(path string, r *Route) {
	word := routes.word(r.Kind)
	if word == "" {
		p.add(join(path, "type"), "%d is no type of route; %s", r.Kind, oneOf(routes.words()))
		return
	}
	for _, k := range []struct {
		key     string
		written bool
	}{{"via", r.Via.IsValid()}, {"port", r.Port != ""}, {"src", r.Src.IsValid()}, {"mtu", r.MTU != 0}} {
		if k.written {
			p.add(join(path, k.key), "has no meaning with type = %q; remove it", word)
		}
	}
}

// network notes what is wrong with a network and reports whether nothing is.
func (p *problems) network(path string, f netip.Prefix) bool {
	switch {
	case !f.IsValid():
		p.add(path, "is missing; write a network like \"192.0.2.0/24\"")
	case f.Addr().Is4In6():
		p.add(path, "%v is an IPv4 network written as IPv6; write the IPv4 form", f)
	case f != f.Masked():
		p.add(path, "%v has bits beyond its prefix length; write %v for the network or %v/%d for the address", f, f.Masked(), f.Addr(), f.Addr().BitLen())
	default:
		return true
	}
	return false
}

func familyName(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

func (p *problems) checkNeighbors(cfg *Config) {
	first := make(map[Neighbor]int)
	for i := range cfg.Neighbors {
		n, path := &cfg.Neighbors[i], at("neighbor", i)
		if why := unusable(n.Address); why != "" {
			p.add(join(path, "address"), "%s; write the address of one machine, like \"192.0.2.1\"", why)
		}
		if n.MAC == [6]byte{} || n.MAC[0]&1 != 0 {
			p.add(join(path, "mac"), "%v is not the Ethernet address of one machine; write one like \"02:00:00:00:00:01\"", macText(n.MAC))
		}
		switch port := cfg.port(n.Port); {
		case n.Port == "":
			p.add(join(path, "port"), "is missing; %s", cfg.portNames())
		case port == nil:
			p.add(join(path, "port"), "%q is not a [[port]]; %s", n.Port, cfg.portNames())
		case port.Driver == TUN:
			p.add(join(path, "port"), "%q has driver = \"tun\", which has no neighbours", n.Port)
		}
		id := Neighbor{Address: n.Address, Port: n.Port}
		if j, twice := first[id]; twice {
			p.add(join(path, "address"), "%v is already bound by %s; write each neighbour of a port once", n.Address, at("neighbor", j))
		} else {
			first[id] = i
		}
	}
}

func (p *problems) checkMarks(cfg *Config) {
	for i := range cfg.Marks {
		m, path := &cfg.Marks[i], at("mark", i)
		for key, nets := range map[string][]netip.Prefix{"source": m.Source, "destination": m.Dest} {
			for j, f := range nets {
				path := at(join(path, key), j)
				if !p.network(path, f) {
					continue
				}
				if m.AnyFamily || f.Addr().Is6() != m.V6 {
					p.add(path, "%v is not of the rule's family, which is %s; write one rule for each family", netText(f), familyName(m.V6))
				}
			}
		}
		for key, ranges := range map[string][]PortRange{"sport": m.SourcePorts, "dport": m.DestPorts} {
			if len(ranges) > 0 && serviceProtocols.word(m.Proto) == "" {
				p.add(join(path, key), "needs a protocol with ports; write proto = \"tcp\", \"udp\" or \"sctp\"")
			}
			for j, r := range ranges {
				if r.First > r.Last {
					p.add(at(join(path, key), j), "%d-%d runs backwards; write %d-%d", r.First, r.Last, r.Last, r.First)
				}
			}
		}
		if m.InPort != "" && cfg.port(m.InPort) == nil {
			p.add(join(path, "in_port"), "%q is not a [[port]]; %s", m.InPort, cfg.portNames())
		}
		if m.Mask == 0 {
			p.add(join(path, "value"), "has an empty mask, so it changes nothing; write a mask other than 0, or none")
		}
	}
}
