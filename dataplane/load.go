package dataplane

import (
	"math/bits"
	"slices"
	"time"
)

// LoadSizes are the upper bounds of Load.Sizes, the last that of a full batch.
var LoadSizes = [...]int{1, 2, 4, 8, 16, 32, batch}

// LoadTimes are the upper bounds of Load.Times; slower batches are in the place after the
// last.
var LoadTimes = [...]time.Duration{
	2 * time.Microsecond, 5 * time.Microsecond, 10 * time.Microsecond, 20 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 10 * time.Millisecond,
}

// timedEvery is how many batches pass for one whose time is taken, so that the clock costs
// the others nothing.
const timedEvery = 64

// Load says how a worker's batches were. A batch is what one turn takes from one port.
type Load struct {
	Frames uint64
	Sizes  [len(LoadSizes)]uint64     // batches by their number of frames, each in the first bound that holds it
	Times  [len(LoadTimes) + 1]uint64 // the same by the time from receipt to transmission, of those that were timed
	Took   time.Duration              // of all timed ones together
}

// Batches is how many there were.
func (l *Load) Batches() (n uint64) {
	for _, k := range l.Sizes {
		n += k
	}
	return n
}

// Timed is how many were timed.
func (l *Load) Timed() (n uint64) {
	for _, k := range l.Times {
		n += k
	}
	return n
}

func (l *Load) add(d *Load) {
	l.Frames += d.Frames
	l.Took += d.Took
	for i, n := range d.Sizes {
		l.Sizes[i] += n
	}
	for i, n := range d.Times {
		l.Times[i] += n
	}
}

// size counts a batch of n frames, 1 to batch: the bounds are powers of two.
func (l *Load) size(n int) {
	l.Frames += uint64(n)
	l.Sizes[bits.Len(uint(n-1))]++
}

func (l *Load) time(d time.Duration) {
	i := 0
	for i < len(LoadTimes) && d > LoadTimes[i] {
		i++
	}
	l.Times[i]++
	l.Took += d
}

// WorkerStatus is what a worker has done so far.
type WorkerStatus struct {
	Load
	Rings []RingStatus  // by port
	Seen  time.Duration // on the plane's clock, when it last handed over what it counted; 0: never
}

// RingStatus is what a worker has done at a port so far, and how its receive ring there did.
type RingStatus struct {
	Frames  uint64 // taken from it
	Batches uint64 // in which they came
	Dropped uint64 // frames for which it had no room
	Peak    uint8  // the most that it was seen to be full of late, in percent
}

// WorkerStatuses lists the workers. One that runs hands over every EstimatePeriod, also
// when it has no frames. Safe for concurrent use.
func (p *Plane) WorkerStatuses() []WorkerStatus {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	list := slices.Clone(p.stats.workers)
	for i := range list {
		list[i].Rings = slices.Clone(list[i].Rings)
	}
	return list
}
