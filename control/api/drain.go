package api

import (
	"net/netip"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// DrainRequest is the body of POST /v1/drain: the server gets weight 0 in every service
// that has it, or in one.
type DrainRequest struct {
	Server  string `json:"server"`            // name, address, or address and port
	Service string `json:"service,omitempty"` // name or key; "": all
	Then    string `json:"then,omitempty"`    // ThenKeep, or "": connections go on; ThenReset: they end now
}

// What becomes of connections that are left.
const (
	ThenKeep  = "keep"
	ThenReset = "rst"
)

// UndrainRequest is the body of POST /v1/undrain.
type UndrainRequest struct {
	Server  string `json:"server"`
	Service string `json:"service,omitempty"`
	Weight  *int   `json:"weight,omitempty"` // nil: the one from before the drain
}

// Drains is the answer to GET and POST /v1/drain and to POST /v1/undrain: what is being
// drained, in a POST what it was about.
type Drains struct {
	Drains []Drain `json:"drains"`
	Ended  int     `json:"ended_connections,omitempty"` // by ThenReset
}

// Drain is a server with weight 0 in a service, so that its connections come to an end.
type Drain struct {
	Service     conf.ServiceKey `json:"service"`
	ServiceName string          `json:"service_name,omitempty"`
	Server      netip.AddrPort  `json:"server"`
	ServerName  string          `json:"server_name,omitempty"`
	Weight      *int            `json:"old_weight,omitempty"` // nil: it was 0 already; after undrain the present one
	Since       time.Time       `json:"since"`
	Began       int             `json:"began_with"`
	Left        int             `json:"left"`      // connections that may still carry something
	Finished    int             `json:"finished"`  // closed ones that are remembered for late packets
	Templates   int             `json:"templates"` // clients that persistence binds to it
	Longest     float64         `json:"longest_expiry_seconds"`
	Estimate    *float64        `json:"estimate_seconds,omitempty"` // until none is left, if they end as they did; nil: not known
	Last        bool            `json:"last,omitempty"`             // no other server of the service takes connections
}
