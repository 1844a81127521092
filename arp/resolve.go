package arp

import (
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// Resolve is for a frame whose next hop addr has no known MAC on port. It copies
// frame, an Ethernet frame whose source is already set and whose destination is not,
// and returns the query to send, if one is due. When the answer comes, Input returns
// the copy with its destination filled in; when none comes, it is dropped and counted.
// If addr has become known meanwhile the copy is returned at once.
//
// The caller keeps frame. When a bound of the queue is met, the oldest held frame is
// dropped.
func (c *Cache) Resolve(now time.Duration, port int, addr packet.Addr, frame []byte) []Out {
	return c.ResolveVnet(now, port, addr, frame, packet.Vnet{})
}

// ResolveVnet is Resolve for a frame with offload state, which is held and returned
// with it: without it a super-frame or an unfinished checksum could not be sent.
func (c *Cache) ResolveVnet(now time.Duration, port int, addr packet.Addr, frame []byte, vnet packet.Vnet) []Out {
	c.mu.Lock()
	defer c.unlock()
	p := c.port(port)
	if p == nil {
		c.counters[NoPort]++
		return nil
	}
	if len(frame) < etherLen || !p.mayAsk(addr) {
		c.counters[BadTarget]++
		return nil
	}
	r, e := c.table.find(key{addr, int32(port)})
	if e != nil && e.state.hasMAC() {
		c.use(r, now)
		copied := append([]byte(nil), frame...)
		copy(copied, e.mac[:])
		return []Out{{port, copied, vnet}}
	}
	src, ok := p.source(addr)
	if !ok {
		c.counters[NoSource]++
		return nil
	}
	if e == nil {
		c.makeRoom()
		r, e = c.table.insert(key{addr, int32(port)}, now)
	}
	e.used = now
	c.counters[Queued]++
	c.counters[QueueOverflow] += uint64(c.queues.push(r, frame, vnet))
	if e.state == Incomplete {
		return nil
	}
	e.state, e.tries = Incomplete, 1
	c.table.enlist(r, incomplete)
	c.table.timers.set(c.table.slab, r, now+Retrans)
	c.counters[Queries]++
	return []Out{{Port: port, Frame: query(p.mac, src, addr)}}
}

// makeRoom evicts until an unanswered entry may be added.
func (c *Cache) makeRoom() {
	for r := c.table.victim(c.cfg.MaxEntries); r != none; r = c.table.victim(c.cfg.MaxEntries) {
		c.counters[Evicted]++
		c.forget(r)
	}
}

// Used says that frames were sent to addr on port. Once a second for each address in
// use is enough: it makes a stale neighbour be probed, and what nobody uses expire.
func (c *Cache) Used(now time.Duration, port int, addr packet.Addr) {
	c.mu.Lock()
	defer c.unlock()
	if r, e := c.table.find(key{addr, int32(port)}); e != nil {
		c.use(r, now)
	}
}

func (c *Cache) use(r ref, now time.Duration) {
	e := &c.table.slab[r]
	e.used = now
	if e.state == Stale {
		e.state = Delay
		c.table.timers.set(c.table.slab, r, now+DelayFirstProbe)
	}
}

// release appends the frames held for r, which has a MAC now, to outs.
func (c *Cache) release(r ref, outs []Out) []Out {
	e := &c.table.slab[r]
	for _, h := range c.queues.take(r) {
		copy(h.frame, e.mac[:])
		outs = append(outs, Out{int(e.key.port), h.frame, h.vnet})
	}
	return outs
}
