package conntrack

import "math/bits"

// A wheel is a hierarchical timing wheel of one shard: wheelLevels rings of 64 slots,
// the first with slots of one tick, each further one with slots 64 times as long. A
// set bit says that a slot's list is not empty, so idle time is skipped, not walked.
//
// Timers are lazy: a packet only moves its entry's expiry forward. When the slot
// fires, an entry whose time has not come is put back; only an expiry that moves
// backward relinks at once. So an entry's slot never fires after its expiry.
//
// A slot that is opened becomes the ripe one, of which entries are taken one by one, and
// the next is opened when that is empty: so any amount of work can be left for later.
const (
	wheelLevels = 5 // 64^5 ticks, 49 days; longer timeouts are put back when they fire
	slotBits    = 6
	slotBit     = 1 << 31 // in timerPrev: the entry heads the slot named by the other bits

	ripe   = wheelLevels << slotBits // a slot beside the rings
	queues = ripe + 1                // the slots of the queues of half-open entries
)

type wheel struct {
	now    Tick  // every timer before this tick has fired, and up to it unless late
	due    Tick  // nothing is to be done before this tick, if count > 0 and not late
	late   bool  // work of the past was left for later
	toOpen uint8 // rings whose slot of tick now has not been opened yet
	count  uint32
	half   [halfKinds]queue
	set    [wheelLevels + 1]uint64 // the last: of slots beside the rings, which nobody reads
	slot   [queues + halfKinds]Ref
}

// add puts entry r into the slot for expiry at; now is the present tick.
func (w *wheel) add(conns []Conn, r Ref, at, now Tick) {
	w.rest(at, now)
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
	w.lookAt(at &^ (1<<(slotBits*level) - 1))
	w.push(conns, r, uint32(level)<<slotBits|i)
}

// rest makes the wheel's present that of the caller, if nothing lies between.
func (w *wheel) rest(at, now Tick) {
	if w.count == 0 {
		w.now, w.due, w.toOpen = now, at, 0
	} else if w.now.Before(now) && now.Before(w.due) && !w.late {
		w.now = now // placing relative to the present gives finer slots
	}
}

// lookAt makes t, or the next tick if that is past, one that is not skipped.
func (w *wheel) lookAt(t Tick) {
	if t.Before(w.due) {
		w.due = t
	}
	if !w.now.Before(w.due) {
		w.due = w.now + 1
	}
}

// push puts entry r first into a slot.
func (w *wheel) push(conns []Conn, r Ref, slot uint32) {
	head := w.slot[slot]
	conns[r].timerNext, conns[r].timerPrev = head, Ref(slotBit|slot)
	if head != 0 {
		conns[head].timerPrev = r
	}
	w.slot[slot] = r
	w.set[slot>>slotBits] |= 1 << (slot & 63)
	w.count++
}

// remove takes entry r out of its slot.
func (w *wheel) remove(conns []Conn, r Ref) {
	c := &conns[r]
	for i := range w.half {
		if w.half[i].oldest == r {
			if w.half[i].oldest = c.timerPrev; c.timerPrev&slotBit != 0 {
				w.half[i].oldest = 0
			}
		}
	}
	if c.timerNext != 0 {
		conns[c.timerNext].timerPrev = c.timerPrev
	}
	if c.timerPrev&slotBit != 0 {
		slot := uint32(c.timerPrev) &^ slotBit
		w.slot[slot] = c.timerNext
		if c.timerNext == 0 {
			w.set[slot>>slotBits] &^= 1 << (slot & 63)
		}
	} else {
		conns[c.timerPrev].timerNext = c.timerNext
	}
	c.timerNext, c.timerPrev = 0, 0
	w.count--
}

// open makes the next slot that has come by now the ripe one, which must be empty. It is
// false when there is none.
func (w *wheel) open(conns []Conn, now Tick) bool {
	for {
		for w.toOpen > 0 {
			w.toOpen--
			shift := slotBits * w.toOpen
			if w.now&(1<<shift-1) != 0 {
				continue
			}
			slot := uint32(w.toOpen)<<slotBits | uint32(w.now>>shift)&63
			if head := w.slot[slot]; head != 0 {
				w.slot[slot] = 0
				w.set[slot>>slotBits] &^= 1 << (slot & 63)
				w.slot[ripe] = head
				conns[head].timerPrev = slotBit | ripe
				return true
			}
		}
		w.due = w.next()
		if w.count == 0 || now.Before(w.due) {
			return false
		}
		w.now, w.toOpen = w.due, wheelLevels
	}
}

// next returns the first tick after w.now at which something is to be done.
func (w *wheel) next() Tick {
	t := w.nextSlot()
	for i := range w.half {
		if q := &w.half[i]; q.oldest != 0 && q.due.Before(t) {
			t = q.due
		}
	}
	if !w.now.Before(t) {
		t = w.now + 1
	}
	return t
}

// nextSlot returns the first tick after w.now at which a slot must be opened.
func (w *wheel) nextSlot() Tick {
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
