package health

import (
	"container/heap"
	"time"
)

// alarm is an instant at which something has to be looked at again. An alarm is in the
// heap at most once; the zero alarm is in none.
type alarm struct {
	at    time.Time
	place int // in the heap, counted from 1; 0: not in it
	rings func(now time.Time)
}

// alarms is a heap with the next one on top.
type alarms []*alarm

func (h alarms) Len() int           { return len(h) }
func (h alarms) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarms) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}
func (h *alarms) Push(x any) {
	a := x.(*alarm)
	*h = append(*h, a)
	a.place = len(*h)
}
func (h *alarms) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1], a.place = nil, 0
	*h = old[:len(old)-1]
	return a
}

// set puts an alarm to another instant, or in.
func (h *alarms) set(a *alarm, at time.Time) {
	a.at = at
	if a.place == 0 {
		heap.Push(h, a)
	} else {
		heap.Fix(h, a.place-1)
	}
}

// stop takes an alarm out.
func (h *alarms) stop(a *alarm) {
	if a.place != 0 {
		heap.Remove(h, a.place-1)
	}
}

// ring lets all that are due by now ring, each out of the heap.
func (h *alarms) ring(now time.Time) {
	for len(*h) > 0 && !(*h)[0].at.After(now) {
		a := heap.Pop(h).(*alarm)
		a.rings(now)
	}
}
