package conf

import (
	"net/netip"
	"slices"
	"time"
)

// What the file need not say. Names of sysctls and their defaults are in sysctl.go.
const (
	DefaultName           = "dirigo"
	DefaultControl        = "/run/dirigo/control.sock"
	DefaultAnnounce       = 2
	DefaultRingSlots      = 8192 // slots of 2 KiB: 17 MiB a worker
	DefaultMaxConnections = 1_000_000
	DefaultTCP            = 15 * time.Minute // ESTABLISHED: ip_vs_proto_tcp.c tcp_timeouts
	DefaultTCPFin         = 2 * time.Minute  // FIN_WAIT, same table
	DefaultUDP            = 5 * time.Minute  // ip_vs_proto_udp.c udp_timeouts
	DefaultScheduler      = "wlc"            // ipvsadm.c DEF_SCHED
	DefaultWeight         = 1
	DefaultPersistence    = 6 * time.Minute // ipvsadm -p without a value, 360 s
)

var allOnes = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Default is the state of a director whose file is empty.
func Default() *Config {
	return &Config{
		Director: Director{
			Name: DefaultName, Control: DefaultControl, FollowRoutes: true, Announce: DefaultAnnounce,
		},
		Conntrack: Conntrack{
			MaxConnections: DefaultMaxConnections, TCP: DefaultTCP, TCPFin: DefaultTCPFin, UDP: DefaultUDP,
		},
		Sysctl: defaultSysctl(),
	}
}

// Clone is a copy that shares nothing with c.
func (c *Config) Clone() *Config {
	d := *c
	d.Ports = clonePorts(c.Ports)
	d.Routes = slices.Clone(c.Routes)
	d.Neighbors = slices.Clone(c.Neighbors)
	d.Marks = cloneMarks(c.Marks)
	d.Services = slices.Clone(c.Services)
	for i := range d.Services {
		d.Services[i] = d.Services[i].Clone()
	}
	return &d
}

func clonePorts(ports []Port) []Port {
	ports = slices.Clone(ports)
	for i := range ports {
		ports[i].Addresses = slices.Clone(ports[i].Addresses)
	}
	return ports
}

func cloneMarks(marks []Mark) []Mark {
	marks = slices.Clone(marks)
	for i := range marks {
		m := &marks[i]
		m.Source, m.Dest = slices.Clone(m.Source), slices.Clone(m.Dest)
		m.SourcePorts, m.DestPorts = slices.Clone(m.SourcePorts), slices.Clone(m.DestPorts)
	}
	return marks
}

// canonical drops what has no meaning, so that services that mean the same are equal.
func (s *Service) canonical() {
	s.canonicalDefinition()
	s.Health.canonical()
	if len(s.Servers) == 0 {
		s.Servers = nil
	}
	for i := range s.Servers {
		s.Servers[i].canonical()
	}
}

// canonical drops what has no meaning in a sorry server.
func (h *Health) canonical() {
	if h != nil && h.Sorry != nil {
		h.Sorry.canonical()
	}
}

// canonicalDefinition drops a netmask that is the default, of the other family, or of
// no persistence.
func (s *Service) canonicalDefinition() {
	s.Key = s.Key.canonical()
	p, v6 := &s.Persistence, s.Key.V6Service()
	if p.Timeout == 0 || v6 || p.Netmask == allOnes {
		p.Netmask = netip.Addr{}
	}
	if p.Timeout == 0 || !v6 || p.Prefix == 128 {
		p.Prefix = 0
	}
}

// canonical drops the tunnel parameters of a server that is no tunnel.
func (d *Server) canonical() {
	d.Addr = d.Addr.Unmap()
	if d.Forward != Tunnel {
		d.TunType, d.TunPort, d.TunFlags = 0, 0, 0
	}
}
