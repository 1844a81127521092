package dataplane

import (
	"sync"
	"time"
)

// Counter holds the five figures IPVS keeps for servers, services and the whole.
// Bytes are those of IP packets.
type Counter struct {
	Conns, InPkts, OutPkts, InBytes, OutBytes uint64
}

func (c *Counter) add(d *Counter) {
	c.Conns += d.Conns
	c.InPkts += d.InPkts
	c.OutPkts += d.OutPkts
	c.InBytes += d.InBytes
	c.OutBytes += d.OutBytes
}

// Rates are a Counter's figures per second (the bytes in bytes).
type Rates struct {
	CPS, InPPS, OutPPS, InBPS, OutBPS uint64
}

// figures is a counter with its zero point and its rate estimator.
type figures struct {
	Counter
	zero Counter // what -Z made zero
	last Counter // at the estimator's last turn
	avg  [5]int64
}

// estimate is one turn, every two seconds, of ip_vs_est_add and its timer
// (estimation_timer): an average that follows a quarter of each change.
func (f *figures) estimate() {
	now, last := f.Counter, f.last
	f.last = now
	turn := func(i int, delta uint64, shift uint) {
		f.avg[i] += (int64(delta<<shift) - f.avg[i]) >> 2
	}
	turn(0, now.Conns-last.Conns, 9)
	turn(1, now.InPkts-last.InPkts, 9)
	turn(2, now.OutPkts-last.OutPkts, 9)
	turn(3, now.InBytes-last.InBytes, 4)
	turn(4, now.OutBytes-last.OutBytes, 4)
}

// Figures are what listings show of a server or a service.
type Figures struct {
	Counter
	Rates
}

func (f *figures) read() Figures {
	c, z := f.Counter, f.zero
	return Figures{
		Counter: Counter{c.Conns - z.Conns, c.InPkts - z.InPkts, c.OutPkts - z.OutPkts, c.InBytes - z.InBytes, c.OutBytes - z.OutBytes},
		Rates: Rates{
			CPS: uint64(f.avg[0]+511) >> 10, InPPS: uint64(f.avg[1]+511) >> 10, OutPPS: uint64(f.avg[2]+511) >> 10,
			InBPS: uint64(f.avg[3]+15) >> 5, OutBPS: uint64(f.avg[4]+15) >> 5,
		},
	}
}

func (f *figures) reset() {
	f.zero, f.avg = f.Counter, [5]int64{}
}

// stats gathers what the workers counted. They hand over what they have every
// EstimatePeriod, so no counter is shared while packets pass, and a listing shows the
// figures of the last turn, as the kernel's does.
type stats struct {
	mu       sync.Mutex
	servers  []figures // by server id
	services map[uint32]*figures
	total    figures
	reasons  [Reasons]uint64
	ports    []PortCounters
	workers  []WorkerStatus
}

// delta is what one worker counted for one server since it last handed over.
type delta struct {
	server uint32
	Counter
}

func (s *stats) collect(ds []delta, reasons *[Reasons]uint64, ports []PortCounters, servers *serverTable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range ds {
		d := &ds[i]
		srv := servers.at(d.server)
		if srv != nil && srv.pinned { // the director's own: nobody's traffic
			continue
		}
		for int(d.server) >= len(s.servers) {
			s.servers = append(s.servers, figures{})
		}
		s.servers[d.server].add(&d.Counter)
		s.total.add(&d.Counter)
		if srv != nil {
			if f := s.services[srv.service.Load().ID]; f != nil { // not deleted meanwhile
				f.add(&d.Counter)
			}
		}
	}
	for i, n := range reasons {
		s.reasons[i] += n
	}
	for i, n := range ports {
		s.ports[i].add(&n)
	}
}

// worked takes over what a worker says of its batches and rings.
func (s *stats) worked(id int, l *Load, ports []PortCounters, peaks []uint8, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.workers[id]
	x.add(l)
	x.Seen = now
	for i := range ports {
		r := &x.Rings[i]
		r.Frames += ports[i].RxFrames
		r.Batches += ports[i].RxBatches
		r.Dropped += ports[i].RxDropped
		r.Peak = peaks[i]
	}
}

// begin makes room for a service's figures.
func (s *stats) begin(service uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.services == nil {
		s.services = map[uint32]*figures{}
	}
	s.services[service] = &figures{}
}

func (s *stats) forget(service uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.services, service)
}

func (s *stats) forgetServer(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(id) < len(s.servers) {
		s.servers[id] = figures{}
	}
}

func (s *stats) zeroServer(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(id) < len(s.servers) {
		s.servers[id].reset()
	}
}

// Estimate is one turn of the rate estimators; the writer calls it every
// EstimatePeriod, after the workers have handed over.
func (p *Plane) Estimate() {
	p.mu.Lock()
	rests := !p.sysctl.RunEstimation.On()
	p.mu.Unlock()
	if rests {
		return
	}
	s := &p.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.servers {
		s.servers[i].estimate()
	}
	for _, f := range s.services {
		f.estimate()
	}
	s.total.estimate()
}

// Reasons returns how many frames have ended with each reason so far.
func (p *Plane) Reasons() [Reasons]uint64 {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	return p.stats.reasons
}

// counters is a worker's own tally.
type counters struct {
	servers []Counter // by server id
	touched []uint32  // ids with something to hand over
	reasons [Reasons]uint64
	out     []delta
}

// at is the counter of a server, remembered as touched. It allocates only when a server
// with a new highest id is first seen.
func (c *counters) at(id uint32) *Counter {
	for int(id) >= len(c.servers) {
		c.servers = append(c.servers, Counter{})
	}
	k := &c.servers[id]
	if k.Conns|k.InPkts|k.OutPkts == 0 {
		c.touched = append(c.touched, id)
	}
	return k
}

// handOver gives what the worker counted to the plane.
func (w *Worker) handOver() {
	c := &w.count
	c.out = c.out[:0]
	for _, id := range c.touched {
		c.out = append(c.out, delta{id, c.servers[id]})
		c.servers[id] = Counter{}
	}
	c.touched = c.touched[:0]
	for i, q := range w.queues {
		if st, err := q.Stats(); err == nil {
			w.ports[i].RxDropped, w.ports[i].TxFull, w.ports[i].TxRefused = st.Dropped, st.Full, st.Refused
			w.peaks[i] = st.Peak
		}
	}
	w.plane.stats.collect(c.out, &c.reasons, w.ports, &w.plane.servers)
	w.plane.stats.worked(w.id, &w.load, w.ports, w.peaks, w.now)
	c.reasons = [Reasons]uint64{}
	w.load = Load{}
	clear(w.ports)
}
