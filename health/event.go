package health

import (
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// The kinds of events.
const (
	KindUp          = "up"          // of a server
	KindDown        = "down"        // of a server
	KindHold        = "hold"        // a server flaps and is held down; told beside the change that was one too many
	KindWeight      = "weight"      // a server's own check asks for another weight
	KindCertificate = "certificate" // a good answer came with a warning
	KindQuorumUp    = "quorum_up"   // of a service; at its start too, as keepalived does
	KindQuorumDown  = "quorum_down" // of a service; at its start only if it has a sorry server
	KindSorryOn     = "sorry_on"    // the sorry server takes the place of the servers
	KindSorryOff    = "sorry_off"
	KindStall       = "stall" // of the director itself: bad answers of that time are not counted; ID is zero
)

// Kinds are all kinds of events.
var Kinds = []string{KindUp, KindDown, KindHold, KindWeight, KindCertificate, KindQuorumUp, KindQuorumDown, KindSorryOn, KindSorryOff, KindStall}

// Event is something that somebody may want to be told.
type Event struct {
	At          time.Time
	ID          ID // of a service: without Server
	OfService   bool
	ServiceName string
	ServerName  string
	Kind        string // one of the constants above
	Up          bool   // what the server or the service is now
	Why         Why    // why a server is down
	Text        string // the same for people, or what else there is to say

	Notify *conf.Notify // whom the service wants to be told; nil: nobody. Not to be changed
}

// history is a ring of the last events.
type history struct {
	size   int
	events []Event
	next   int // where the oldest is, once there are size
}

func (h *history) add(e Event) {
	if len(h.events) < h.size {
		h.events = append(h.events, e)
		return
	}
	h.events[h.next] = e
	h.next = (h.next + 1) % h.size
}

// Filter says which events are asked for; the zero Filter takes all.
type Filter struct {
	Service *conf.ServiceKey // nil: of any
	Server  *conf.ServerID   // nil: of any, and of services
	Since   time.Time        // not before
	Kind    string           // "": any
	Last    int              // at most so many, the youngest; 0: no bound
}

func (f *Filter) takes(e *Event) bool {
	return (f.Service == nil || *f.Service == e.ID.Service) && (f.Server == nil || !e.OfService && *f.Server == e.ID.Server) &&
		!e.At.Before(f.Since) && (f.Kind == "" || f.Kind == e.Kind)
}

// list gives what f asks for, oldest first.
func (h *history) list(f Filter) (list []Event) {
	for i := range h.events {
		if e := &h.events[(h.next+i)%len(h.events)]; f.takes(e) {
			list = append(list, *e)
		}
	}
	if f.Last > 0 && len(list) > f.Last {
		list = list[len(list)-f.Last:]
	}
	return list
}
