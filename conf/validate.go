package conf

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxSeconds is ipvsadm's bound for -p and --set: 31 days (MAX_TIMEOUT, ipvsadm.c).
	maxSeconds = 86400 * 31
	// maxMTU is the total length field of IPv4, RFC 791 section 3.1; the least MTU is
	// from the same RFC, section 3.2.
	minMTU, maxMTU = 68, 65535
	mtuBounds      = "write a number of bytes from 68 to 65535"
	// maxWorkers is the number of sockets in one PACKET_FANOUT group of older kernels
	// (net/packet/internal.h, PACKET_FANOUT_MAX).
	maxWorkers = 256
	// maxSocketPath is sun_path of struct sockaddr_un with its final zero, unix(7).
	maxSocketPath = 107
	// maxInterface is IFNAMSIZ of linux/if.h with its final zero.
	maxInterface = 15
	maxName      = 100 // bytes of a service's or server's name
	maxAnnounce  = 255
	minSlots     = 64
	maxBusyPoll  = time.Second
	maxSlots     = 32768
	// maxConns is what the connection table's 31-bit slot numbers leave room for.
	maxConns = 1 << 30
)

// validate notes every rule that cfg breaks.
func (p *problems) validate(cfg *Config) {
	p.checkDirector(cfg)
	p.checkListeners(cfg)
	p.checkPorts(cfg.Ports)
	p.checkRoutes(cfg)
	p.checkNeighbors(cfg)
	p.checkConntrack(&cfg.Conntrack)
	p.checkSysctl(&cfg.Sysctl)
	p.checkMarks(cfg)
	p.checkServices(cfg)
}

func (p *problems) checkSysctl(s *Sysctl) {
	for i := range settings {
		t := &settings[i]
		switch lo, hi := t.bounds(); {
		case t.seconds != nil:
			p.seconds(join("sysctl", t.name), *t.seconds(s), lo, hi)
		case t.number != nil:
			p.between(join("sysctl", t.name), *t.number(s), lo, hi)
		}
	}
}

func (p *problems) checkConntrack(c *Conntrack) {
	p.between("conntrack.max_connections", c.MaxConnections, 1, maxConns)
	p.seconds("conntrack.timeouts.tcp", c.TCP, 1, maxSeconds)
	p.seconds("conntrack.timeouts.tcpfin", c.TCPFin, 1, maxSeconds)
	p.seconds("conntrack.timeouts.udp", c.UDP, 1, maxSeconds)
}

func (p *problems) between(path string, n, lo, hi int) {
	if n < lo || n > hi {
		p.add(path, "is %d; write a number from %d to %d", n, lo, hi)
	}
}

func (p *problems) seconds(path string, d time.Duration, lo, hi int) {
	if d%time.Second != 0 || d < time.Duration(lo)*time.Second || d > time.Duration(hi)*time.Second {
		p.add(path, "is %v; write whole seconds from %d to %d", d, lo, hi)
	}
}

func (p *problems) checkDirector(cfg *Config) {
	d := &cfg.Director
	// The name becomes part of an nftables identifier.
	ok := d.Name != "" && len(d.Name) <= 32 && (d.Name[0]|0x20 >= 'a' && d.Name[0]|0x20 <= 'z')
	if !ok || !bare(d.Name) || strings.Contains(d.Name, "-") {
		p.add("director.name", `%q cannot name the guard's table; write up to 32 letters, digits and "_", a letter first`, d.Name)
	}
	p.between("director.workers", d.Workers, 0, maxWorkers)
	if !strings.HasPrefix(d.Control, "/") || len(d.Control) > maxSocketPath || !printable(d.Control) {
		p.add("director.control", "%q is not the path of a socket; write an absolute path of up to %d bytes", d.Control, maxSocketPath)
	}
	p.checkGroup(d.ControlGroup)
	p.between("director.announce", d.Announce, 0, maxAnnounce)
	if d.HostPort == "" {
		return
	}
	if port := cfg.port(d.HostPort); port == nil {
		p.add("director.host_port", "%q is not a [[port]]; %s", d.HostPort, cfg.portNames())
	} else if port.Driver != TUN {
		p.add("director.host_port", `port %q has the driver %q; the way to the host's own stack needs driver = "tun"`, port.Name, drivers.word(port.Driver))
	}
}

