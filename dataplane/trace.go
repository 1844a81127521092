package dataplane

import (
	"github.com/dirigo-lb/dirigo/conntrack"
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
		w.trace.Flow = f.Flow
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
