package sched

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// The slow twin of leastLoad: exact quotients, the first of the smallest.
func slowLeastLoad(servers []*Server, load func(*Server) int64) (best *Server) {
	var least *big.Rat
	for _, s := range servers {
		w := int64(s.Weight.Load())
		if w == 0 || s.Overload.Load() {
			continue
		}
		if r := big.NewRat(load(s), w); least == nil || r.Cmp(least) < 0 {
			best, least = s, r
		}
	}
	return best
}

// shuffle gives a server random counters; small ranges, so that ties are frequent.
func shuffle(r *rand.Rand, s *Server) {
	top := []int32{3, 20, 70000}[r.IntN(3)]
	s.Weight.Store(r.Int32N(min(top, 65535)))
	s.Active.Store(r.Int32N(top))
	s.Inactive.Store(r.Int32N(top) * r.Int32N(2))
	s.Overload.Store(r.IntN(8) == 0)
}

func TestLeastLoadMatchesExactQuotients(t *testing.T) {
	overhead := func(factor int64) func(*Server) int64 {
		return func(s *Server) int64 { return int64(s.Active.Load())*factor + int64(s.Inactive.Load()) }
	}
	next := func(s *Server) int64 { return int64(s.Active.Load()) + 1 }
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var servers []*Server
		for i := range r.IntN(12) {
			s := server(i, 0)
			shuffle(r, s)
			servers = append(servers, s)
		}
		for _, c := range []struct {
			name   string
			factor int
			load   func(*Server) int64
		}{
			{"wlc", 256, overhead(256)}, {"wlc", 257, overhead(257)},
			{"lblc", 256, overhead(256)}, {"lblcr", 257, overhead(257)}, {"sed", 0, next},
		} {
			s, err := Config{ActiveFactor: c.factor}.New(c.name, 0, servers)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := s.Pick(anyone), slowLeastLoad(servers, c.load); got != want {
				t.Fatalf("%s, factor %d: got %v, want %v of %d servers", c.name, c.factor, got, want, len(servers))
			}
		}
	}
}

// slowWRR is the kernel's loop without our shortcuts: state and walk as written there.
type slowWRR struct {
	servers    []*Server
	cl         *Server // nil: the head
	cw, mw, di int64
}

func (w *slowWRR) after(s *Server) int {
	for i := range w.servers {
		if w.servers[i] == s {
			return i + 1
		}
	}
	return 0
}

func (w *slowWRR) pick() *Server {
	if w.mw == 0 {
		return nil
	}
	last, pos := w.cl, w.after(w.cl)
	var stop *Server
	var lastPass, restarted bool
	for {
		for _, d := range w.servers[pos:] {
			if !d.Overload.Load() && int64(d.Weight.Load()) >= w.cw {
				w.cl = d
				return d
			}
			if stop != nil && d == stop {
				w.cl = d
				return nil
			}
		}
		if w.cw -= w.di; w.cw <= 0 {
			w.cw = w.mw
			if lastPass || last == nil {
				w.cl = nil
				return nil
			}
			restarted = true
		}
		lastPass = w.cw <= w.di
		if lastPass && restarted && last != nil {
			stop = last
		}
		pos = 0
	}
}

// Same state, same overload flags: same choice and same state after it. Weights also
// change behind wrr's back, as they do between a weight's store and the call of Edit.
func TestWRRMatchesKernelLoop(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 400 {
		v := newService(t, "wrr", 0, Config{})
		w := v.Scheduler.(*wrr)
		unit := 1 + r.Int32N(5)
		weight := func() int32 { return unit * r.Int32N([]int32{2, 6, 300}[r.IntN(3)]) }
		for step := range 200 {
			id := r.IntN(5)
			switch s := v.servers[id]; {
			case s == nil:
				v.add(id, weight())
			case r.IntN(12) == 0:
				v.del(id)
			case r.IntN(8) == 0:
				v.edit(id, weight())
			case r.IntN(20) == 0:
				s.Weight.Store(weight())
			case r.IntN(3) == 0:
				s.Overload.Store(!s.Overload.Load())
			}
			twin := &slowWRR{servers: w.servers, cw: w.cw, mw: w.mw, di: w.di}
			if w.at >= 0 {
				twin.cl = w.servers[w.at]
			}
			got, want := w.Pick(anyone), twin.pick()
			var cl *Server
			if w.at >= 0 {
				cl = w.servers[w.at]
			}
			if got != want || cl != twin.cl || w.cw != twin.cw {
				t.Fatalf("round %d step %d: got %d, at %v, cw %d; want %d, %v, %d",
					round, step, v.id(got), cl, w.cw, v.id(want), twin.cl, twin.cw)
			}
		}
	}
}

// A heavy server that is overloaded must not cost a walk of the list for every unit of
// its weight: here that would take hours.
func TestWRRSkipsIdlePasses(t *testing.T) {
	v := newService(t, "wrr", 0, Config{}).with(1, 1, math.MaxInt32)
	v.servers[3].Overload.Store(true)
	v.want("top overloaded", v.picks(6, nil), []int{2, 1, 2, 1, 2, 1})
	v.servers[1].Overload.Store(true)
	v.servers[2].Overload.Store(true)
	v.want("all overloaded", v.picks(3, nil), []int{-1, -1, -1})
}
