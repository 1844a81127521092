package arp

import (
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// ref is an entry's place in the slab; none is no place.
type ref int32

const none ref = -1

// key names a neighbour: the same address may have different MACs on two ports.
type key struct {
	addr packet.Addr
	port int32
}

// ageList is which of the table's lists an entry is in. Each is ordered by age, the
// oldest first, and says what is evicted before what.
type ageList uint8

const (
	failed     ageList = iota // FAILED, by failure
	incomplete                // INCOMPLETE, by first query
	resolved                  // has a MAC, by when it got it or last confirmed it
	numLists
	unlisted // static: neither aged nor evicted
)

// entry is one neighbour. It holds no pointer: the collector need not look at 65536.
type entry struct {
	key       key
	mac       packet.MAC // valid unless INCOMPLETE or FAILED
	candidate packet.MAC // announced by somebody; valid when questioned
	// proven: mac has answered a query of ours. Only another MAC's proof, or its own
	// silence when asked, undoes that.
	proven     bool
	questioned bool
	state      State
	tries      uint8 // queries or probes sent in this state
	list       ageList
	prev, next ref
	timer      int32         // place in the heap, -1 without a deadline
	due        time.Duration // the deadline
	used       time.Duration // last Used or Resolve
	confirmed  time.Duration // last proof; before one, when the entry was made
}

// table is the store of entries: a slab with an index by key, age lists, and the
// deadlines. Who owns the Cache's lock owns it.
type table struct {
	index   map[key]ref
	slab    []entry
	free    []ref
	lists   [numLists]struct{ head, tail ref }
	lengths [numLists]int
	timers  timers
}

func newTable() table {
	t := table{index: make(map[key]ref)}
	for i := range t.lists {
		t.lists[i].head, t.lists[i].tail = none, none
	}
	return t
}

// dynamic is how many entries are not static.
func (t *table) dynamic() (n int) {
	for _, l := range t.lengths {
		n += l
	}
	return n
}

// unanswered is how many entries have no MAC.
func (t *table) unanswered() int { return t.lengths[failed] + t.lengths[incomplete] }

func (t *table) find(k key) (ref, *entry) {
	if r, ok := t.index[k]; ok {
		return r, &t.slab[r]
	}
	return none, nil
}

// insert makes an unlisted entry without deadline; it must not exist. The pointer is
// good until the next insert.
func (t *table) insert(k key, now time.Duration) (ref, *entry) {
	var r ref
	if n := len(t.free); n > 0 {
		r, t.free = t.free[n-1], t.free[:n-1]
	} else {
		r = ref(len(t.slab))
		t.slab = append(t.slab, entry{})
	}
	t.index[k] = r
	t.slab[r] = entry{key: k, list: unlisted, prev: none, next: none, timer: -1, used: now, confirmed: now}
	return r, &t.slab[r]
}

func (t *table) remove(r ref) {
	t.enlist(r, unlisted)
	t.timers.clear(t.slab, r)
	delete(t.index, t.slab[r].key)
	t.slab[r] = entry{}
	t.free = append(t.free, r)
}

// enlist puts r at the young end of a list, out of the one it was in.
func (t *table) enlist(r ref, to ageList) {
	e := &t.slab[r]
	if e.list != unlisted {
		l := &t.lists[e.list]
		if e.prev == none {
			l.head = e.next
		} else {
			t.slab[e.prev].next = e.next
		}
		if e.next == none {
			l.tail = e.prev
		} else {
			t.slab[e.next].prev = e.prev
		}
		t.lengths[e.list]--
	}
	e.list, e.prev, e.next = to, none, none
	if to == unlisted {
		return
	}
	l := &t.lists[to]
	e.prev = l.tail
	if l.tail == none {
		l.head = r
	} else {
		t.slab[l.tail].next = r
	}
	l.tail = r
	t.lengths[to]++
}

// victim is the entry to evict before an unanswered one is added to a table of at
// most max, or none while there is room. Unanswered entries get at most a quarter:
// whoever makes us ask for many addresses evicts others of that kind, and never one
// that answers. Past that, who has gone longest without confirming goes first.
func (t *table) victim(max int) ref {
	crowded := t.unanswered() >= (max+3)/4
	switch {
	case !crowded && t.dynamic() < max:
		return none
	case t.lengths[failed] > 0:
		return t.lists[failed].head
	case crowded:
		return t.lists[incomplete].head
	default:
		return t.lists[resolved].head
	}
}
