package dataplane

import (
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// Trace is what the stages noted about one frame.
type Trace struct {
	Flow      packet.Flow // as it came in
	Service   *Service    // nil: none was asked for or found
	Scheduler string      // who chose: its name, "template", or "" for an existing connection
	Conn      *Conn       // nil: none
	Ended     string      // the sysctl, or "redispatch", by which an older connection of the same ends was ended; "": none was

	why   why    // which of a reason's rules
	ttl   uint8  // as it came in
	mark  uint32 // of a packet without a service
	mtu   int    // what was too small
	asked string // the scheduler that had no server

	of      *Service // of the connection's server
	refused bool     // answered in the place of the host that has the address
}

// Clone is a trace that outlives the event.
func (t *Trace) Clone() *Trace {
	c := *t
	if t.Conn != nil {
		conn := *t.Conn
		c.Conn = &conn
	}
	return &c
}

// Of is the service that the packet belongs to: the one that was asked for a server, or
// its connection's; nil for none.
func (t *Trace) Of() *Service {
	if t.Service != nil {
		return t.Service
	}
	return t.of
}

func (w *Worker) explainFlow(f *packet.Frame) {
	if w.sight.on {
		w.sight.trace.Flow, w.sight.trace.ttl = f.Flow, f.TTL
	}
}

func (w *Worker) explainService(r *serviceRules) {
	if w.sight.on {
		w.sight.trace.Service = r.service
	}
}

func (w *Worker) explainPick(by string) {
	if w.sight.on && w.sight.trace.Scheduler == "" {
		w.sight.trace.Scheduler = by
	}
}

func (w *Worker) explainConn(c *conntrack.Conn) {
	if w.sight.on {
		w.noteConn(c)
	}
}

// noteConn is apart so that the question whether to note is not a call.
func (w *Worker) noteConn(c *conntrack.Conn) {
	s := &w.sight
	s.conn = w.plane.connOf(c, w.tick)
	s.trace.Conn = &s.conn
	if server := w.serverOf(c); server != nil {
		s.trace.of = server.service.Load()
	}
}

// explainWhy notes which of the rules with one reason it is.
func (w *Worker) explainWhy(y why) {
	if w.sight.on {
		w.sight.trace.why = y
	}
}

func (w *Worker) explainMTU(y why, mtu int) {
	if w.sight.on {
		w.sight.trace.why, w.sight.trace.mtu = y, mtu
	}
}

func (w *Worker) explainRefused() {
	if w.sight.on {
		w.sight.trace.refused = true
	}
}

func (w *Worker) explainEnded(by string) {
	if w.sight.on {
		w.sight.trace.Ended = by
	}
}

// explainNoService notes the mark, if the packet has one.
func (w *Worker) explainNoService(f *packet.Frame) {
	if !w.sight.on {
		return
	}
	if w.sight.trace.mark = w.table.mark(f); w.sight.trace.mark != 0 {
		w.sight.trace.why = whyMarked
	}
}

// explainNotOpening notes why a packet without a connection opens none.
func (w *Worker) explainNotOpening(f *packet.Frame) {
	switch {
	case !w.sight.on:
	case resets(f):
		w.sight.trace.why = whyReset
	case f.Flow.Proto == packet.SCTP:
		w.sight.trace.why = whyNoInit
	}
}

// explainNoServer notes why the scheduler had no server.
func (w *Worker) explainNoServer(rules *serviceRules) {
	if !w.sight.on {
		return
	}
	w.sight.trace.asked = rules.schedName
	servers, quiesced, overloaded := 0, 0, 0
	for s := range w.plane.servers.all() { // the service's own list is the writer's
		if s.service.Load() != rules.service || !s.Available.Load() {
			continue
		}
		switch servers++; {
		case s.Weight.Load() <= 0:
			quiesced++
		case s.Overload.Load():
			overloaded++
		}
	}
	switch {
	case servers == 0:
		w.sight.trace.why = whyNoServers
	case rules.schedName == "none":
		w.sight.trace.why = whySchedulerNone
	case quiesced == servers:
		w.sight.trace.why = whyAllQuiesced
	case quiesced+overloaded == servers:
		w.sight.trace.why = whyAllOverloaded
	case rules.schedName == "sh" || rules.schedName == "dh" || rules.schedName == "mh":
		w.sight.trace.why = whyHashed
	case rules.schedName == "ovf":
		w.sight.trace.why = whyAllAtWeight
	}
}

var fragmentWhys = [encap.NumOutcomes]why{
	encap.FragDuplicate: whyFragmentTwice, encap.FragOverlap: whyFragmentOverlaps, encap.FragTooMany: whyFragmentTooMany,
	encap.FragOversize: whyFragmentOversize, encap.FragBadLength: whyFragmentLength, encap.FragBadECN: whyFragmentECN,
	encap.FragMalformed: whyFragmentMalformed,
}
