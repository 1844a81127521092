package api

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// Service is a virtual service as it is desired.
type Service struct {
	Name        string          `json:"name,omitempty"`
	Service     conf.ServiceKey `json:"service"` // "tcp/192.0.2.1:80", "fwmark 3 ipv6"
	Scheduler   string          `json:"scheduler,omitempty"`
	Flags       []string        `json:"flags,omitempty"`
	OnePacket   bool            `json:"one_packet,omitempty"`
	Redispatch  *int            `json:"redispatch,omitempty"` // nil: 0, and of an edit what it was
	Persistence *Persistence    `json:"persistence,omitempty"`
	Servers     []Server        `json:"servers,omitempty"` // the oldest first
}

// Persistence is a service's stickiness.
type Persistence struct {
	Timeout int    `json:"timeout_seconds"`
	Netmask string `json:"netmask,omitempty"` // IPv4: "255.255.255.0"
	Prefix  int    `json:"prefix,omitempty"`  // IPv6
	Engine  string `json:"engine,omitempty"`
}

// Server is a real server as it is desired.
type Server struct {
	Name    string         `json:"name,omitempty"`
	Address netip.AddrPort `json:"address"` // port 0: the packet's own
	Forward conf.Forward   `json:"forward"`
	Weight  int            `json:"weight"`
	Upper   int            `json:"upper,omitempty"`
	Lower   int            `json:"lower,omitempty"`
	Tunnel  *Tunnel        `json:"tunnel,omitempty"`
}

// Tunnel is how packets are wrapped for a server of method tun.
type Tunnel struct {
	Type     conf.TunType `json:"type"`
	Port     uint16       `json:"port,omitempty"`
	Checksum string       `json:"checksum,omitempty"` // none, full, remote
}

// ServiceOf is a service of the desired state with its servers.
func ServiceOf(s *conf.Service) Service {
	out := Service{Name: s.Name, Service: s.Key, Scheduler: s.Scheduler, Flags: conf.FlagNames(s.Scheduler, s.SchedFlags), OnePacket: s.OnePacket}
	if s.Redispatch > 0 {
		out.Redispatch = &s.Redispatch
	}
	if p := s.Persistence; p != (conf.Persistence{}) {
		out.Persistence = &Persistence{Timeout: int(p.Timeout / time.Second), Prefix: p.Prefix, Engine: p.Engine}
		if p.Netmask.IsValid() {
			out.Persistence.Netmask = p.Netmask.String()
		}
	}
	for i := range s.Servers {
		out.Servers = append(out.Servers, ServerOf(&s.Servers[i]))
	}
	return out
}

// ServerOf is a server of the desired state.
func ServerOf(d *conf.Server) Server {
	out := Server{Name: d.Name, Address: netip.AddrPortFrom(d.Addr, d.Port), Forward: d.Forward, Weight: d.Weight, Upper: d.Upper, Lower: d.Lower}
	if d.Forward == conf.Tunnel && (d.TunType != 0 || d.TunPort != 0 || d.TunFlags != 0) {
		out.Tunnel = &Tunnel{Type: d.TunType, Port: d.TunPort}
		if d.TunFlags != 0 {
			out.Tunnel.Checksum = conf.ChecksumName(d.TunFlags)
		}
	}
	return out
}

// Conf is the service in the words of the desired state. What it cannot mean is an
// error; whether it breaks a rule is for the director to say.
func (s *Service) Conf() (out conf.Service, err error) {
	out = conf.Service{Name: s.Name, Key: s.Service, Scheduler: s.Scheduler, OnePacket: s.OnePacket}
	if s.Redispatch != nil {
		out.Redispatch = *s.Redispatch
	}
	if out.Scheduler == "" {
		out.Scheduler = conf.DefaultScheduler
	}
	if out.SchedFlags, err = conf.ParseFlags(out.Scheduler, s.Flags); err != nil {
		return out, err
	}
	if p := s.Persistence; p != nil {
		out.Persistence = conf.Persistence{Timeout: time.Duration(p.Timeout) * time.Second, Prefix: p.Prefix, Engine: p.Engine}
		if p.Netmask != "" {
			if out.Persistence.Netmask, err = netip.ParseAddr(p.Netmask); err != nil {
				return out, fmt.Errorf("netmask: %w", err)
			}
		}
	}
	for i := range s.Servers {
		d, err := s.Servers[i].Conf()
		if err != nil {
			return out, err
		}
		out.Servers = append(out.Servers, d)
	}
	return out, nil
}

// Conf is the server in the words of the desired state.
func (d *Server) Conf() (out conf.Server, err error) {
	if !d.Address.IsValid() {
		return out, fmt.Errorf("a server without an address")
	}
	out = conf.Server{Name: d.Name, Addr: d.Address.Addr(), Port: d.Address.Port(), Forward: d.Forward, Weight: d.Weight, Upper: d.Upper, Lower: d.Lower}
	if t := d.Tunnel; t != nil {
		out.TunType, out.TunPort = t.Type, t.Port
		if t.Checksum != "" {
			out.TunFlags, err = conf.ParseChecksum(t.Checksum)
		}
	}
	return out, err
}
