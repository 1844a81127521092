package sched

import (
	"slices"
	"sync/atomic"
	"time"
)

// list is a service's servers, head first. A server is added at the head and nothing
// ever re-sorts it: this order breaks the ties of most algorithms (struct
// ip_vs_service, destinations). It is copied on write, so Pick reads it without a
// lock. The zero list is empty.
//
// Its methods are what a stateless algorithm does when its service changes.
type list struct{ p atomic.Pointer[[]*Server] }

// newList takes a copy of servers. It returns a pointer as a list must not be copied.
func newList(servers []*Server) *list {
	l := new(list)
	l.set(slices.Clone(servers))
	return l
}

// servers is the list as it stands; it must not be changed.
func (l *list) servers() []*Server { return *l.p.Load() }

func (l *list) set(servers []*Server) { l.p.Store(&servers) }

func (l *list) Add(s *Server) { l.set(append([]*Server{s}, l.servers()...)) }

func (l *list) Remove(s *Server) {
	old := l.servers()
	if i := slices.Index(old, s); i >= 0 {
		l.set(slices.Concat(old[:i], old[i+1:]))
	}
}

func (l *list) Besides(not *Server) *Server { return besides(l.servers(), not) }

func (l *list) Edit(*Server)            {}
func (l *list) SetFlags(Flags)          {}
func (l *list) Housekeep(time.Duration) {}

// eligible reports whether s may get new connections: neither quiesced nor overloaded.
func (s *Server) eligible() bool { return s.Weight.Load() > 0 && !s.Overload.Load() }

// What an active connection weighs beside an inactive one: ip_vs_dest_conn_overhead
// has active*256 + inactive up to Linux 6.12, and active*256 + total in 2026.
const (
	classicFactor = 256
	modernFactor  = 257
)

// cost says what a server's connections cost: active*Active + inactive*Inactive + base.
type cost struct{ active, inactive, base int32 }

// of is in the kernel's int: 32 bits, wrapping.
func (c cost) of(s *Server) int32 {
	return c.active*s.Active.Load() + c.inactive*s.Inactive.Load() + c.base
}

// leastLoad returns the eligible server with the least cost/weight, the first one in
// the list among equals; nil if none is eligible. Ratios are compared by
// cross-multiplication in 64 bits, as ip_vs_wlc.c does.
func leastLoad(servers []*Server, c cost) (best *Server) {
	bestCost, bestWeight := int64(1), int64(0) // worse than any
	for _, s := range servers {
		w := int64(s.Weight.Load())
		if w <= 0 || s.Overload.Load() {
			continue
		}
		if load := int64(c.of(s)); bestCost*w > load*bestWeight {
			best, bestCost, bestWeight = s, load, w
		}
	}
	return best
}

// besides is Scheduler.Besides for a list of servers. Idle servers count as one connection,
// so that the greatest weight wins among them.
func besides(servers []*Server, not *Server) (best *Server) {
	bestLoad, bestWeight := int64(1), int64(0) // worse than any
	for _, s := range servers {
		load, w := int64(s.Active.Load())+1, int64(s.Weight.Load())
		if s != not && s.eligible() && bestLoad*w > load*bestWeight {
			best, bestLoad, bestWeight = s, load, w
		}
	}
	return best
}