// port finds a port by name, nil if there is none.
func (c *Config) port(name string) *Port {
	for i := range c.Ports {
		if c.Ports[i].Name == name {
			return &c.Ports[i]
		}
	}
	return nil
}

// portNames says which ports there are.
func (c *Config) portNames() string {
	var names []string
	for i := range c.Ports {
		if n := c.Ports[i].Name; n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if names == nil {
		return "there is none yet"
	}
	return oneOf(names)
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func (p *problems) checkPorts(ports []Port) {
	names := make(map[string]int)
	owners := make(map[netip.Addr]int)
	for i := range ports {
		port, path := &ports[i], at("port", i)
		p.checkPort(port, path)
		if first, twice := names[port.Name]; twice {
			p.add(join(path, "name"), "%q is already the name of %s; write each interface once", port.Name, at("port", first))
		} else if port.Name != "" {
			names[port.Name] = i
		}
		for j, a := range port.Addresses {
			path := at(join(path, "addresses"), j)
			if why := unusable(a.Addr()); why != "" {
				p.add(path, "%v %s; write the address and prefix length of this port, like \"192.0.2.2/24\"", a, why)
			} else if first, twice := owners[a.Addr()]; twice {
				p.add(path, "%v is already an address of %s; an address belongs to one port", a.Addr(), at("port", first))
			}
			owners[a.Addr()] = i
		}
	}
}

func (p *problems) checkPort(port *Port, path string) {
	switch n := port.Name; {
	case n == "":
		p.add(join(path, "name"), "is missing; write the name of the interface")
	case !printable(n):
		p.add(join(path, "name"), "%q has characters that cannot be printed", n)
	case port.Driver != PCAP && (len(n) > maxInterface || strings.ContainsAny(n, "/: \u00a0") || n == "." || n == ".."):
		p.add(join(path, "name"), "%q cannot be an interface; write up to %d characters without space, \"/\" and \":\"", n, maxInterface)
	}
	if drivers.word(port.Driver) == "" {
		p.add(join(path, "driver"), "is driver %d; %s", port.Driver, oneOf(drivers.words()))
	}
	if guards.word(port.Guard) == "" {
		p.add(join(path, "guard"), "is guard setting %d; %s", port.Guard, oneOf(guards.words()))
	}
	switch {
	case port.MAC == [6]byte{}:
	case port.Driver == TUN:
		p.add(join(path, "mac"), "has no meaning for driver = \"tun\", which has no Ethernet; remove it")
	case port.MAC[0]&1 != 0: // the I/G bit of IEEE 802
		p.add(join(path, "mac"), "%v is a group address; write that of one interface", macText(port.MAC))
	}
	if port.MTU != 0 && (port.MTU < minMTU || port.MTU > maxMTU) {
		p.add(join(path, "mtu"), "is %d; %s", port.MTU, mtuBounds)
	}
	if modes.word(port.Mode) == "" {
		p.add(join(path, "mode"), "is mode %d; %s", port.Mode, oneOf(modes.words()))
	} else if port.Mode != RingMode && port.Driver != AFPacket {
		p.add(join(path, "mode"), "has no meaning for driver = %q; remove it", drivers.word(port.Driver))
	}
	if latency.word(port.Latency) == "" {
		p.add(join(path, "latency"), "is latency %d; %s", port.Latency, oneOf(latency.words()))
	}
	if d := port.BusyPoll; d < 0 || d > maxBusyPoll {
		p.add(join(path, "busy_poll"), "is %v; write a time from \"0s\" to %q", d, durationText(maxBusyPoll))
	}
	if n := port.RingSlots; n < minSlots || n > maxSlots || n&(n-1) != 0 {
		p.add(join(path, "ring_slots"), "is %d; write a power of two from %d to %d", n, minSlots, maxSlots)
	}
}

// unusable says why a cannot be the address of one machine, "" if it can.
func unusable(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "is no address"
	case a.Zone() != "":
		return "has a zone"
	case a.Is4In6():
		return "is an IPv4 address written as IPv6"
	case a.IsUnspecified():
		return "is the unspecified address"
	case a.IsMulticast():
		return "is a multicast address"
	case a == allOnes:
		return "is the broadcast address"
	}
	return ""
}

func macText(mac [6]byte) string { return net.HardwareAddr(mac[:]).String() }
