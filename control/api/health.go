package api

import (
	"net/netip"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// ServiceHealth is one line of the answer to GET /v1/health: a service whose servers are
// checked.
type ServiceHealth struct {
	Service    conf.ServiceKey `json:"service"`
	Name       string          `json:"service_name,omitempty"`
	Up         bool            `json:"up"` // it has its quorum
	Since      time.Time       `json:"since"`
	Weight     int             `json:"weight"` // sum over the servers that are up
	Quorum     int             `json:"quorum"`
	Hysteresis int             `json:"hysteresis,omitempty"`
	Alive      int             `json:"servers_up"`
	Total      int             `json:"servers_total"` // whatever of them Servers has
	Sorry      *Sorry          `json:"sorry_server,omitempty"`
	Servers    []ServerHealth  `json:"servers"` // those asked for, in the order of the desired state
}

// Sorry is the server of last resort.
type Sorry struct {
	Server netip.AddrPort `json:"server"`
	Active bool           `json:"active"`
}

// ServerHealth is what is known of a server of a service.
type ServerHealth struct {
	Server  netip.AddrPort `json:"server"`
	Name    string         `json:"server_name,omitempty"`
	State   string         `json:"state"` // up, unchecked, down, starting, hold
	Up      bool           `json:"up"`
	Since   time.Time      `json:"since"`
	Held    *time.Time     `json:"held_until,omitempty"` // by flap damping
	Changes int            `json:"changes"`              // between up and down, since the start
	Weight  WeightHealth   `json:"weight"`
	Checks  []CheckHealth  `json:"checks"`
}

// WeightHealth says how a server's weight comes about: file x health x ramp x drain, rounded,
// is what is in force.
type WeightHealth struct {
	File    int     `json:"file"`              // what the desired state says, or said before a drain
	Health  int     `json:"health"`            // 1 up, 0 down
	Dynamic *int    `json:"dynamic,omitempty"` // what its checks ask for, in the place of file
	Ramp    float64 `json:"ramp"`              // 0 to 1 in a slow start, else 1
	Drain   int     `json:"drain"`             // 0 while it is drained, else 1
	InForce int     `json:"in_force"`
	Present bool    `json:"present"`          // it stands in the service's list
	Reason  string  `json:"reason,omitempty"` // why in_force is not the product
}

// CheckHealth is one check of a server.
type CheckHealth struct {
	Name   string `json:"name,omitempty"`
	Type   string `json:"type"`
	Target string `json:"target"` // whom it asks
	Up     bool   `json:"up"`
	// Unchecked: it has had no answer yet, or the last time the director could not ask.
	Unchecked bool         `json:"unchecked,omitempty"`
	Good      int          `json:"good_in_a_row"`
	Bad       int          `json:"bad_in_a_row"`
	Last      *ProbeResult `json:"last,omitempty"` // nil: it has not been asked
	Next      *time.Time   `json:"next,omitempty"` // nil: it is being asked, or nobody asks
}

// ProbeResult is one answer.
type ProbeResult struct {
	At      time.Time `json:"at"`
	Took    float64   `json:"took_seconds"`
	OK      bool      `json:"ok"`
	Why     string    `json:"why,omitempty"`  // the kind of a bad answer: refused, timeout, status, ...
	Text    string    `json:"text,omitempty"` // the same for people
	Warning string    `json:"warning,omitempty"`
	Weight  *int      `json:"weight,omitempty"` // that it asks for
}

// HealthEvents is the answer to GET /v1/health/history, the oldest first.
type HealthEvents struct {
	Events []HealthEvent `json:"events"`
}

// HealthEvent is a change of a server or a service.
type HealthEvent struct {
	At          time.Time        `json:"at"`
	Kind        string           `json:"kind"` // up, down, hold, quorum_up, sorry_on, ...
	Service     *conf.ServiceKey `json:"service,omitempty"`
	ServiceName string           `json:"service_name,omitempty"`
	Server      *netip.AddrPort  `json:"server,omitempty"`
	ServerName  string           `json:"server_name,omitempty"`
	Up          bool             `json:"up"` // what it is now
	Why         string           `json:"why,omitempty"`
	Text        string           `json:"text,omitempty"`
}

// HealthCheckRequest is the body of POST /v1/health/check: the server is asked now, for
// every service that checks it, or for one.
type HealthCheckRequest struct {
	Server  string `json:"server"`            // name, address, or address and port
	Service string `json:"service,omitempty"` // name or key; "": all
}

// HealthAnswers is the answer to POST /v1/health/check: the server in each of the services,
// as it is after it was asked.
type HealthAnswers struct {
	Services []ServiceHealth `json:"services"`
}

// HealthCounts sums health up in the answer to GET /v1/status.
type HealthCounts struct {
	Services     int `json:"services"` // that are checked
	ServicesDown int `json:"services_down"`
	Sorry        int `json:"sorry_active"` // services whose sorry server serves
	Servers      int `json:"servers"`
	ServersDown  int `json:"servers_down"`
	Unchecked    int `json:"servers_unchecked"` // up, but nobody can say so
}
