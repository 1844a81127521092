package conntrack

import "math/bits"

// A wheel is a hierarchical timing wheel of one shard: wheelLevels rings of 64 slots,
// the first with slots of one tick, each further one with slots 64 times as long. A
// set bit says that a slot's list is not empty, so idle time is skipped, not walked.
//
// Timers are lazy: a packet only moves its entry's expiry forward. When the slot
// fires, an entry whose time has not come is put back; only an expiry that moves
// backward relinks at once. So an entry's slot never fires after its expiry.
const (
	wheelLevels = 5 // 64^5 ticks, 49 days; longer timeouts are put back when they fire
	slotBits    = 6
	slotBit     = 1 << 31 // in timerPrev: the entry heads the slot named by the other bits
)

type wheel struct {
	now   Tick // every timer up to and including this tick has fired
	due   Tick // nothing is to be done before this tick, if count > 0
	count uint32
	set   [wheelLevels]uint64
	slot  [wheelLevels << slotBits]Ref
}

// add puts entry r into the slot for expiry at; now is the present tick.
func (w *wheel) add(conns []Conn, r Ref, at, now Tick) {
	if w.count == 0 {
		w.now, w.due = now, at
	} else if w.now.Before(now) && now.Before(w.due) {
		w.now = now // nothing lies between: placing relative to the present gives finer slots
	}
	if !w.now.Before(at) {
		at = w.now + 1 // due already: the next tick
	}
	delta := at - w.now
	level := 0
	for level < wheelLevels-1 && delta >= 1<<(slotBits*(level+1)) {
		level++
	}
	if delta >= 1<<(slotBits*wheelLevels) {
		at = w.now + 1<<(slotBits*wheelLevels) - 1
	}
	i := uint32(at>>(slotBits*level)) & 63
	// A slot of a higher ring is opened when its first tick comes.
	if start := at &^ (1<<(slotBits*level) - 1); start.Before(w.due) {
		w.due = start
	}
	if !w.now.Before(w.due) {
		w.due = w.now + 1
	}
	idx := uint32(level)<<slotBits | i
	head := w.slot[idx]
	conns[r].timerNext, conns[r].timerPrev = head, Ref(slotBit|idx)
	if head != 0 {
		conns[head].timerPrev = r
	}
	w.slot[idx] = r
	w.set[level] |= 1 << i
	w.count++
}

// remove takes entry r out of its slot.
func (w *wheel) remove(conns []Conn, r Ref) {
	c := &conns[r]
	if c.timerNext != 0 {
		conns[c.timerNext].timerPrev = c.timerPrev
	}
	if c.timerPrev&slotBit != 0 {
		idx := uint32(c.timerPrev) &^ slotBit
		w.slot[idx] = c.timerNext
		if c.timerNext == 0 {
			w.set[idx>>slotBits] &^= 1 << (idx & 63)
		}
	} else {
		conns[c.timerPrev].timerNext = c.timerNext
	}
	c.timerNext, c.timerPrev = 0, 0
	w.count--
}

// take empties slot i of a level and returns its list, linked by timerNext.
func (w *wheel) take(level int, i uint32) Ref {
	idx := uint32(level)<<slotBits | i
	head := w.slot[idx]
	w.slot[idx] = 0
	w.set[level] &^= 1 << i
	return head
}

// next returns the first tick after w.now at which a slot must be opened.
func (w *wheel) next() Tick {
	t := w.now
	for level := range wheelLevels {
		// The rest of this ring's present turn, after the slot that holds t.
		i := uint32(t>>(slotBits*level)) & 63
		if rest := w.set[level] >> i >> 1; rest != 0 {
			return (t>>(slotBits*level) + Tick(bits.TrailingZeros64(rest)) + 1) << (slotBits * level)
		}
		if w.set[level] != 0 { // slots of the next turn: look again when it begins
			return (t>>(slotBits*(level+1)) + 1) << (slotBits * (level + 1))
		}
	}
	return t + 1<<30
}
