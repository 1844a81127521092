package sched

import "time"

// lblc is locality-based least connection: a destination stays with its server until
// that one is gone, quiesced or crowded, then it gets the server wlc would choose
// (ip_vs_lblc.c). Made for clusters of web caches.
type lblc struct {
	*list
	ovh           cost
	cache[uint32] // number of the destination's server
	known         roster
	drifts        bool
}

func newLBLC(l *list, ovh cost, c Config) *lblc {
	b := &lblc{list: l, ovh: ovh, drifts: c.ActiveFactor == classicFactor}
	b.cache.init(!b.drifts, c.LBLCExpiration, b.known.release)
	return b
}

// Pick does not look at the OVERLOAD flag of a remembered server; nor does the kernel.
func (b *lblc) Pick(r *Request) *Server {
	servers := b.servers()
	if s := b.recall(r); s != nil && s.Available.Load() && s.Weight.Load() > 0 && !crowded(s, servers) {
		return s
	}
	s := leastLoad(servers, b.ovh)
	if s != nil {
		b.remember(r, s)
	}
	return s
}

// recall returns the destination's server and marks its entry used, whether or not the
// server will do.
func (b *lblc) recall(r *Request) *Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.find(r.Dst)
	if e == nil {
		return nil
	}
	e.used = r.Now
	return b.known.server(e.val)
}

func (b *lblc) remember(r *Request, s *Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.find(r.Dst)
	if e == nil {
		if e = b.add(r); e != nil {
			e.val = b.known.hold(s)
		}
		return
	}
	if b.known.server(e.val) == s {
		return
	}
	b.known.release(e.val)
	e.val, e.used = b.known.hold(s), r.Now
	if b.drifts {
		b.counted++ // the classic kernel counts the new entry, but not the end of the old
	}
}

// Housekeep expires entries; see cache.
func (b *lblc) Housekeep(now time.Duration) { b.cache.Housekeep(now) }
