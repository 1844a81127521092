package conf

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestMain fixes the seed of the properties; -rapid.seed gives another.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.seed", "20261121"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// genConfig draws a valid state. The spaces are small, so that two draws have
// services, servers and routes in common.
func genConfig(t *rapid.T) *Config {
	c := Default()
	c.Director.Workers = rapid.IntRange(0, 2).Draw(t, "workers")
	c.Director.Pin = rapid.Bool().Draw(t, "pin")
	c.Director.Name = rapid.SampledFrom([]string{"dirigo", "lb_1", "A"}).Draw(t, "name")
	c.Director.Control = rapid.SampledFrom([]string{DefaultControl, "/x", `/a "b"\c`}).Draw(t, "control")
	c.Director.FollowRoutes = rapid.Bool().Draw(t, "follow")
	c.Director.Announce = rapid.IntRange(0, 3).Draw(t, "announce")
	c.Director.ControlGroup = rapid.SampledFrom([]string{"", "lvs"}).Draw(t, "group")
	c.Metrics, c.API = genListeners(t)
	for i := range rapid.IntRange(0, 3).Draw(t, "ports") {
		c.Ports = append(c.Ports, genPort(t, i))
	}
	if n := len(c.Ports); n > 0 && c.Ports[n-1].Driver == TUN && rapid.Bool().Draw(t, "host port") {
		c.Director.HostPort = c.Ports[n-1].Name
	}
	c.Conntrack.MaxConnections = rapid.SampledFrom([]int{1, 1000, DefaultMaxConnections, maxConns}).Draw(t, "max")
	c.Conntrack.TCP = genSeconds(t, 1, maxSeconds)
	c.Conntrack.TCPFin = genSeconds(t, 1, maxSeconds)
	c.Conntrack.UDP = genSeconds(t, 1, maxSeconds)
	for i := range settings {
		if settings[i].why != "" { // not in a file
			continue
		}
		lo, hi := settings[i].bounds()
		settings[i].put(&c.Sysctl, rapid.IntRange(lo, hi).Draw(t, settings[i].name))
	}
	genNetwork(t, c)
	for range rapid.IntRange(0, 4).Draw(t, "marks") {
		c.Marks = append(c.Marks, genMark(t, c))
	}
	keys, names := make(map[ServiceKey]bool), make(map[string]bool)
	for range rapid.IntRange(0, 5).Draw(t, "services") {
		if s := genService(t); !keys[s.Key] && (s.Name == "" || !names[s.Name]) {
			keys[s.Key], names[s.Name] = true, true
			c.Services = append(c.Services, s)
		}
	}
	return c
}

func genSeconds(t *rapid.T, lo, hi int) time.Duration {
	n := rapid.OneOf(rapid.SampledFrom([]int{lo, 60, 90, 300, 360, 3600, hi}), rapid.IntRange(lo, hi)).Draw(t, "seconds")
	return time.Duration(n) * time.Second
}

func genPort(t *rapid.T, i int) Port {
	p := Port{
		Name:      fmt.Sprintf("eth%d", i),
		Guard:     rapid.SampledFrom([]Guard{GuardOn, GuardOff}).Draw(t, "guard"),
		MTU:       rapid.SampledFrom([]int{0, minMTU, 1500, maxMTU}).Draw(t, "mtu"),
		RingSlots: rapid.SampledFrom([]int{minSlots, DefaultRingSlots, maxSlots}).Draw(t, "slots"),
	}
	p.Latency = rapid.SampledFrom([]Latency{Balanced, Low, Throughput}).Draw(t, "latency")
	p.BusyPoll = rapid.SampledFrom([]time.Duration{p.Latency.BusyPoll(), 0, 7 * time.Microsecond, 2500, maxBusyPoll}).Draw(t, "busy poll")
	if p.Mode = rapid.SampledFrom([]Mode{RingMode, BatchMode, BlocksMode}).Draw(t, "mode"); i == 2 && rapid.Bool().Draw(t, "tun") {
		p.Driver, p.Mode = TUN, RingMode
	} else if rapid.Bool().Draw(t, "mac") {
		p.MAC = [6]byte{2, 0, 0, 0, byte(i), rapid.Byte().Draw(t, "mac")}
	}
	for j := range rapid.IntRange(0, 2).Draw(t, "addresses") {
		p.Addresses = append(p.Addresses, rapid.SampledFrom([]netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), byte(j + 1)}), 24),
			netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::%d/64", i+1, j+1)),
		}).Draw(t, "address"))
	}
	return p
}

