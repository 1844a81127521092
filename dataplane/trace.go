package dataplane

import (
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// An Observer is told of every frame's end: the journey of replay and trace. tr is valid
// during the call; f has been processed and may have been rewritten.
type Observer func(f *packet.Frame, v Verdict, r Reason, tr *Trace)

// Trace is what the stages noted about one frame.
type Trace struct {
	Flow      packet.Flow // as it came in
	Service   *Service    // nil: none was asked for or found
	Scheduler string      // who chose: its name, "template", or "" for an existing connection
	Conn      *Conn       // nil: none
	Ended     string      // the sysctl by which an older connection of the same ends was ended; "": none was

	why   why    // which of a reason's rules
	ttl   uint8  // as it came in
	mark  uint32 // of a packet without a service
	mtu   int    // what was too small
	asked string // the scheduler that had no server

	refused bool // answered in the place of the host that has the address
}

// Observe makes o be told of every frame of this worker; nil ends it. Not for a running
// worker.
func (w *Worker) Observe(o Observer) { w.observer = o }

func (w *Worker) observe(f *packet.Frame) {
	w.trace = Trace{}
	v, r := w.process(f)
	w.count.reasons[r]++
	w.observer(f, v, r, &w.trace)
}

func (w *Worker) explainFlow(f *packet.Frame) {
	if w.observer != nil {
		w.trace.Flow, w.trace.ttl = f.Flow, f.TTL
	}
}

func (w *Worker) explainService(r *serviceRules) {
	if w.observer != nil {
		w.trace.Service = r.service
	}
}

func (w *Worker) explainPick(by string) {
	if w.observer != nil && w.trace.Scheduler == "" {
		w.trace.Scheduler = by
	}
}

func (w *Worker) explainConn(c *conntrack.Conn) {
	if w.observer != nil {
		conn := w.plane.connOf(c, w.tick)
		w.trace.Conn = &conn
	}
}

// explainWhy notes which of the rules with one reason it is.
func (w *Worker) explainWhy(y why) {
	if w.observer != nil {
		w.trace.why = y
	}
}

func (w *Worker) explainMTU(y why, mtu int) {
	if w.observer != nil {
		w.trace.why, w.trace.mtu = y, mtu
	}
}

func (w *Worker) explainRefused() {
	if w.observer != nil {
		w.trace.refused = true
	}
}

func (w *Worker) explainEnded(sysctl string) {
	if w.observer != nil {
		w.trace.Ended = sysctl
	}
}

// explainNoService notes the mark, if the packet has one.
func (w *Worker) explainNoService(f *packet.Frame) {
	if w.observer == nil {
		return
	}
	if w.trace.mark = w.table.mark(f); w.trace.mark != 0 {
		w.trace.why = whyMarked
	}
}

// explainNotOpening notes why a packet without a connection opens none.
func (w *Worker) explainNotOpening(f *packet.Frame) {
	switch {
	case w.observer == nil:
	case resets(f):
		w.trace.why = whyReset
	case f.Flow.Proto == packet.SCTP:
		w.trace.why = whyNoInit
	}
}

// explainNoServer notes why the scheduler had no server.
func (w *Worker) explainNoServer(rules *serviceRules) {
	if w.observer == nil {
		return
	}
	w.trace.asked = rules.schedName
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
		w.trace.why = whyNoServers
	case rules.schedName == "none":
		w.trace.why = whySchedulerNone
	case quiesced == servers:
		w.trace.why = whyAllQuiesced
	case quiesced+overloaded == servers:
		w.trace.why = whyAllOverloaded
	case rules.schedName == "sh" || rules.schedName == "dh" || rules.schedName == "mh":
		w.trace.why = whyHashed
	case rules.schedName == "ovf":
		w.trace.why = whyAllAtWeight
	}
}

var fragmentWhys = [encap.NumOutcomes]why{
	encap.FragDuplicate: whyFragmentTwice, encap.FragOverlap: whyFragmentOverlaps, encap.FragTooMany: whyFragmentTooMany,
	encap.FragOversize: whyFragmentOversize, encap.FragBadLength: whyFragmentLength, encap.FragBadECN: whyFragmentECN,
	encap.FragMalformed: whyFragmentMalformed,
}
