package control

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
)

// captureBuffer and captureBytes are how many frames, with what was sent for them, wait
// for a slow reader, and of how many bytes; more are left out.
const (
	captureBuffer = 4096
	captureBytes  = 16 << 20
)

// captured is a frame as it came and what left for it, copied in the worker.
type captured struct {
	at      time.Time
	verdict dataplane.Verdict
	reason  dataplane.Reason
	trace   *dataplane.Trace
	frames  []capturedFrame // the first is the received one
	bytes   int
}

type capturedFrame struct {
	port   uint16
	length int
	data   []byte
}

// capture streams a pcapng capture of the frames that the query asks for, before and
// after: as received by the port they came by, and as sent by the port they left by.
func (d *Director) capture(w http.ResponseWriter, r *http.Request) {
	s, err := d.newSieve(r.URL.Query(), "snaplen")
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	buffer := newFeed[*captured](captureBuffer, captureBytes)
	stop := d.plane.Watch(&dataplane.Watcher{Wants: s.wants, Bytes: s.snaplen, Told: func(e *dataplane.Event) {
		if !s.keeps(e) {
			return
		}
		bytes := len(e.Received)
		for _, out := range e.Sent {
			bytes += min(len(out.Frame.Bytes()), s.snaplen)
		}
		if buffer.room(bytes) {
			buffer.put(newCaptured(e, s.snaplen, bytes), bytes)
		}
	}})
	ctx, done := d.streams.begin(w, r, "application/x-pcapng", s.duration)
	defer done()
	var ports []pcap.Port
	for _, l := range d.links {
		ports = append(ports, pcap.Port{Name: l.Name, L2: l.L2})
	}
	out, err := pcap.NewCommented(w, ports, s.snaplen)
	if err != nil { // the client has gone
		stop()
		return
	}
	follow(ctx, w, buffer, s.count, stop, func(c *captured) error {
		buffer.taken(c.bytes)
		return c.write(out)
	})
	dropped := buffer.dropped.Load()
	_ = out.Dropped(time.Now(), dropped) // the client may have gone
	w.Header().Set(api.HeaderDropped, strconv.FormatUint(dropped, 10))
}

func newCaptured(e *dataplane.Event, snaplen, bytes int) *captured {
	c := &captured{at: time.Now(), verdict: e.Verdict, reason: e.Reason, trace: e.Trace.Clone(), bytes: bytes}
	all := make([]byte, 0, bytes)
	add := func(port uint16, b []byte, length int) {
		at := len(all)
		all = append(all, b...)
		c.frames = append(c.frames, capturedFrame{port, length, all[at:]})
	}
	add(e.Was.Port, e.Received, len(e.Was.Bytes()))
	for _, s := range e.Sent {
		b := s.Frame.Bytes()
		add(s.Port, b[:min(len(b), snaplen)], len(b))
	}
	return c
}

// write writes the frames with the verdict, the reason and the rule as their comment.
func (c *captured) write(out *pcap.Commented) error {
	why := fmt.Sprintf("%v %v: %s", c.verdict, c.reason, c.trace.Rule(c.reason))
	for i, f := range c.frames {
		d, what := pcap.Outbound, "sent"
		if i == 0 {
			d, what = pcap.Inbound, "received"
		}
		if err := out.Write(c.at, int(f.port), d, f.data, f.length, what+"; "+why); err != nil {
			return err
		}
	}
	return nil
}