func genNetwork(t *rapid.T, c *Config) {
	dests := []string{"0.0.0.0/0", "10.0.0.0/8", "10.2.0.1/32", "::/0", "2001:db8:ff::/48"}
	for _, dest := range dests {
		if len(c.Ports) == 0 || rapid.Bool().Draw(t, "no route") {
			continue
		}
		r := Route{Dest: netip.MustParsePrefix(dest), Port: rapid.SampledFrom(c.Ports).Draw(t, "port").Name}
		via := netip.MustParseAddr("10.1.0.254")
		if r.Dest.Addr().Is6() {
			via = netip.MustParseAddr("fe80::1")
		}
		switch rapid.IntRange(0, 5).Draw(t, "via") {
		case 4:
			r.Kind, r.Port = LocalRoute, ""
		case 5:
			r.Kind, r.Port = Unreachable, ""
		case 0:
			r.Via = via
		case 1:
			r.Via, r.Port = via, ""
		case 2:
			r.Src, r.MTU = via, 1400
		}
		c.Routes = append(c.Routes, r)
	}
	for i, p := range c.Ports {
		if p.Driver != TUN && rapid.Bool().Draw(t, "neighbor") {
			c.Neighbors = append(c.Neighbors, Neighbor{
				Address: netip.AddrFrom4([4]byte{10, 1, byte(i), 254}), MAC: [6]byte{2, 0, 0, 0, 0, rapid.Byte().Draw(t, "mac")}, Port: p.Name,
			})
		}
	}
}

func genMark(t *rapid.T, c *Config) Mark {
	m := Mark{
		AnyFamily: true,
		Proto:     rapid.SampledFrom([]uint8{0, 1, 6, 17, 89, 132, 255}).Draw(t, "proto"),
		Mask:      rapid.SampledFrom([]uint32{wholeMark, 0xf0, 0xff}).Draw(t, "mask"),
	}
	m.Value = rapid.Uint32().Draw(t, "value") & m.Mask
	nets := []string{"198.51.100.1/32", "198.51.100.0/24", "0.0.0.0/0"}
	if rapid.Bool().Draw(t, "v6") {
		nets = []string{"2001:db8::1/128", "2001:db8::/32", "::/0"}
	}
	some := rapid.SliceOfN(rapid.Map(rapid.SampledFrom(nets), netip.MustParsePrefix), 0, 2)
	m.Source, m.Dest = some.Draw(t, "source"), some.Draw(t, "dest")
	if p := m.prefixes(); len(p) > 0 {
		m.AnyFamily, m.V6 = false, p[0].Addr().Is6()
	} else if rapid.Bool().Draw(t, "family") {
		m.AnyFamily, m.V6 = false, rapid.Bool().Draw(t, "v6")
	}
	if serviceProtocols.word(m.Proto) != "" {
		ports := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) PortRange {
			a, b := rapid.Uint16().Draw(t, "first"), rapid.Uint16().Draw(t, "last")
			return PortRange{min(a, b), max(a, b)}
		}), 0, 2)
		m.SourcePorts, m.DestPorts = ports.Draw(t, "sport"), ports.Draw(t, "dport")
	}
	if len(c.Ports) > 0 && rapid.Bool().Draw(t, "in port") {
		m.InPort = c.Ports[0].Name
	}
	for _, empty := range []*[]netip.Prefix{&m.Source, &m.Dest} {
		if len(*empty) == 0 {
			*empty = nil
		}
	}
	for _, empty := range []*[]PortRange{&m.SourcePorts, &m.DestPorts} {
		if len(*empty) == 0 {
			*empty = nil
		}
	}
	return m
}

