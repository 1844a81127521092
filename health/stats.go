package health

import (
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// Asked is a kind of probe and of answer; WhyNone: a good one.
type Asked struct {
	Type conf.ProbeType
	Why  Why
}

// Stats are what a monitor counts of itself.
type Stats struct {
	Probes    map[Asked]uint64 // answers, counted for the servers or not
	Latency   map[conf.ProbeType]Histogram
	Lateness  Histogram     // from when a probe was due until it began
	Stalls    uint64        // times the director stood still
	Lag       time.Duration // how late the director itself was at most in the last second
	Discarded uint64        // answers that were not counted: the director could not ask, or was late
	Untold    uint64        // events that only the history has: too many waited to be told
	Panics    uint64        // of probers, which count as local errors
	Running   int           // probes now
	Waiting   int           // due, but not begun yet
	Targets   int           // different questions
}

func newStats() Stats {
	return Stats{Probes: map[Asked]uint64{}, Latency: map[conf.ProbeType]Histogram{}}
}

// answered counts one probe.
func (s *Stats) answered(a *answer, q *asking) {
	s.Probes[Asked{q.probe.Type, a.result.Why}]++
	h := s.Latency[q.probe.Type]
	h.add(a.result.Took)
	s.Latency[q.probe.Type] = h
	s.Lateness.add(a.start.Sub(q.due))
	if a.panicked != nil {
		s.Panics++
	}
}

// Stats gives the counts so far.
func (m *Monitor) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Probes = maps.Clone(s.Probes)
	s.Latency = maps.Clone(s.Latency)
	for k, h := range s.Latency {
		s.Latency[k] = h.clone()
	}
	s.Lateness = s.Lateness.clone()
	now := time.Now()
	s.Lag = m.pulse.lag(now.Add(-time.Second), now, now)
	s.Running, s.Waiting, s.Targets = m.running, len(m.waiting), len(m.questions)
	return s
}

// stalled takes the pulse's news.
func (m *Monitor) stalled(b beat) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Stalls++
	m.raise(Event{At: b.came, OfService: true, Kind: KindStall,
		Text: fmt.Sprintf("the director stood still for %v: bad answers of that time are not counted", b.late().Round(time.Millisecond))})
}

// complaint says that answers are not counted, and that a prober panicked, each at most
// once in ten seconds.
type complaint struct {
	last, panicked time.Time
	answers        int // since the last line
}

func (c *complaint) discarded(log *slog.Logger, a *answer, now time.Time) {
	c.answers++
	if a.panicked != nil && now.Sub(c.panicked) >= 10*time.Second {
		c.panicked = now
		log.Error("a health check panicked", "type", string(a.q.probe.Type), "target", a.q.target.String(), "text", a.result.Text, "stack", string(a.panicked))
	}
	if now.Sub(c.last) < 10*time.Second {
		return
	}
	log.Warn("answers of health checks are not counted", "answers", c.answers, "type", string(a.q.probe.Type), "target", a.q.target.String(), "text", a.result.Text)
	c.last, c.answers = now, 0
}

// log writes an event down.
func (m *Monitor) log(e *Event) {
	log, vip, rip := m.cfg.Log, e.ID.Service.String(), ""
	if !e.OfService {
		rip = e.ID.Server.String()
	}
	switch e.Kind {
	case KindUp:
		log.Info("server is up", "vip", vip, "rip", rip)
	case KindDown:
		log.Warn("server is down", "vip", vip, "rip", rip, "why", string(e.Why), "text", e.Text)
	case KindHold:
		log.Warn("server flaps", "vip", vip, "rip", rip, "text", e.Text)
	case KindWeight:
		log.Info("server asks for a weight", "vip", vip, "rip", rip, "text", e.Text)
	case KindCertificate:
		log.Warn("server's certificate", "vip", vip, "rip", rip, "text", e.Text)
	case KindQuorumUp:
		log.Info("service has its quorum", "vip", vip, "text", e.Text)
	case KindQuorumDown:
		log.Warn("service has no quorum", "vip", vip, "text", e.Text)
	case KindSorryOn:
		log.Warn("sorry server stands for the servers", "vip", vip, "rip", e.Text)
	case KindSorryOff:
		log.Info("sorry server is withdrawn", "vip", vip, "rip", e.Text)
	case KindStall:
		log.Warn("the director stood still", "text", e.Text)
	}
}
