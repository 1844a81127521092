package health

import (
	"fmt"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// service is one virtual service with health checks.
type service struct {
	key     conf.ServiceKey
	name    string
	health  *conf.Health // a copy of its own, never changed
	seq     uint64       // order in which services came to be known
	servers map[conf.ServerID]*server
	order   []*server // as desired

	weight  int // Σ full weight of the servers that are up; slow start takes nothing from it
	alive   int // servers that are up
	quorum  quorum
	since   time.Time // of the quorum
	started bool      // weighed once
	sorry   bool      // the sorry server stands for the others
}

// weigh makes quorum and sorry server follow the weight of the servers that are up.
func (m *Monitor) weigh(s *service, now time.Time) {
	h := s.health
	changed := s.quorum.step(s.weight, h.Quorum, h.Hysteresis)
	if !s.started {
		s.started, s.since = true, now
		changed = s.quorum.up || h.Sorry != nil
	}
	if changed {
		s.since = now
		kind := KindQuorumDown
		if s.quorum.up {
			kind = KindQuorumUp
		}
		m.raise(s.event(kind, now, fmt.Sprintf("weight %d, quorum %d, hysteresis %d", s.weight, h.Quorum, h.Hysteresis)))
		m.changed(s)
	}
	if sorry := !s.quorum.up && h.Sorry != nil; sorry != s.sorry {
		s.sorry = sorry
		kind := KindSorryOff
		if sorry {
			kind = KindSorryOn
		}
		text := ""
		if h.Sorry != nil {
			text = h.Sorry.String()
		}
		m.raise(s.event(kind, now, text))
		m.changed(s)
	}
}

func (s *service) event(kind string, now time.Time, text string) Event {
	return Event{
		At: now, ID: ID{Service: s.key}, OfService: true, ServiceName: s.name, Kind: kind,
		Up: s.quorum.up, Text: text, Notify: &s.health.Notify,
	}
}
