package dataplane

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/sched"
)

const (
	batch = 64 // frames taken from a queue at a time

	// fullBatch is how many frames say that a queue may hold more: of large ones, and in mode
	// batch, an afpacket queue lends no more at a time.
	fullBatch = 32

	// EstimatePeriod is how often workers hand over what they counted and the rate
	// estimators take a turn (the kernel's estimation timer, 2*HZ).
	EstimatePeriod = 2 * time.Second

	// expireBudget is how many connections a worker ends in a turn at most: a hundredth of
	// a millisecond's work or two, while their memory is cold.
	expireBudget = 256
)

// A Worker runs frames to completion: it has one queue of each port, takes batches,
// processes and transmits them. It shares tables with the other workers, and nothing else.
type Worker struct {
	id     int
	plane  *Plane
	conns  *conntrack.Table
	queues []Queue           // by port
	tx     [][]*packet.Frame // by port: what the end of the batch transmits

	// the batch in hand
	frames      [batch]packet.Frame
	bad         [batch]packet.Bad // what Parse said of each
	hashes      [batch]uint64     // of the client's end of each, for fetch alone
	table       *Table
	now         time.Duration
	tick        conntrack.Tick
	sweep       conntrack.Sweep
	behind      bool // the sweep has more to expire
	neighborGen uint64
	arena       arena
	hops        hopCache
	routes      routeCache
	seg         encap.Segmenter
	frag        encap.Fragmenter
	tunnelTo    encap.Tunnel // of the packet in hand, see outer
	reassembly  reassembly
	request     sched.Request
	ipID        *uint16       // identification of the last outer header
	icmpCredit  time.Duration // see mayTell
	icmpSince   time.Duration

	count    counters
	handed   time.Duration // when count was last handed over
	stepped  time.Duration // when the neighbour cache was last stepped, worker 0 only
	seen     atomic.Uint64 // generation of the table last used
	ports    []PortCounters
	peaks    []uint8     // by port, see QueueStats
	watchers *[]*Watcher // of the batch; nil: none
	sight    sight
	pollFDs  []int
	load     Load
	untimed  int // batches until one is timed
	pace     pacer
	more     bool // a queue of the last turn had a full batch
}

// A Waiter waits between a worker's turns.
type Waiter interface {
	// Wait returns when one of the descriptors is readable or has an error to report, or the
	// time is over. Hidden from the Go scheduler it may return earlier than that.
	Wait(fds []int, timeout time.Duration, hidden bool) error
	// Nap pauses for so long, or a little more.
	Nap(time.Duration)
}

// PortCounters are counts of one port.
type PortCounters struct {
	RxFrames, TxFrames uint64
	TxLost             uint64 // not taken by the port
	TxFull             uint64 // of those: it was full for longer than is waited
	TxRefused          uint64 // of those: refused for what they are, too large for example
	RxDropped          uint64 // no room in the receive ring
	RxBatches          uint64 // in how many batches RxFrames came
}

// TxDown are the frames of TxLost that met a link that was down or gone.
func (c *PortCounters) TxDown() uint64 { return c.TxLost - min(c.TxLost, c.TxFull+c.TxRefused) }

func (c *PortCounters) add(d *PortCounters) {
	c.RxFrames += d.RxFrames
	c.TxFrames += d.TxFrames
	c.TxLost += d.TxLost
	c.TxFull += d.TxFull
	c.TxRefused += d.TxRefused
	c.RxDropped += d.RxDropped
	c.RxBatches += d.RxBatches
}

// NewWorker makes a worker with its queue of each port, in the order of the
// environment's ports. It waits for frames at the given pace, that of the most urgent
// port if there are several. Workers are made before they run, and number themselves.
func (p *Plane) NewWorker(queues []Queue, paces ...Pace) *Worker {
	w := &Worker{
		id: len(p.workers), plane: p, conns: p.conns, queues: queues,
		tx: apart[[]*packet.Frame](len(queues)), ports: apart[PortCounters](len(queues)), peaks: make([]uint8, len(queues)),
	}
	for i, pace := range paces {
		if i > 0 {
			pace = pace.join(w.pace.Pace)
		}
		w.pace.Pace = pace
	}
	for _, q := range queues {
		if fd := q.FD(); fd >= 0 {
			w.pollFDs = append(w.pollFDs, fd)
		}
	}
	w.ipID = &apart[uint16](1)[0]
	*w.ipID = uint16(w.id << 12)
	if p.resolver != nil {
		w.ipID = &p.ipID
	}
	p.workers = append(p.workers, w)
	p.stats.workers = append(p.stats.workers, WorkerStatus{Rings: make([]RingStatus, len(queues))})
	if len(p.stats.ports) < len(queues) {
		p.stats.ports = make([]PortCounters, len(queues))
	}
	return w
}

// apart makes n items with room behind them for nothing: what workers write for every packet
// must not lie in one cache line, nor in two that the processor fetches together.
func apart[T any](n int) []T {
	var t T
	return make([]T, n, n+1+128/int(unsafe.Sizeof(t)))
}

