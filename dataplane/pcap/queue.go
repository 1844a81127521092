// Package pcap is the port driver of replays: frames come from a capture on a virtual
// clock, and what the director sends goes to a capture. It must not know services.
package pcap

import (
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// Queue is a dataplane.Queue in memory: Put gives it frames to receive, and Sink hears
// what is transmitted. One goroutine uses it.
type Queue struct {
	L2   bool                                 // frames have an Ethernet header
	Sink func(frame []byte, vnet packet.Vnet) // frame is lent during the call; nil: discard
	in   []packet.Frame
	lent int
}

// Put queues a copy of frame for the next Receive.
func (q *Queue) Put(frame []byte, vnet packet.Vnet) {
	buf := make([]byte, packet.Headroom+len(frame))
	copy(buf[packet.Headroom:], frame)
	q.in = append(q.in, packet.Frame{Buf: buf, Start: packet.Headroom, End: uint32(len(buf)), L2: q.L2, Vnet: vnet})
}

// Receive implements dataplane.Queue.
func (q *Queue) Receive(frames []packet.Frame) (int, error) {
	n := copy(frames, q.in[q.lent:])
	q.lent += n
	return n, nil
}

// Transmit implements dataplane.Queue; it takes everything.
func (q *Queue) Transmit(frames []*packet.Frame) (int, error) {
	if q.Sink != nil {
		for _, f := range frames {
			q.Sink(f.Bytes(), f.Vnet)
		}
	}
	return len(frames), nil
}

// Release implements dataplane.Queue.
func (q *Queue) Release() {
	q.in = append(q.in[:0], q.in[q.lent:]...)
	q.lent = 0
}

// FD implements dataplane.Queue: there is nothing to wait for.
func (q *Queue) FD() int { return -1 }

// Stats implements dataplane.Queue: nothing is lost.
func (q *Queue) Stats() (dataplane.QueueStats, error) { return dataplane.QueueStats{}, nil }

// Close implements dataplane.Queue.
func (q *Queue) Close() error { return nil }