func genService(t *rapid.T) Service {
	s := Service{
		Name:       rapid.SampledFrom([]string{"", "", "web", "a \"b\" \\ ü"}).Draw(t, "name"),
		Scheduler:  rapid.SampledFrom(schedulers).Draw(t, "scheduler"),
		SchedFlags: rapid.Uint8Range(0, 7).Draw(t, "flags"),
	}
	vip := netip.MustParseAddr(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "2001:db8:80::1"}).Draw(t, "vip"))
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		s.Key = ServiceKey{Fwmark: rapid.SampledFrom([]uint32{1, 2, 1<<32 - 1}).Draw(t, "fwmark"), V6: rapid.Bool().Draw(t, "v6")}
		s.OnePacket = rapid.Bool().Draw(t, "ops")
	case 1:
		s.Key = ServiceKey{Proto: 17, Addr: vip, Port: 53}
		s.OnePacket = rapid.Bool().Draw(t, "ops")
	case 2:
		s.Key = ServiceKey{Proto: rapid.SampledFrom([]uint8{6, 132}).Draw(t, "proto"), Addr: vip, Port: rapid.SampledFrom([]uint16{0, 80}).Draw(t, "port")}
	}
	p := &s.Persistence
	if s.Key.Fwmark == 0 && s.Key.Port == 0 || rapid.Bool().Draw(t, "persistent") {
		p.Timeout = genSeconds(t, 1, maxSeconds)
		if s.Key.V6Service() {
			p.Prefix = rapid.IntRange(0, 127).Draw(t, "prefix")
		} else if rapid.Bool().Draw(t, "mask") {
			p.Netmask = netip.MustParseAddr(rapid.SampledFrom([]string{"0.0.0.0", "255.255.255.0", "255.0.255.0", "255.255.255.254", "0.0.0.1"}).Draw(t, "netmask"))
		}
	}
	if s.Key.Fwmark != 0 && p.Timeout == 0 || s.Key.Proto == 6 && s.Key.Port != 0 {
		s.Redispatch = rapid.IntRange(0, maxRedispatch).Draw(t, "redispatch")
	}
	p.Engine = rapid.SampledFrom([]string{"", "", "sip"}).Draw(t, "engine")
	ids, names := make(map[ServerID]bool), make(map[string]bool)
	for range rapid.IntRange(0, 5).Draw(t, "servers") {
		if d := genServer(t, s.Key); !ids[d.ID()] && (d.Name == "" || !names[d.Name]) {
			ids[d.ID()], names[d.Name] = true, true
			s.Servers = append(s.Servers, d)
		}
	}
	genHealth(t, &s)
	return s
}

func genServer(t *rapid.T, key ServiceKey) Server {
	d := Server{
		Name:    rapid.SampledFrom([]string{"", "", "rs1", "rs\"2"}).Draw(t, "name"),
		Forward: rapid.SampledFrom([]Forward{NAT, DR, Tunnel, Local}).Draw(t, "forward"),
		Weight:  rapid.SampledFrom([]int{0, 1, 1, 2, 1<<31 - 1}).Draw(t, "weight"),
		Upper:   rapid.SampledFrom([]int{0, 0, 10, 1<<31 - 1}).Draw(t, "upper"),
	}
	d.Lower = rapid.SampledFrom([]int{0, d.Upper}).Draw(t, "lower")
	host := rapid.IntRange(1, 3).Draw(t, "host")
	v6 := key.V6Service()
	if d.Forward == Tunnel && rapid.Bool().Draw(t, "mixed") {
		v6 = !v6
	}
	if v6 {
		d.Addr = netip.MustParseAddr(fmt.Sprintf("2001:db8:2::%d", host))
	} else {
		d.Addr = netip.AddrFrom4([4]byte{192, 168, 2, byte(host)})
	}
	d.Port = key.Port
	if d.Forward == NAT || key.Fwmark != 0 {
		d.Port = rapid.SampledFrom([]uint16{key.Port, 0, 8080}).Draw(t, "port")
	}
	if d.Forward == Tunnel {
		d.TunType = rapid.SampledFrom([]TunType{TunIPIP, TunGUE, TunGRE}).Draw(t, "type")
		switch d.TunType {
		case TunGUE:
			d.TunPort, d.TunFlags = rapid.Uint16Range(1, 65535).Draw(t, "port"), rapid.Uint8Range(0, 2).Draw(t, "checksum")
		case TunGRE:
			d.TunFlags = rapid.Uint8Range(0, 1).Draw(t, "checksum")
		}
	}
	return d
}
