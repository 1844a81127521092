package sched

import (
	"slices"
	"sync"
	"time"
)

// wrr is weighted round robin: passes over the list with a falling threshold, each
// serving the servers whose weight reaches it (ip_vs_wrr.c).
type wrr struct {
	mu      sync.Mutex
	servers []*Server // head first
	at      int       // cl: index of the last choice; -1 before the first
	cw      int64     // threshold of this pass
	mw      int64     // threshold of the first pass: maximum weight - (di - 1)
	di      int64     // step between passes: gcd of the weights above 0
}

// newWRR binds to an existing list: the first pass starts at the top. Servers that
// come one by one through Add leave cw at 1 instead; see change.
func newWRR(servers []*Server) *wrr {
	w := &wrr{servers: slices.Clone(servers), at: -1}
	w.measure()
	w.cw = w.mw
	return w
}

func (w *wrr) measure() {
	var top, div int64
	for _, s := range w.servers {
		if v := int64(s.Weight.Load()); v > 0 {
			top, div = max(top, v), gcd(v, div)
		}
	}
	w.di = max(div, 1)
	w.mw = top - (w.di - 1)
}

// change is ip_vs_wrr_dest_changed: after any change the walk starts at the head, but
// the threshold stays where it is as far as the new weights allow. So the first pass
// after a configuration from nothing has cw = 1 and serves every server once.
func (w *wrr) change() {
	w.at = -1
	w.measure()
	if w.cw > w.mw || w.cw == 0 {
		w.cw = w.mw
	} else if w.di > 1 {
		w.cw = w.cw/w.di*w.di + 1
	}
}

func (w *wrr) Besides(not *Server) *Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return besides(w.servers, not)
}

func (w *wrr) Pick(*Request) *Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mw == 0 {
		return nil
	}
	var (
		last      = w.at
		pos       = last + 1
		stop      = -1    // where a second circle may end
		lastPass  = false // cw is at its lowest
		restarted = false
	)
	for {
		var reach int64 // greatest weight not overloaded in this pass
		for i := pos; i < len(w.servers); i++ {
			if s := w.servers[i]; !s.Overload.Load() {
				v := int64(s.Weight.Load())
				if v >= w.cw {
					w.at = i
					return s
				}
				reach = max(reach, v)
			}
			if i == stop {
				w.at = i
				return nil
			}
		}
		w.cw -= w.di
		if pos == 0 {
			w.skip(reach)
		}
		if w.cw <= 0 {
			w.cw = w.mw
			if lastPass || last < 0 {
				w.at = -1
				return nil
			}
			restarted = true
		}
		lastPass = w.cw <= w.di
		if lastPass && restarted && last >= 0 {
			stop = last
		}
		pos = 0
	}
}

// skip leaves out passes that cannot serve anyone, given the greatest weight in reach.
// The kernel walks them all: up to 65535 walks of the list under its lock when the
// heaviest server is overloaded. The lowest pass, cw <= di, is never left out, because
// Pick's end depends on having seen it; so the outcome is the same.
func (w *wrr) skip(reach int64) {
	if over := w.cw - max(reach, w.di); over > 0 {
		w.cw -= (over + w.di - 1) / w.di * w.di
	}
}

func (w *wrr) Add(s *Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers = slices.Insert(w.servers, 0, s)
	w.change()
}

func (w *wrr) Remove(s *Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.servers, s); i >= 0 {
		w.servers = slices.Delete(w.servers, i, i+1)
	}
	w.change()
}

func (w *wrr) Edit(*Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change()
}

func (w *wrr) SetFlags(Flags)          {}
func (w *wrr) Housekeep(time.Duration) {}

// gcd is the greatest common divisor; gcd(a, 0) is a.
func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
