package control

import (
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
)

// Status is the answer to GET /v1/status.
type Status struct {
	Version     string            `json:"version"`
	Name        string            `json:"name"`
	Uptime      float64           `json:"uptime_seconds"`
	Workers     int               `json:"workers"`
	Ports       []PortStatus      `json:"ports"`
	Connections int               `json:"connections"`
	Max         int               `json:"max_connections"`
	Reasons     map[string]uint64 `json:"frames_by_reason"` // what became of received frames; zero ones are left out
	Neighbors   map[string]uint64 `json:"neighbor_events"`
	ReloadError string            `json:"last_reload_error,omitempty"`
}

// PortStatus is one port.
type PortStatus struct {
	Name     string `json:"name"`
	Guarded  bool   `json:"guarded"`
	MTU      int    `json:"mtu"`
	Received uint64 `json:"received_frames"`
	Sent     uint64 `json:"sent_frames"`
	Lost     uint64 `json:"lost_frames"`    // not taken by the interface
	Dropped  uint64 `json:"dropped_frames"` // no room in the receive ring
}

// Service is one virtual service in the answer to GET /v1/services.
type Service struct {
	Name        string   `json:"name,omitempty"`
	Listen      string   `json:"listen"`
	Scheduler   string   `json:"scheduler"`
	Persistence float64  `json:"persistence_seconds,omitempty"`
	Counts      Counts   `json:"counts"`
	Servers     []Server `json:"servers"` // in the order they were added
}

// Server is one real server.
type Server struct {
	Name       string `json:"name,omitempty"`
	Address    string `json:"address"`
	Forward    string `json:"forward"`
	Weight     int    `json:"weight"`
	Active     int    `json:"active"`
	Inactive   int    `json:"inactive"`
	Persistent int    `json:"persistent"`
	Overloaded bool   `json:"overloaded,omitempty"`
	Counts     Counts `json:"counts"`
}

// Counts are totals of the last turn of the estimators, two seconds apart.
type Counts struct {
	Connections uint64 `json:"connections"`
	InPackets   uint64 `json:"in_packets"`
	OutPackets  uint64 `json:"out_packets"`
	InBytes     uint64 `json:"in_bytes"`
	OutBytes    uint64 `json:"out_bytes"`
}

// Connection is one line of the answer to GET /v1/connections.
type Connection struct {
	Proto    uint8   `json:"proto"`
	State    string  `json:"state"`
	Expires  float64 `json:"expires_seconds"`
	Client   string  `json:"client"`
	Virtual  string  `json:"virtual"`
	Server   string  `json:"server"`
	Forward  string  `json:"forward"`
	Template bool    `json:"template,omitempty"`
	Packets  uint32  `json:"in_packets"`
}

func counts(c dataplane.Counter) Counts {
	return Counts{c.Conns, c.InPkts, c.OutPkts, c.InBytes, c.OutBytes}
}

// Status reads the director's state.
func (d *Director) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{
		Version: d.opt.Version, Name: d.cfg.Director.Name, Uptime: time.Since(d.started).Seconds(), Workers: len(d.workers),
		Connections: d.plane.Conns().Len(), Max: d.plane.Conns().Max(), Reasons: map[string]uint64{}, Neighbors: map[string]uint64{},
	}
	if d.reloadErr != nil {
		s.ReloadError = d.reloadErr.Error()
	}
	ports := d.plane.Ports()
	for i, l := range d.links {
		p := PortStatus{Name: l.Name, MTU: l.MTU, Guarded: d.guard != nil && d.cfg.Ports[i].Guard == conf.GuardOn && d.cfg.Ports[i].Driver == conf.AFPacket}
		p.Received, p.Sent, p.Lost, p.Dropped = ports[i].RxFrames, ports[i].TxFrames, ports[i].TxLost, ports[i].RxDropped
		s.Ports = append(s.Ports, p)
	}
	for r, n := range d.plane.Reasons() {
		if n > 0 {
			s.Reasons[dataplane.Reason(r).String()] = n
		}
	}
	for r, n := range d.plane.Neighbors().Counters() {
		if n > 0 {
			s.Neighbors[arp.Reason(r).String()] = n
		}
	}
	return s
}

// Services reads all services and servers.
func (d *Director) Services() []Service {
	out := []Service{}
	for _, s := range d.plane.Services() {
		svc := Service{
			Name: s.Name, Listen: s.Key.String(), Scheduler: s.Scheduler, Persistence: s.Persistence.Timeout.Seconds(),
			Counts: counts(s.Counter), Servers: []Server{},
		}
		for i := len(s.Servers) - 1; i >= 0; i-- { // the plane lists the newest first
			r := &s.Servers[i]
			svc.Servers = append(svc.Servers, Server{
				Name: r.Name, Address: r.Server.String(), Forward: r.Forward.String(), Weight: r.Weight,
				Active: r.Active, Inactive: r.Inactive, Persistent: r.Persistent, Overloaded: r.Overload, Counts: counts(r.Counter),
			})
		}
		out = append(out, svc)
	}
	return out
}

func connection(c *dataplane.Conn) Connection {
	return Connection{
		Proto: c.Proto, State: c.State, Expires: c.Expires.Seconds(), Client: c.Client.String(), Virtual: c.Virtual.String(),
		Server: c.Dest.String(), Forward: c.Method.String(), Template: c.Template, Packets: c.Packets,
	}
}