// Run processes frames until ctx ends. fail hears of a queue that stopped working, and
// decides: with an error it ends the worker, with nil the worker goes on trying.
func (w *Worker) Run(ctx context.Context, wait Waiter, fail func(port int, err error) error) error {
	for ctx.Err() == nil {
		n, port, err := w.Turn()
		if err != nil {
			if err = fail(port, err); err != nil {
				return fmt.Errorf("worker %d: %w", w.id, err)
			}
		}
		if w.behind {
			continue // there is more to expire
		}
		switch step, d := w.pace.next(w.now, n, w.more); step {
		case nap:
			wait.Nap(d)
		case watch, sleep:
			err = wait.Wait(w.pollFDs, d, step == watch)
		}
		if err != nil {
			return fmt.Errorf("worker %d: wait for frames: %w", w.id, err)
		}
	}
	w.handOver()
	return nil
}

// Turn takes one batch from each port and runs it to completion, so that a port with much
// to do holds up the others for no longer than that, then does what time demands. It
// returns how many frames there were, and the first queue's error with its port.
func (w *Worker) Turn() (frames, port int, err error) {
	w.begin()
	w.more = false
	for p, q := range w.queues {
		start := w.now
		if w.untimed == 0 && p > 0 {
			start = w.plane.clock()
		}
		n, rerr := q.Receive(w.frames[:])
		if rerr != nil && err == nil {
			port, err = p, rerr
		}
		if w.watchers == nil {
			w.run(w.frames[:n], p)
		} else {
			w.watch(w.frames[:n], p)
		}
		if n > 0 {
			w.ports[p].RxFrames += uint64(n)
			w.ports[p].RxBatches++
			w.more = w.more || n >= fullBatch
			frames += n
			if fp, ferr := w.flush(); ferr != nil && err == nil {
				port, err = fp, ferr
			}
			q.Release()
			w.load.size(n)
			if w.untimed--; w.untimed < 0 {
				w.untimed = timedEvery - 1
				w.load.time(w.plane.clock() - start)
			}
		}
	}
	w.timers()
	return frames, port, err
}

// run processes a batch of port p, in order. Before the first frame is decided about, all
// of them are read and the memory of their connections is asked for, so that the batch
// waits for it once and not each frame for itself.
func (w *Worker) run(frames []packet.Frame, p int) {
	w.parse(frames, p)
	w.fetch(frames)
	for i := range frames {
		_, reason := w.process(&frames[i], w.bad[i])
		w.count.reasons[reason]++
	}
}

// parse reads the headers of a batch of port p.
func (w *Worker) parse(frames []packet.Frame, p int) {
	for i := range frames {
		f := &frames[i]
		f.Port = uint16(p)
		w.bad[i] = f.Parse()
	}
}

// fetch asks for the memory that the connections of a batch are in, as far as the headers
// tell. It decides nothing: an earlier packet may change what a later one finds.
func (w *Worker) fetch(frames []packet.Frame) {
	for i := range frames {
		fl := &frames[i].Flow
		client, port := &fl.Src, fl.SrcPort
		if w.conns.MayAnswer(&fl.Src) {
			client, port = &fl.Dst, fl.DstPort
		}
		w.hashes[i] = w.conns.Hash(fl.Proto, client, port)
		w.conns.FetchBucket(w.hashes[i])
	}
	for i := range frames {
		w.conns.FetchEntry(w.hashes[i])
	}
}

// begin reads the clock, the table and who watches once for the batch, and expires what
// is due of this worker's share of the connections, or a part of it.
func (w *Worker) begin() {
	w.table = w.plane.table.Load()
	w.seen.Store(w.table.gen)
	w.watchers = w.plane.watchers.Load()
	w.now = w.plane.clock()
	w.neighborGen = w.plane.neighbors.Generation()
	if tick := conntrack.TickOf(w.now); tick != w.tick || w.behind {
		w.tick = tick
		w.sweep.First, w.sweep.Step = w.id, len(w.plane.workers)
		w.behind = !w.sweep.Turn(w.conns, tick, expireBudget)
	}
}

// timers lets the neighbour cache act and hands over the counters.
func (w *Worker) timers() {
	if w.id == 0 && (w.now-w.stepped >= 20*time.Millisecond || w.now < w.stepped) {
		w.stepped = w.now
		if outs := w.plane.neighbors.Step(w.now); len(outs) > 0 {
			w.sendOuts(outs)
			_, _ = w.flush()
		}
	}
	if w.now-w.handed >= EstimatePeriod {
		w.handed = w.now
		w.handOver()
	}
}

// queue adds a finished frame to a port's transmit list.
func (w *Worker) queue(f *packet.Frame, port uint16) { w.tx[port] = append(w.tx[port], f) }

// flush transmits what the batch has queued and takes the arena's frames back. What a
// port does not take is lost and counted there. It returns the first error with its port.
func (w *Worker) flush() (port int, err error) {
	for p, frames := range w.tx {
		if len(frames) == 0 {
			continue
		}
		n, terr := w.queues[p].Transmit(frames)
		if terr != nil && err == nil {
			port, err = p, terr
		}
		w.ports[p].TxFrames += uint64(n)
		w.ports[p].TxLost += uint64(len(frames) - n)
		clear(frames)
		w.tx[p] = frames[:0]
	}
	w.arena.reset()
	w.reassembly.spare = nil
	return port, err
}

// HandOver gives what the worker counted to the plane, as happens by itself every
// EstimatePeriod. Not for a running worker.
func (w *Worker) HandOver() { w.handOver() }
