package api

import (
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
)

// Health is the answer to GET /v1/healthz and /v1/readyz: with status 200 if OK, else 503.
type Health struct {
	OK       bool     `json:"ok"`
	Problems []string `json:"problems,omitempty"` // why it is not
	Notes    []string `json:"notes,omitempty"`    // what an operator should look at all the same
}

// Neighbor is one line of the answer to GET /v1/neighbors.
type Neighbor struct {
	Port    string     `json:"port"`
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac,omitempty"` // not while it is asked for
	State   string     `json:"state"`         // REACHABLE, STALE, ...: the words of ip-neighbour(8)
	Age     float64    `json:"age_seconds"`   // since it was last confirmed
}

// Ports is the answer to GET /v1/ports.
type Ports struct {
	Ports []PortStatus `json:"ports"`
}

// PortStatus is one port with its rings.
type PortStatus struct {
	Port
	Driver    string   `json:"driver"`
	Up        bool     `json:"up"`
	Problem   string   `json:"problem,omitempty"` // why it is not up
	MAC       string   `json:"mac,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Rings     int      `json:"rings"`                // one for each worker
	Slots     int      `json:"ring_slots,omitempty"` // of the smallest, fewer than configured when memory was short; none in mode "batch"
	RingDrops []uint64 `json:"ring_dropped_frames"`  // of each: no room
}

// Reasons is the answer to GET /v1/reasons: what frames can end with, in a fixed order.
type Reasons struct {
	Reasons []Reason `json:"reasons"`
}

// Reason is why frames ended as they did.
type Reason struct {
	Name     string   `json:"name"`
	Count    uint64   `json:"count"`    // frames so far
	Verdicts []string `json:"verdicts"` // of pass, send, taken, drop
	Rule     string   `json:"rule"`     // which rule or setting decides so
}

// Sysctls is the answer to GET /v1/sysctl, by name.
type Sysctls struct {
	Settings []Sysctl `json:"settings"`
}

// Sysctl is a net.ipv4.vs setting, the answer to GET and PUT /v1/sysctl/{name}.
type Sysctl struct {
	Name    string `json:"name"` // without net.ipv4.vs.
	Value   string `json:"value"`
	Warning string `json:"warning,omitempty"` // why nothing comes of it here
}

// SysctlValue is the body of PUT /v1/sysctl/{name}.
type SysctlValue struct {
	Value string `json:"value"`
}

// Marks is the answer to GET /v1/marks: the rules in the order they are tried.
type Marks struct {
	Marks []Mark `json:"marks"`
}

// Mark is a rule that marks packets for fwmark services, in the words of the file. What is
// left out matches all.
type Mark struct {
	Family      string   `json:"family,omitempty"`
	Proto       string   `json:"proto,omitempty"`
	Source      []string `json:"source,omitempty"`
	Destination []string `json:"destination,omitempty"`
	SPort       []string `json:"sport,omitempty"`
	DPort       []string `json:"dport,omitempty"`
	InPort      string   `json:"in_port,omitempty"`
	Value       string   `json:"value"` // "5", or with a mask "0x30/0xf0"
}

// MarkOf is a mark rule of the desired state.
func MarkOf(m *conf.Mark) Mark {
	w := m.Words()
	return Mark{Family: w.Family, Proto: w.Proto, Source: w.Source, Destination: w.Dest, SPort: w.SourcePorts, DPort: w.DestPorts, InPort: m.InPort, Value: w.Value}
}

// RatesReply is the answer to GET /v1/rates: of all services together and of each.
type RatesReply struct {
	Counts   Counts         `json:"counts"`
	Rates    Rates          `json:"rates"`
	Services []ServiceRates `json:"services"`
}

// ServiceRates are the rates of one service.
type ServiceRates struct {
	Service conf.ServiceKey `json:"service"`
	Rates   Rates           `json:"rates"`
}
