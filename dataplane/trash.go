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
	servers, now := *p.servers.Load(), conntrack.TickOf(p.clock())
	p.conns.Advance(now, 0, 1) // children of the last call end, and leave parents without any
	n := p.conns.ExpireIf(now, func(c *conntrack.Conn) bool {
		return c.Server != conntrack.NoServer && !servers[c.Server].Available.Load()
	})
	p.orphans = n > 0
	return n
}

// trashIdle is how long an unreferenced server waits in the trash
// (IP_VS_DEST_TRASH_PERIOD, 120 s).
const trashIdle = 120 * time.Second

// Housekeep does what is due from time to time: schedulers' caches, and servers in the
// trash that nothing refers to. The writer calls it about once a second.
func (p *Plane) Housekeep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	p.defend()
	if p.orphans {
		p.expireOrphans()
	}
	for _, s := range p.order {
		s.rules.Load().sched.Housekeep(now)
	}
	kept := p.trash[:0]
	for _, s := range p.trash {
		switch {
		case s.References() > 0:
			s.idleSince = 0
		case s.idleSince == 0:
			s.idleSince = now
		case now-s.idleSince >= trashIdle:
			list := slices.Clone(*p.servers.Load())
			list[s.ID] = nil
			p.servers.Store(&list)
			p.freeIDs = append(p.freeIDs, s.ID)
			p.stats.forgetServer(s.ID)
			continue
		}
		kept = append(kept, s)
	}
	clear(p.trash[len(kept):])
	p.trash = kept
}
