package api

import (
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// Status is the answer to GET /v1/status.
type Status struct {
	Version     string            `json:"version"`
	Name        string            `json:"name"`
	Uptime      float64           `json:"uptime_seconds"`
	Workers     int               `json:"workers"`
	Ports       []Port            `json:"ports"`
	Connections int               `json:"connections"`
	Max         int               `json:"max_connections"`
	Reasons     map[string]uint64 `json:"frames_by_reason"` // what became of received frames; zero ones are left out
	Neighbors   map[string]uint64 `json:"neighbor_events"`
	ReloadError string            `json:"last_reload_error,omitempty"`
	Health      *HealthCounts     `json:"health,omitempty"` // nil: no service has health checks
}

// Port is one port.
type Port struct {
	Name     string `json:"name"`
	Guarded  bool   `json:"guarded"`
	MTU      int    `json:"mtu"`
	Received uint64 `json:"received_frames"`
	Sent     uint64 `json:"sent_frames"`
	Lost     uint64 `json:"lost_frames"`    // not taken by the interface; the sum of the next three
	Dropped  uint64 `json:"dropped_frames"` // no room in the receive ring

	LostFull    uint64 `json:"lost_full_frames"`    // its queue was full for longer than is waited
	LostRefused uint64 `json:"lost_refused_frames"` // refused for what they are, too large for example
	LostDown    uint64 `json:"lost_down_frames"`    // the link was down

	Queues []Queue `json:"queues"` // by worker
}

// Queue is a worker's receive ring at a port.
type Queue struct {
	Received uint64 `json:"received_frames"`
	Batches  uint64 `json:"batches"`        // in which they were taken
	Dropped  uint64 `json:"dropped_frames"` // no room
	Peak     int    `json:"peak_percent"`   // the most it was seen to be full of in the last two seconds
}

// ServiceStatus is one virtual service in the answer to GET /v1/services.
type ServiceStatus struct {
	Service
	Counts  Counts         `json:"counts"`
	Rates   Rates          `json:"rates"`
	Servers []ServerStatus `json:"servers"` // the oldest first
}

// ServerStatus is one real server.
type ServerStatus struct {
	Server
	Active     int    `json:"active"`
	Inactive   int    `json:"inactive"`
	Persistent int    `json:"persistent"`
	Overloaded bool   `json:"overloaded,omitempty"`
	Counts     Counts `json:"counts"`
	Rates      Rates  `json:"rates"`
}

// Counts are totals of the last turn of the estimators, two seconds apart.
type Counts struct {
	Connections uint64 `json:"connections"`
	InPackets   uint64 `json:"in_packets"`
	OutPackets  uint64 `json:"out_packets"`
	InBytes     uint64 `json:"in_bytes"`
	OutBytes    uint64 `json:"out_bytes"`
}

// Rates are per second, by the kernel's estimator.
type Rates struct {
	Connections uint64 `json:"connections"`
	InPackets   uint64 `json:"in_packets"`
	OutPackets  uint64 `json:"out_packets"`
	InBytes     uint64 `json:"in_bytes"`
	OutBytes    uint64 `json:"out_bytes"`
}

// figures are the counts in ipvsadm's words.
func (c Counts) figures() ipvsadm.Stats {
	return ipvsadm.Stats{Conns: c.Connections, InPkts: c.InPackets, OutPkts: c.OutPackets, InBytes: c.InBytes, OutBytes: c.OutBytes}
}

// figures are the rates in ipvsadm's words.
func (r Rates) figures() ipvsadm.Rates {
	return ipvsadm.Rates{CPS: r.Connections, InPPS: r.InPackets, OutPPS: r.OutPackets, InBPS: r.InBytes, OutBPS: r.OutBytes}
}

// Connection is one line of the answer to GET /v1/connections.
type Connection struct {
	Proto      uint8          `json:"proto"` // IP protocol number; 0: the template of a fwmark service
	State      string         `json:"state"`
	Expires    float64        `json:"expires_seconds"`
	Client     netip.AddrPort `json:"client"`
	Virtual    netip.AddrPort `json:"virtual"`
	Server     netip.AddrPort `json:"server"`
	Forward    conf.Forward   `json:"forward"`
	Template   bool           `json:"template,omitempty"`
	Packets    uint32         `json:"in_packets"`
	Engine     string         `json:"engine,omitempty"` // persistence engine of a template
	EngineData string         `json:"engine_data,omitempty"`
}

// Info is the answer to GET /v1/info: what ipvsadm shows beside services and connections.
type Info struct {
	TableRows int      `json:"table_rows"`
	Timeouts  Timeouts `json:"timeouts"`
}

// Problem is the body of every answer that is not a success.
type Problem struct {
	Error string `json:"error"`
}

// ReloadReply answers POST /v1/reload, with ?discard to give up what commands changed: what
// was changed and where commands had their way, or why nothing was changed.
type ReloadReply struct {
	Changes   []string `json:"changes,omitempty"`
	Conflicts []string `json:"conflicts,omitempty"`
	Error     string   `json:"error,omitempty"`
}
