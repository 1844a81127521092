package conf

import (
	"math"
	"net/netip"
	"slices"
)

// owners gives each address of the director itself the port it is on.
func (c *Config) owners() map[netip.Addr]string {
	owners := make(map[netip.Addr]string)
	for i := range c.Ports {
		for _, a := range c.Ports[i].Addresses {
			owners[a.Addr()] = c.Ports[i].Name
		}
	}
	return owners
}

func (p *problems) checkServices(cfg *Config) {
	owners := cfg.owners()
	keys, names := make(map[ServiceKey]int), make(map[string]int)
	for i := range cfg.Services {
		s, path := &cfg.Services[i], at("service", i)
		p.checkService(path, s, owners)
		key := s.Key.canonical()
		if first, twice := keys[key]; twice && key != (ServiceKey{}) {
			p.add(keyPath(path, s), "%v is already %s; write each service once", s.Key, at("service", first))
		} else {
			keys[key] = i
		}
		if first, twice := names[s.Name]; twice && s.Name != "" {
			p.add(join(path, "name"), "%q is already the name of %s; names are unique", s.Name, at("service", first))
		} else {
			names[s.Name] = i
		}
	}
}

// keyPath is where the file says what the service is.
func keyPath(path string, s *Service) string {
	if s.Key.Fwmark != 0 {
		return join(path, "fwmark")
	}
	return join(path, "listen")
}

// checkService notes every rule a service breaks by itself. owners are the director's
// own addresses.
func (p *problems) checkService(path string, s *Service, owners map[netip.Addr]string) {
	p.checkName(path, s.Name)
	p.checkKey(path, s, owners)
	p.between(join(path, "redispatch"), s.Redispatch, 0, maxRedispatch)
	p.checkScheduler(path, s)
	p.checkRoom(path, s)
	if s.SchedFlags&^(SchedFlag1|SchedFlag2|SchedFlag3) != 0 {
		p.add(join(path, "flags"), "has bits %#x; there are three flags, bits 0x7", s.SchedFlags)
	}
	p.checkPersistence(join(path, "persistence"), s)
	servers, names := make(map[ServerID]int), make(map[string]int)
	for i := range s.Servers {
		d, path := &s.Servers[i], at(join(path, "server"), i)
		p.checkServer(path, d, s.Key)
		p.checkChecks(join(path, "check"), d.Checks, s.Key)
		if first, twice := servers[d.ID()]; twice && d.Addr.IsValid() {
			p.add(join(path, "address"), "%v is already %s of this service; write each server once", d, at("server", first))
		} else {
			servers[d.ID()] = i
		}
		if first, twice := names[d.Name]; twice && d.Name != "" {
			p.add(join(path, "name"), "%q is already the name of %s; names are unique within a service", d.Name, at("server", first))
		} else {
			names[d.Name] = i
		}
	}
	p.checkHealth(path, s.Health, s.Key)
	for i := range s.Servers {
		p.checkMember(at(join(path, "server"), i), s, &s.Servers[i])
	}
}

// checkRoom notes more servers than the scheduler has room for.
func (p *problems) checkRoom(path string, s *Service) {
	if s.Scheduler == "mh" && len(s.Servers) > mhSlots {
		p.add(join(path, "scheduler"), "\"mh\" spreads at most %d servers, and there are %d; choose another scheduler", mhSlots, len(s.Servers))
	}
}

func (p *problems) checkScheduler(path string, s *Service) {
	if !slices.Contains(schedulers, s.Scheduler) {
		p.addKind(ErrNoScheduler, join(path, "scheduler"), "%q is not a scheduler; %s", s.Scheduler, oneOf(schedulers))
	}
}

func (p *problems) checkName(path, name string) {
	if len(name) > maxName || !printable(name) {
		p.add(join(path, "name"), "%q is no good as a name; write up to %d bytes of printable text", name, maxName)
	}
}

// maxRedispatch is how often a client may be left to ask again: after the fourth SYN it waits
// 8 seconds, and a refused connection is remembered for 10 (state CLOSE).
const maxRedispatch = 4

func (p *problems) checkKey(path string, s *Service, owners map[netip.Addr]string) {
	key, listen := s.Key, join(path, "listen")
	if key.Fwmark != 0 {
		if s.Redispatch != 0 && s.Persistence.Timeout != 0 {
			p.add(join(path, "redispatch"), "is not for a persistent service of a mark: a port that nobody is meant to serve would move clients too; remove it")
		}
		if key.Addr.IsValid() || key.Port != 0 || key.Proto != 0 {
			p.add(join(path, "fwmark"), "stands beside listen; a service has either an address (listen) or a mark (fwmark)")
		}
		return
	}
	if key == (ServiceKey{}) {
		p.add(listen, `is missing; write listen = "tcp/192.0.2.1:80", or fwmark = 1`)
		return
	}
	if serviceProtocols.word(key.Proto) == "" {
		p.add(listen, "has the protocol %d; %s", key.Proto, oneOf(serviceProtocols.words()))
	}
	if why := unusable(key.Addr); why != "" {
		p.add(listen, "%v %s; write the address clients use", key.Addr, why)
	} else if port, own := owners[key.Addr]; own {
		p.add(listen, "%v is the director's own address on port %q, so its host would answer for it too; write a VIP that no interface has", key.Addr, port)
	}
	if key.Port == 0 && s.Persistence.Timeout == 0 {
		// ipvsadm: "Zero port specified for non-persistent service"
		p.add(listen, "takes all ports, which only a persistent service can; write a port, or persistence = {}")
	}
	switch {
	case s.Redispatch == 0:
	case serviceProtocols.word(key.Proto) != "tcp":
		p.add(join(path, "redispatch"), "is only for TCP, whose servers refuse connections; remove it")
	case key.Port == 0:
		p.add(join(path, "redispatch"), "is only for a service with a port: a port that nobody is meant to serve would move clients too; remove it")
	}
	if s.OnePacket && serviceProtocols.word(key.Proto) != "udp" {
		// ipvsadm: "One-Packet Scheduling is only for UDP virtual services"
		p.add(join(path, "one_packet"), "is only for UDP; remove it, or write listen = \"udp/...\"")
	}
}

