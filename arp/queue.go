package arp

import (
	"container/list"

	"github.com/dirigo-lb/dirigo/packet"
)

// held is a copy of a frame that waits for an address.
type held struct {
	owner ref
	frame []byte
	vnet  packet.Vnet
}

// queues holds frames of unresolved addresses: few for each, bounded in bytes for
// each and over all. When a bound is met the oldest under that bound goes, since its
// sender is the nearest to sending again.
type queues struct {
	perFrames, perBytes, totalBytes int

	of    map[ref][]*list.Element // of each address, the oldest first
	fifo  list.List               // of all addresses, the oldest first
	bytes int
}

func newQueues(perFrames, perBytes, totalBytes int) queues {
	return queues{perFrames: perFrames, perBytes: perBytes, totalBytes: totalBytes, of: make(map[ref][]*list.Element)}
}

// push holds a copy of frame for r and returns how many frames it cost, frame itself
// when it is longer than a bound. The vnet header's fields describe frame.
func (q *queues) push(r ref, frame []byte, vnet packet.Vnet) (dropped int) {
	if len(frame) > q.perBytes || len(frame) > q.totalBytes {
		return 1
	}
	size := len(frame)
	for _, el := range q.of[r] {
		size += len(el.Value.(*held).frame)
	}
	for len(q.of[r]) >= q.perFrames || size > q.perBytes {
		size -= q.drop(q.of[r][0])
		dropped++
	}
	for q.bytes+len(frame) > q.totalBytes {
		q.drop(q.fifo.Front())
		dropped++
	}
	el := q.fifo.PushBack(&held{r, append([]byte(nil), frame...), vnet})
	q.of[r] = append(q.of[r], el)
	q.bytes += len(frame)
	return dropped
}

// drop takes el, the oldest of its address, out and returns its bytes.
func (q *queues) drop(el *list.Element) int {
	h := q.fifo.Remove(el).(*held)
	if rest := q.of[h.owner][1:]; len(rest) > 0 {
		q.of[h.owner] = rest
	} else {
		delete(q.of, h.owner)
	}
	q.bytes -= len(h.frame)
	return len(h.frame)
}

// take hands out all frames held for r, the oldest first; the caller owns them.
func (q *queues) take(r ref) (frames []*held) {
	for len(q.of[r]) > 0 {
		el := q.of[r][0]
		frames = append(frames, el.Value.(*held))
		q.drop(el)
	}
	return frames
}

// purge drops all frames held for r and returns how many.
func (q *queues) purge(r ref) (n int) {
	for ; len(q.of[r]) > 0; n++ {
		q.drop(q.of[r][0])
	}
	return n
}
