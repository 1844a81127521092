package sched

import "time"

// lblcr is locality-based least connection with replication: a destination has a set
// of servers, which grows when its best one is crowded and shrinks when it has been
// the same for long (ip_vs_lblcr.c).
type lblcr struct {
	*list
	ovh cost
	cache[replicas]
	known   roster
	members slab[member]
}

// replicas is the set of a destination: a chain of members, the newest first.
type replicas struct {
	first, size uint32
	modified    time.Duration
}

type member struct{ server, next uint32 }

func newLBLCR(l *list, ovh cost, c Config) *lblcr {
	b := &lblcr{list: l, ovh: ovh}
	b.cache.init(c.ActiveFactor == modernFactor, c.LBLCRExpiration, b.dissolve)
	return b
}

func (b *lblcr) Pick(r *Request) *Server {
	servers := b.servers()
	s := b.recall(r)
	if s != nil && !crowded(s, servers) {
		return s
	}
	if s = leastLoad(servers, b.ovh); s != nil {
		b.enlist(r, s)
	}
	return s
}

// recall returns the best of the destination's set and marks its entry used. A set
// that has not changed for the expiration time loses its most loaded member; that one
// is still returned this once if it was the best.
func (b *lblcr) recall(r *Request) *Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.find(r.Dst)
	if e == nil {
		return nil
	}
	e.used = r.Now
	best := b.least(e.val)
	if e.val.size > 1 && r.Now > e.val.modified+time.Duration(b.expiration.Load()) {
		if link := b.most(&e.val); link != nil {
			b.expel(link)
			e.val.size--
			e.val.modified = r.Now
		}
	}
	return best
}

// enlist puts s at the head of the destination's set, unless it is in it.
func (b *lblcr) enlist(r *Request, s *Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.find(r.Dst)
	if e == nil {
		if e = b.add(r); e == nil {
			return
		}
	}
	for i := e.val.first; i != 0; i = b.members.at(i).next {
		if b.known.server(b.members.at(i).server) == s {
			return
		}
	}
	i := b.members.take()
	*b.members.at(i) = member{server: b.known.hold(s), next: e.val.first}
	e.val = replicas{first: i, size: e.val.size + 1, modified: r.Now}
}

// least is ip_vs_dest_set_min: the configured and eligible member with the least load.
func (b *lblcr) least(set replicas) (best *Server) {
	var bestCost, bestWeight int64
	for i := set.first; i != 0; i = b.members.at(i).next {
		s := b.known.server(b.members.at(i).server)
		w := int64(s.Weight.Load())
		if w <= 0 || s.Overload.Load() || !s.Available.Load() {
			continue
		}
		if load := int64(b.ovh.of(s)); best == nil || bestCost*w > load*bestWeight {
			best, bestCost, bestWeight = s, load, w
		}
	}
	return best
}

// most is ip_vs_dest_set_max: the link to the member with the most load; nil if all
// are quiesced. Neither the OVERLOAD flag nor being configured matters.
func (b *lblcr) most(set *replicas) (link *uint32) {
	var topCost, topWeight int64
	for at := &set.first; *at != 0; at = &b.members.at(*at).next {
		s := b.known.server(b.members.at(*at).server)
		w := int64(s.Weight.Load())
		if w <= 0 {
			continue
		}
		if load := int64(b.ovh.of(s)); link == nil || topCost*w < load*topWeight {
			link, topCost, topWeight = at, load, w
		}
	}
	return link
}

// expel takes the member at link out of its chain.
func (b *lblcr) expel(link *uint32) {
	i := *link
	m := *b.members.at(i)
	*link = m.next
	b.known.release(m.server)
	b.members.give(i)
}

func (b *lblcr) dissolve(set replicas) {
	for set.first != 0 {
		b.expel(&set.first)
	}
}

// Housekeep expires entries; see cache.
func (b *lblcr) Housekeep(now time.Duration) { b.cache.Housekeep(now) }
