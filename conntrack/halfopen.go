package conntrack

import "github.com/dirigo-lb/dirigo/packet"

// While the table is full, a flood of connection requests must not keep others out: the
// oldest half-open entry of the new one's shard makes room for it, so that a client has as
// long to finish its handshake as the flood takes to fill the table. Entries that are more
// than half open are never ended for that. As long as the table is not full nothing of this is
// seen. (The kernel's table has no bound; its conntrack does the like: early_drop.)
//
// Half-open entries wait for their timer not in the rings but in a queue for each state,
// which has one timeout: so the order of their last packets is that of their expiry. When
// the timeout is shortened, those that come after live on as long as those from before.
// The queue is lazy as the rings are: an entry that has gone on to another state leaves it
// when its turn comes.

// queue holds the half-open entries of a shard that are in one state, in a slot of their
// own, the youngest first.
type queue struct {
	oldest Ref
	due    Tick // no entry is to fire before
	last   Tick // the youngest's expiry when it was put in
}

// Kinds of half-open entries: the states that the drop_entry defence takes for such, in the
// order in which they make room.
const (
	halfSynRecv = iota
	halfSynAck
	halfInit1
	halfInit
	halfKinds
)

// half is which kind of half-open entry c is. Templates have no state, and are none.
func (c *Conn) half() (kind int, ok bool) {
	switch c.Proto {
	case packet.TCP:
		switch c.State {
		case TCPSynRecv:
			return halfSynRecv, true
		case TCPSynAck:
			return halfSynAck, true
		}
	case packet.SCTP:
		switch c.State {
		case SCTPInit1:
			return halfInit1, true
		case SCTPInit:
			return halfInit, true
		}
	}
	return 0, false
}

// addHalf puts entry r into the queue of a kind, behind all others, and returns the tick at
// which it is to fire: at, or with the youngest there when that is later, because somebody
// has shortened the timeout since. Elsewhere evict would not find it.
func (w *wheel) addHalf(conns []Conn, r Ref, kind int, at, now Tick) Tick {
	w.rest(at, now)
	q := &w.half[kind]
	switch {
	case q.oldest == 0:
		q.oldest, q.due = r, at
	case at.Before(q.last):
		at = q.last
	}
	q.last = at
	w.lookAt(at)
	w.push(conns, r, queues+uint32(kind))
	return at
}

// touchHalf sets the timer of r, which is half open, to now plus its Timeout, and that to
// what addHalf makes of it: expiry less Timeout stays the instant of the last packet.
func (s *Shard) touchHalf(r Ref, kind int, now Tick) {
	w, conns := &s.wheel, s.t.conns
	w.remove(conns, r)
	c := &conns[r]
	c.expires = w.addHalf(conns, r, kind, now+c.Timeout, now)
	c.Timeout = c.expires - now
	s.announce(now)
}

// fireHalf fires what is due by now in the queues, and takes out what has gone on. Each
// entry costs one of budget; it is false if that was not enough.
func (s *Shard) fireHalf(now Tick, budget *int) bool {
	w, conns := &s.wheel, s.t.conns
	for kind := range w.half {
		for q := &w.half[kind]; q.oldest != 0 && !now.Before(q.due); *budget-- {
			if *budget == 0 {
				return false
			}
			r := q.oldest
			c := &conns[r]
			if k, ok := c.half(); ok && k == kind && now.Before(c.expires) {
				q.due = c.expires
				break
			}
			w.remove(conns, r)
			if now.Before(c.expires) { // it has gone on
				s.fire(r, now)
			} else {
				s.fire(r, c.expires)
			}
		}
	}
	return true
}

// evictTries is how many entries are looked at for one that may go: some are met that have
// gone on, each of them once.
const evictTries = 64

// evict ends the oldest half-open entry of the shard in the first state that has one: those
// in SYN_RECV go before those in SYN_ACK, whatever their age. It is false if the shard has
// none, or none among the first few.
func (s *Shard) evict(now Tick) bool {
	w, conns := &s.wheel, s.t.conns
	tries := evictTries
	for kind := range w.half {
		for q := &w.half[kind]; q.oldest != 0; tries-- {
			if tries == 0 {
				return false
			}
			r := q.oldest
			c := &conns[r]
			w.remove(conns, r)
			if k, ok := c.half(); ok && k == kind && c.Children() == 0 {
				s.end(r)
				s.t.evicted.Add(1)
				return true
			}
			s.add(r, c.expires, now) // it has gone on
		}
	}
	return false
}

// neighbors is how many other shards are asked for a half-open entry.
const neighbors = 4

// makeRoom ends a half-open entry of this shard or, if it has none, of one of the next
// ones that nobody has locked.
func (s *Shard) makeRoom(now Tick) bool {
	if s.evict(now) {
		return true
	}
	for i := range neighbors {
		n := &s.t.shards[(s.number+uint32(i)+1)%uint32(len(s.t.shards))]
		if !n.mu.TryLock() {
			continue
		}
		ok := n.evict(now)
		n.mu.Unlock()
		if ok {
			return true
		}
	}
	return false
}

// Evicted is how many half-open entries have made room for new ones so far.
func (t *Table) Evicted() uint64 { return t.evicted.Load() }
