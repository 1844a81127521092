package dataplane_test

import (
	"context"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

// elephant is a queue in which the same frame waits again and again.
type elephant struct {
	pcap.Queue
	frame []byte
	given int // so far
	limit int // ends it; 0: none
	most  int // it gives at a time; 0: what is asked for
}

func (q *elephant) Receive(frames []packet.Frame) (int, error) {
	n := len(frames)
	if q.most > 0 {
		n = min(n, q.most)
	}
	if q.limit > 0 {
		n = min(n, q.limit-q.given)
	}
	for range n {
		q.Put(q.frame, packet.Vnet{})
	}
	q.given += n
	return q.Queue.Receive(frames)
}

// One flow that never ends holds up the other ports of its worker by a batch at most,
// turn for turn, whichever port it comes by.
func TestElephantDoesNotStarveOtherPorts(t *testing.T) {
	for _, big := range []int{0, 1} {
		g := newRig(t, 0)
		g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
		mouse := &pcap.Queue{L2: true}
		flood := &elephant{Queue: pcap.Queue{L2: true}, frame: tcp(client, 4000, packet.SYN).Frame()}
		queues := []dataplane.Queue{flood, mouse}
		other := answer(rs2, 80, client, 5000, packet.ACK).Frame()
		if big == 1 {
			queues = []dataplane.Queue{mouse, flood}
			flood.frame, other = other, tcp(client, 4000, packet.SYN).Frame()
		}
		w := g.plane.NewWorker(queues)
		for turn := 1; turn <= 5; turn++ {
			mouse.Put(other, packet.Vnet{})
			if _, _, err := w.Turn(); err != nil {
				t.Fatal(err)
			}
			w.HandOver()
			c := g.plane.Ports()
			if n := c[1-big].RxFrames; n != uint64(turn) {
				t.Fatalf("elephant on port %d, turn %d: %d frames of the other port, want one a turn", big, turn, n)
			}
			if n := c[big].RxFrames; n != uint64(64*turn) || c[big].RxBatches != uint64(turn) {
				t.Fatalf("elephant on port %d, turn %d: %d frames in %d batches, want 64 a turn", big, turn, n, c[big].RxBatches)
			}
		}
	}
}

// deaf takes no frame for transmission, for the reasons it then tells.
type deaf struct {
	pcap.Queue
	why dataplane.QueueStats
}

func (*deaf) Transmit([]*packet.Frame) (int, error) { return 0, nil }

func (q *deaf) Stats() (s dataplane.QueueStats, err error) {
	s, q.why = q.why, s
	return s, nil
}

// Each frame that a port does not take is counted, with its reason.
func TestLostFramesHaveAReason(t *testing.T) {
	g := newRig(t, 0)
	g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
	in, out := &pcap.Queue{L2: true}, &deaf{Queue: pcap.Queue{L2: true}, why: dataplane.QueueStats{Full: 3, Refused: 1}}
	w := g.plane.NewWorker([]dataplane.Queue{in, out})
	for i := range uint16(6) {
		in.Put(tcp(client, 4000+i, packet.SYN).Frame(), packet.Vnet{})
	}
	if _, _, err := w.Turn(); err != nil {
		t.Fatal(err)
	}
	w.HandOver()
	w.HandOver()
	if c := g.plane.Ports()[1]; c.TxLost != 6 || c.TxFull != 3 || c.TxRefused != 1 || c.TxDown() != 2 || c.TxFrames != 0 {
		t.Errorf("%+v, down %d; want 6 lost: 3, 1 and 2", c, c.TxDown())
	}
}

// recorder is a dataplane.Waiter that notes what is asked of it, and ends the worker at
// the first wait.
type recorder struct {
	naps int
	wait time.Duration
	stop context.CancelFunc
}

func (r *recorder) Nap(time.Duration) { r.naps++ }

func (r *recorder) Wait(_ []int, d time.Duration, _ bool) error {
	r.wait = d
	r.stop()
	return nil
}

// A worker whose turn found all of a batch that had formed naps before the next; not while
// a queue gave as much as it gives at a time.
func TestWorkerNapsUnderLoad(t *testing.T) {
	for _, c := range []struct{ frames, most, naps int }{{3, 64, 0}, {20, 64, 1}, {64 + 20, 64, 1}, {200, 32, 1}} {
		g := newRig(t, 0)
		g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
		in := &elephant{Queue: pcap.Queue{L2: true}, frame: tcp(client, 4000, packet.SYN).Frame(), limit: c.frames, most: c.most}
		w := g.plane.NewWorker([]dataplane.Queue{in, &pcap.Queue{L2: true}}, dataplane.Pace{Nap: time.Microsecond})
		ctx, stop := context.WithCancel(t.Context())
		r := &recorder{stop: stop}
		if err := w.Run(ctx, r, func(_ int, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
		if r.naps != c.naps || r.wait <= 0 || in.given != c.frames {
			t.Errorf("%d of %d frames: %d naps, then a wait of %v; want %d naps and a wait", in.given, c.frames, r.naps, r.wait, c.naps)
		}
	}
}
