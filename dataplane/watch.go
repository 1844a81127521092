package dataplane

import (
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// A Watcher follows frames through the workers, also while they run. Its functions are
// called by every worker at once, in the path of the packets: they must not wait.
type Watcher struct {
	// Wants says whether Told is to hear of a frame as it was received; nil: of every one.
	// A frame that no packet was found in has no Flow.
	Wants func(f *packet.Frame) bool
	Told  func(e *Event)
	Bytes int // how many of the frame as received Event.Received holds at most
}

// Event is the end of one frame. All of it is lent during the call.
type Event struct {
	Worker   int
	Was      *packet.Frame // the fields that it had when received; its bytes may have changed
	Received []byte        // the frame as received, as far as Watcher.Bytes asked for it
	Frame    *packet.Frame // as it is now
	Verdict  Verdict
	Reason   Reason
	Trace    *Trace
	Hop      packet.Addr // the next hop of what is sent; zero: none, or not known
	Sent     []Sent      // in order; queries for a link address among them
}

// Sent is one frame on its way out.
type Sent struct {
	Port  uint16
	Frame *packet.Frame
}

// Watch makes x follow the frames of all workers from their next batch on, until stop.
// It may hear of the batch in hand after that. Safe for concurrent use.
func (p *Plane) Watch(x *Watcher) (stop func()) {
	p.change(func(list []*Watcher) []*Watcher { return append(list, x) })
	return func() {
		p.change(func(list []*Watcher) []*Watcher {
			return slices.DeleteFunc(list, func(o *Watcher) bool { return o == x })
		})
	}
}

// change replaces the list of watchers, which workers may be reading.
func (p *Plane) change(edit func([]*Watcher) []*Watcher) {
	for {
		old := p.watchers.Load()
		var list []*Watcher
		if old != nil {
			list = slices.Clone(*old)
		}
		next := &list
		if list = edit(list); len(list) == 0 {
			next = nil // which is all that a worker without watchers looks at
		}
		if p.watchers.CompareAndSwap(old, next) {
			return
		}
	}
}

// sight is what a worker keeps of the frame that is watched. It is used again for the
// next one, so that watching allocates nothing.
type sight struct {
	on       bool // the stages note what they do in trace
	trace    Trace
	conn     Conn // what trace.Conn leads to
	was      packet.Frame
	received []byte
	wanting  []*Watcher
	queued   []int // by port: how much was in the transmit list before
	event    Event
}

// watch runs a batch of port p as Turn does, and tells the watchers.
func (w *Worker) watch(frames []packet.Frame, p int) {
	for i := range frames {
		f := &frames[i]
		f.Port = uint16(p)
		if !w.wanted(f) {
			_, reason := w.process(f, f.Parse())
			w.count.reasons[reason]++
			continue
		}
		w.observe(f)
	}
}

// wanted asks the watchers, before anything is done for them.
func (w *Worker) wanted(f *packet.Frame) bool {
	s := &w.sight
	s.was, s.wanting = *f, s.wanting[:0]
	if s.was.Parse() != packet.None {
		s.was.Flow = packet.Flow{}
	}
	bytes := 0
	for _, x := range *w.watchers {
		if x.Wants == nil || x.Wants(&s.was) {
			s.wanting = append(s.wanting, x)
			bytes = max(bytes, x.Bytes)
		}
	}
	if len(s.wanting) == 0 {
		return false
	}
	b := f.Bytes()
	s.received = append(s.received[:0], b[:min(bytes, len(b))]...)
	return true
}

// observe is process under the eyes of the watchers that want f.
func (w *Worker) observe(f *packet.Frame) {
	s := &w.sight
	s.trace, s.on = Trace{}, true
	s.queued = s.queued[:0]
	for _, list := range w.tx {
		s.queued = append(s.queued, len(list))
	}
	v, r := w.process(f, f.Parse())
	w.count.reasons[r]++
	s.on = false
	s.event = Event{Worker: w.id, Was: &s.was, Frame: f, Verdict: v, Reason: r, Trace: &s.trace, Sent: s.event.Sent[:0]}
	for port, list := range w.tx {
		for _, out := range list[s.queued[port]:] {
			s.event.Sent = append(s.event.Sent, Sent{uint16(port), out})
		}
	}
	if v == Send {
		s.event.Hop = w.hopOf(&s.event)
	}
	for _, x := range s.wanting {
		s.event.Received = s.received[:min(x.Bytes, len(s.received))]
		x.Told(&s.event)
	}
}

// hopOf is the next hop of a frame that was sent, found again by its destination: noting
// it on the way would cost every packet.
func (w *Worker) hopOf(e *Event) packet.Addr {
	to := e.Frame.Flow.Dst
	for _, s := range e.Sent {
		if out := *s.Frame; out.Parse() == packet.None {
			to = out.Flow.Dst
			break
		}
	}
	if c := e.Trace.Conn; c != nil && (c.Method == conf.DR || c.Method == conf.Tunnel) {
		to = packet.AddrFrom(c.Dest.Addr())
	}
	switch rt := w.route(&to); {
	case rt == nil || rt.kind != Unicast:
		return packet.Addr{}
	case rt.onLink:
		return to
	default:
		return rt.via
	}
}

// Watchers is how many there are. Safe for concurrent use.
func (p *Plane) Watchers() int {
	if list := p.watchers.Load(); list != nil {
		return len(*list)
	}
	return 0
}
