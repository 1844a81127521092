package arp

import "time"

// Step does what is due at now and returns the frames to send: repeated queries,
// probes, announcements. It does a bounded amount; call it again while NextStep is
// not after now.
func (c *Cache) Step(now time.Duration) []Out {
	c.mu.Lock()
	defer c.unlock()
	outs := c.ready
	c.ready = nil
	for n := 0; n < stepTimers && len(c.table.timers) > 0; n++ {
		r := c.table.timers[0]
		if c.table.slab[r].due > now {
			break
		}
		outs = c.expire(r, now, outs)
	}
	return c.sendAnnouncements(now, outs)
}

// NextStep is the instant at which Step next has something to do: in the past if
// already, Never if there is nothing. Any other call may bring it nearer.
func (c *Cache) NextStep() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ready) > 0 {
		return 0
	}
	next := c.announce.due()
	if len(c.table.timers) > 0 {
		next = min(next, c.table.slab[c.table.timers[0]].due)
	}
	return next
}

// expire serves the deadline of r. Every path sets a later deadline or none.
func (c *Cache) expire(r ref, now time.Duration, outs []Out) []Out {
	e := &c.table.slab[r]
	switch e.state {
	case Incomplete:
		if e.tries >= McastSolicit {
			c.counters[Unresolved]++
			c.fail(r, now)
			return outs
		}
		e.tries++
		c.deadline(r, now+Retrans)
		return c.ask(r, outs)

	case Reachable:
		if e.questioned {
			return c.probe(r, now, outs)
		}
		if now-e.used <= DelayFirstProbe { // as neigh_timer_handler: in use, so no need to wait for the next use
			e.state = Delay
			c.deadline(r, now+DelayFirstProbe)
			return outs
		}
		c.stale(r, now)
		return outs

	case Delay:
		return c.probe(r, now, outs)

	case Probe:
		if e.tries < e.probes() {
			e.tries++
			c.deadline(r, now+e.probeInterval())
			return c.ask(r, outs)
		}
		if e.questioned {
			return c.acceptCandidate(r, now, outs)
		}
		c.counters[Unreachable]++
		c.changed = true
		c.fail(r, now)
		return outs
	}
	// Stale or Failed. A neighbour used again has another state, and a deadline with it.
	c.counters[Expired]++
	c.forget(r)
	return outs
}

func (c *Cache) deadline(r ref, due time.Duration) { c.table.timers.set(c.table.slab, r, due) }

// stale makes r STALE: its MAC stays in use, and its next use leads to a probe.
func (c *Cache) stale(r ref, now time.Duration) {
	c.table.slab[r].state = Stale
	c.deadline(r, now+GCStale)
}

// fail makes r FAILED and drops the frames that wait for it.
func (c *Cache) fail(r ref, now time.Duration) {
	e := &c.table.slab[r]
	e.state, e.proven, e.questioned = Failed, false, false
	c.counters[QueueDropped] += uint64(c.queues.purge(r))
	c.table.enlist(r, failed)
	c.deadline(r, now+GCStale)
}

// probe begins to ask r's MAC by unicast whether it still has the address.
func (c *Cache) probe(r ref, now time.Duration, outs []Out) []Out {
	e := &c.table.slab[r]
	e.state, e.tries = Probe, 1
	c.deadline(r, now+e.probeInterval())
	return c.ask(r, outs)
}

func (e *entry) probes() uint8 {
	if e.questioned {
		return VerifySolicit
	}
	return UcastSolicit
}

func (e *entry) probeInterval() time.Duration {
	if e.questioned {
		return VerifyInterval
	}
	return Retrans
}

// acceptCandidate gives r the MAC that was announced while its own stayed silent, and
// asks the new one to prove itself.
func (c *Cache) acceptCandidate(r ref, now time.Duration, outs []Out) []Out {
	e := &c.table.slab[r]
	e.mac, e.proven, e.questioned = e.candidate, false, false
	c.counters[Moved]++
	c.changed = true
	return c.probe(r, now, outs)
}

// ask appends the query r's state calls for: to everybody for an INCOMPLETE one, else
// to its MAC alone. Without a source address there is none to send, and the neighbour
// runs into its failure.
func (c *Cache) ask(r ref, outs []Out) []Out {
	e := &c.table.slab[r]
	p := c.port(int(e.key.port))
	if p == nil {
		return outs
	}
	src, ok := p.source(e.key.addr)
	if !ok {
		c.counters[NoSource]++
		return outs
	}
	out := Out{Port: int(e.key.port)}
	if e.state == Incomplete {
		c.counters[Queries]++
		out.Frame = query(p.mac, src, e.key.addr)
	} else {
		c.counters[Probes]++
		out.Frame = probe(e.mac, p.mac, src, e.key.addr)
	}
	return append(outs, out)
}