func (p *problems) checkPersistence(path string, s *Service) {
	t := &s.Persistence
	if t.Timeout != 0 {
		p.seconds(join(path, "timeout"), t.Timeout, 1, maxSeconds)
	}
	if t.Engine != "" {
		if _, ok := engines.value(t.Engine); !ok {
			p.addKind(ErrNoScheduler, join(path, "engine"), "%q is not a persistence engine; %s", t.Engine, oneOf(engines.words()))
		}
	}
	if s.Key.V6Service() {
		if t.Prefix < 0 || t.Prefix > 128 {
			p.add(join(path, "netmask"), "is %d; write a prefix length from 1 to 128 for an IPv6 service", t.Prefix)
		}
	} else if t.Netmask.IsValid() && !t.Netmask.Is4() {
		p.add(join(path, "netmask"), "%v is not an IPv4 mask; write one like \"255.255.255.0\"", t.Netmask)
	}
}

// mhSlots is the size of mh's table (ip_vs_mh.c, primes[] at its default): with more
// servers than slots the kernel does not build one.
const mhSlots = 4093

// checkServer notes every rule a server of the service key breaks by itself.
func (p *problems) checkServer(path string, d *Server, key ServiceKey) {
	p.checkName(path, d.Name)
	p.checkNumbers(path, d)
	known := forwards.word(d.Forward) != ""
	switch {
	case d.Forward == noMethod:
		p.add(join(path, "forward"), "is missing, for the service and for this server; %s", oneOf(forwards.words()))
	case !known:
		p.add(join(path, "forward"), "is %v; %s", d.Forward, oneOf(forwards.words()))
	case d.Forward == FullNAT:
		p.add(join(path, "forward"), "\"fullnat\" is not part of this version: it needs local addresses, which cannot be written yet; write nat, dr, tun or local")
	}
	if d.Forward == Tunnel {
		p.checkTunnel(join(path, "tunnel"), d)
	}
	address := join(path, "address")
	switch why := unusable(d.Addr); {
	case !d.Addr.IsValid():
		p.add(address, `is missing; write one like "192.168.2.100:80"`)
		return
	case why != "":
		p.add(address, "%v %s; write the address of one server", d.Addr, why)
		return
	case d.Addr.Is6() && d.Addr.IsLinkLocalUnicast():
		p.add(address, "%v is a link-local address, which needs an interface; write a global or unique local one", d.Addr)
		return
	}
	if key.Fwmark == 0 && !key.Addr.IsValid() {
		return // its mistake is told where the service's key is
	}
	if v6 := key.V6Service(); known && d.Addr.Is6() != v6 && d.Forward != Tunnel {
		p.add(address, "%v is not of the service's family, %s; only servers with forward = \"tun\" may differ", d.Addr, familyName(v6))
	}
	// These methods leave the packet's destination port alone, so another one would
	// not be true.
	keepsPort := d.Forward == DR || d.Forward == Tunnel || d.Forward == Local
	if keepsPort && key.Fwmark == 0 && d.Port != key.Port {
		p.add(address, "has the port %d, but forward = %q keeps the packet's port; leave the port out, or write %d", d.Port, d.Forward, key.Port)
	}
}

// checkNumbers notes weights and thresholds that the kernel would refuse with ERANGE.
func (p *problems) checkNumbers(path string, d *Server) {
	for _, n := range []struct {
		key   string
		value int
	}{{"weight", d.Weight}, {"upper", d.Upper}, {"lower", d.Lower}} {
		if n.value < 0 || n.value > math.MaxInt32 {
			p.addKind(ErrRange, join(path, n.key), "is %d; write a number from 0 to %d", n.value, math.MaxInt32)
		}
	}
	if d.Lower > d.Upper {
		p.addKind(ErrRange, join(path, "lower"), "%d is above upper, %d; write at most that", d.Lower, d.Upper)
	}
}

func (p *problems) checkTunnel(path string, d *Server) {
	kind := tunnels.word(d.TunType)
	if kind == "" {
		p.add(join(path, "type"), "is tunnel type %d; %s", d.TunType, oneOf(tunnels.words()))
		return
	}
	if checksums.word(d.TunFlags) == "" {
		p.add(join(path, "checksum"), "is %d; %s", d.TunFlags, oneOf(checksums.words()))
	}
	switch {
	case d.TunType == TunGUE && d.TunPort == 0:
		p.add(join(path, "port"), "is missing; a gue tunnel needs the UDP port the server takes it on, like 6080")
	case d.TunType != TunGUE && d.TunPort != 0:
		p.add(join(path, "port"), "is only for type = \"gue\"; remove it")
	}
	switch {
	case d.TunType == TunIPIP && d.TunFlags != 0:
		p.add(join(path, "checksum"), "is only for type = \"gue\" or \"gre\"; ipip has no checksum, remove it")
	case d.TunType == TunGRE && d.TunFlags > 1:
		p.add(join(path, "checksum"), "\"remote\" is only for type = \"gue\"; write \"none\" or \"full\"")
	}
}
