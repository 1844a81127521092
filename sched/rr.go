package sched

import (
	"slices"
	"sync"
	"time"
)

// rr is round robin: the list in turn, whatever the weights (ip_vs_rr.c).
type rr struct {
	mu      sync.Mutex
	servers []*Server // head first
	at      int       // index of the last choice; -1 before the first
}

func newRR(servers []*Server) *rr { return &rr{servers: slices.Clone(servers), at: -1} }

// Pick walks one full circle that ends with the last choice itself.
func (r *rr) Pick(*Request) *Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.at
	for range r.servers {
		if i++; i == len(r.servers) {
			i = 0
		}
		if s := r.servers[i]; s.eligible() {
			r.at = i
			return s
		}
	}
	return nil
}

func (r *rr) Besides(not *Server) *Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return besides(r.servers, not)
}

// Add leaves the position at its server, so the new head is reached after the wrap.
func (r *rr) Add(s *Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.servers = slices.Insert(r.servers, 0, s)
	if r.at >= 0 {
		r.at++
	}
}

// Remove moves the position from the removed server to its predecessor.
func (r *rr) Remove(s *Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.servers, s)
	if i < 0 {
		return
	}
	r.servers = slices.Delete(r.servers, i, i+1)
	if i <= r.at {
		r.at--
	}
}

func (r *rr) Edit(*Server)            {}
func (r *rr) SetFlags(Flags)          {}
func (r *rr) Housekeep(time.Duration) {}
