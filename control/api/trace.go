package api

import (
	"net/netip"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// TraceLine is one line of the answer to GET /v1/trace: a frame's journey, or, in the
// last line, what there is to say of the whole.
type TraceLine struct {
	Journey *Journey  `json:"journey,omitempty"`
	End     *TraceEnd `json:"end,omitempty"`
}

// TraceEnd is the last line of a trace.
type TraceEnd struct {
	Told    int    `json:"told"`
	Dropped uint64 `json:"dropped"` // not told, as the reader was slow
}

// Journey is what became of one frame, stage by stage.
type Journey struct {
	Time   time.Time `json:"time"`
	Worker int       `json:"worker"`

	// parse
	Port   string  `json:"port"` // by which it came
	Bytes  int     `json:"frame_bytes"`
	Packet *Packet `json:"packet,omitempty"` // nil: no IP packet in the frame

	// lookup and schedule
	Found      bool             `json:"found"` // it belonged to a connection already
	Connection *Connection      `json:"connection,omitempty"`
	Service    *conf.ServiceKey `json:"service,omitempty"`
	ChosenBy   string           `json:"chosen_by,omitempty"` // the scheduler that chose the server, or "template"
	EndedBy    string           `json:"ended_by,omitempty"`  // the sysctl that ended an older connection of these ends

	// rewrite and send
	NextHop netip.Addr  `json:"next_hop,omitzero"`
	Sent    []SentFrame `json:"sent,omitempty"`

	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	Rule    string `json:"rule"` // what decided so
}

// Packet is an IP packet in a journey. Ports are 0 where it has none.
type Packet struct {
	Proto    string         `json:"proto"`
	Source   netip.AddrPort `json:"source"`
	Dest     netip.AddrPort `json:"destination"`
	Flags    []string       `json:"tcp_flags,omitempty"`
	Bytes    int            `json:"bytes"`
	TTL      uint8          `json:"ttl"`
	DF       bool           `json:"df,omitempty"`
	Fragment bool           `json:"fragment,omitempty"`
}

// SentFrame is one frame that left because of the frame of a journey.
type SentFrame struct {
	Port   string  `json:"port"`
	Bytes  int     `json:"frame_bytes"`
	To     string  `json:"to,omitempty"`     // link address
	Packet *Packet `json:"packet,omitempty"` // nil: a query for a link address
}
