package dataplane

import (
	"slices"
	"time"

	"github.com/dirigo-lb/dirigo/conntrack"
)

// ExpireOrphans ends the connections of servers that are no longer configured, if
// expire_nodest_conn says so (the kernel does it a tick after the removal), and returns
// how many. Parents are passed over while they have children: call it again a tick
// later, until there are none; Housekeep does that too.
func (p *Plane) ExpireOrphans() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expireOrphans()
}

func (p *Plane) expireOrphans() int {
	if !p.sysctl.ExpireNodestConn.On() {
		return 0
	}
	now := conntrack.TickOf(p.clock())
	p.conns.Advance(now, 0, 1) // children of the last call end, and leave parents without any
	n := p.conns.ExpireIf(now, func(c *conntrack.Conn) bool {
		return c.Server != conntrack.NoServer && !p.servers.at(c.Server).Available.Load()
	})
	p.orphans = n > 0
	return n
}

// trashIdle is how long an unreferenced server waits in the trash
// (IP_VS_DEST_TRASH_PERIOD, 120 s).
const trashIdle = 120 * time.Second

// Housekeep does what is due from time to time: schedulers' caches, servers in the trash
// that nothing refers to, and ended pins. The writer calls it about once a second.
func (p *Plane) Housekeep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	p.defend()
	if p.orphans {
		p.expireOrphans()
	}
	for s := range p.order.all() {
		s.rules.Load().sched.Housekeep(now)
	}
	for _, s := range p.trash.all() {
		if p.idle(s, now) {
			p.trash.take(s)
		}
	}
	p.unpin(now)
}

// idle reports whether nothing has referred to a server for trashIdle, and then takes its
// number back.
func (p *Plane) idle(s *Server, now time.Duration) bool {
	switch {
	case s.References() > 0:
		s.idleSince = 0
	case s.idleSince == 0:
		s.idleSince = now
	case now-s.idleSince >= trashIdle:
		p.servers.free(s.ID)
		p.stats.forgetServer(s.ID)
		return true
	}
	return false
}

// trash holds removed servers in the order they came, and finds them by what they must
// agree in to come back. The zero trash is empty.
type trash struct {
	list  []*Server // nil where one was taken out
	holes int
	byKey map[serverKey][]*Server // oldest first; more than one only for a mark of both families
}

func (t *trash) put(s *Server) {
	if t.byKey == nil {
		t.byKey = make(map[serverKey][]*Server)
	}
	s.trashAt = len(t.list)
	t.list = append(t.list, s)
	t.byKey[s.key] = append(t.byKey[s.key], s)
}

// find is the oldest server of that key, nil for none.
func (t *trash) find(k serverKey) *Server {
	if same := t.byKey[k]; len(same) > 0 {
		return same[0]
	}
	return nil
}

func (t *trash) take(s *Server) {
	if same := slices.DeleteFunc(t.byKey[s.key], func(o *Server) bool { return o == s }); len(same) > 0 {
		t.byKey[s.key] = same
	} else {
		delete(t.byKey, s.key)
	}
	t.list[s.trashAt] = nil
	if t.holes++; t.holes > len(t.list)/2 {
		t.list, t.holes = t.all(), 0
		for i, s := range t.list {
			s.trashAt = i
		}
	}
}

// all are the servers in the trash; the list is the caller's.
func (t *trash) all() []*Server {
	list := make([]*Server, 0, len(t.list)-t.holes)
	for _, s := range t.list {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}
