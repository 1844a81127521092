package conntrack

import "sync/atomic"

// A million entries may come due at one tick. To end them all then would hold up the
// packets for a tenth of a second, so nobody does more than a bounded part at a time: a
// worker's sweep a part of each turn, and Lock a few entries of its shard. Who looks for a
// connection in a shard that is late finds nothing that is over all the same.

const (
	lockBudget    = 4   // entries that Lock expires at most
	advanceBudget = 512 // entries that Advance expires while it holds a lock
)

// advance fires timers that are due by now, at most budget of them. It reports whether
// that was enough; otherwise the shard is late.
func (s *Shard) advance(now Tick, budget *int) bool {
	w := &s.wheel
	w.late = true
	for s.fireHalf(now, budget) {
		for r := w.slot[ripe]; r != 0; r = w.slot[ripe] {
			if *budget == 0 {
				s.announce(now)
				return false
			}
			*budget--
			w.remove(s.t.conns, r)
			s.fire(r, w.now)
		}
		if !w.open(s.t.conns, now) {
			w.late = false
			break
		}
	}
	s.announce(now)
	return !w.late
}

// add sets entry r's timer to the instant at.
func (s *Shard) add(r Ref, at, now Tick) {
	s.wheel.add(s.t.conns, r, at, now)
	s.announce(now)
}

// announce tells the sweep when the shard wants to be visited.
func (s *Shard) announce(now Tick) {
	due := s.wheel.due
	switch {
	case s.wheel.late:
		due = now
	case s.wheel.count == 0:
		due = now + 1<<30 // looked at for nothing then, in 49 days
	}
	if d := &s.t.due[s.number]; d.Load() != uint32(due) {
		d.Store(uint32(due))
	}
}

// isDue reports whether there is something to do by now.
func (s *Shard) isDue(now Tick) bool {
	return s.wheel.late || s.wheel.count > 0 && !now.Before(s.wheel.due)
}

// settle fires the timer of entry r, which was found in a late shard, if it is due, and
// reports whether it was: the entry may be gone then.
func (s *Shard) settle(r Ref) bool {
	c := &s.t.conns[r]
	if s.now.Before(c.expires) {
		return false
	}
	s.wheel.remove(s.t.conns, r)
	s.fire(r, c.expires)
	return true
}

// fire is ip_vs_conn_expire for an entry out of its slot at tick t.
func (s *Shard) fire(r Ref, t Tick) {
	c := &s.t.conns[r]
	if t.Before(c.expires) { // moved forward since, or on its way down the rings
		s.wheel.add(s.t.conns, r, c.expires, t)
		return
	}
	if c.Children() > 0 {
		c.Timeout = ReArm
		c.expires = t + ReArm
		s.wheel.add(s.t.conns, r, c.expires, t)
		return
	}
	s.end(r)
}

// end takes an entry out of the table that is out of its slot already.
func (s *Shard) end(r Ref) {
	c := &s.t.conns[r]
	s.unlink(r)
	if s.t.owner != nil {
		s.t.owner.Ended(r, c)
	}
	if c.Flags&FlagNoCPort != 0 {
		s.t.noPort.Add(-1)
	}
	switch {
	case c.parent == 0:
	case c.Timeout == 0: // dropped: only here is a timeout 0, as with the kernel
		s.t.bereave(c.parent)
	default:
		atomic.AddUint32(&s.t.conns[c.parent].children, ^uint32(0))
	}
	*c = Conn{next: s.unused}
	s.unused = r
	s.t.live.Add(-1)
}

// Advance expires all that is due by now in shards first, first+step, first+2*step, ….
func (t *Table) Advance(now Tick, first, step int) {
	w := Sweep{First: first, Step: step}
	for !w.Turn(t, now, advanceBudget) {
	}
}

// A Sweep expires what is due in shards First, First+Step, First+2*Step, … a bounded part at
// a time: workers share the table by their number and how many they are.
type Sweep struct {
	First, Step int
	next        int  // shard to go on with
	busy        bool // not through
	began       Tick
}

// Turn expires at most budget entries of those that are due by now. It reports whether
// that was enough; until then it is to be called again soon, whatever the time.
func (w *Sweep) Turn(t *Table, now Tick, budget int) bool {
	if !w.busy {
		w.next, w.busy, w.began = w.First, true, now
	}
	for ; w.next < len(t.shards); w.next += w.Step {
		if now.Before(Tick(t.due[w.next].Load())) {
			continue
		}
		s := &t.shards[w.next]
		s.mu.Lock()
		done := !s.isDue(now) || s.advance(now, &budget)
		s.announce(now)
		s.mu.Unlock()
		if !done {
			return false
		}
	}
	w.busy = false
	if t.bereaved.Load() > 0 {
		t.dropParents(now)
	}
	return w.began == now // what became due meanwhile behind its back is not done
}
