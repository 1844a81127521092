package arp

import (
	"cmp"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// State is what is known of a neighbour, by the kernel's names (NUD_* in
// linux/neighbour.h).
type State uint8

const (
	Incomplete State = iota + 1 // asked for, nothing known yet
	Reachable                   // answered within the reachable time
	Stale                       // known, not confirmed lately; used as it is
	Delay                       // stale and in use: probed unless something confirms it
	Probe                       // being probed by unicast; still used
	Failed                      // did not answer; asked again when next wanted
	Permanent                   // static binding
)

// String is the word ip-neighbour(8) prints.
func (s State) String() string {
	switch s {
	case Incomplete:
		return "INCOMPLETE"
	case Reachable:
		return "REACHABLE"
	case Stale:
		return "STALE"
	case Delay:
		return "DELAY"
	case Probe:
		return "PROBE"
	case Failed:
		return "FAILED"
	case Permanent:
		return "PERMANENT"
	}
	return "NONE"
}

func (s State) hasMAC() bool { return s != 0 && s != Incomplete && s != Failed }

// Config bounds a Cache. A zero field means its default.
type Config struct {
	MaxEntries    int           // dynamic entries; default 65536. At most a quarter may be unanswered ones.
	QueueFrames   int           // frames held for one address; default 64
	QueueBytes    int           // bytes held for one address; default 212992 (unres_qlen_bytes)
	QueueTotal    int           // bytes held for all addresses; default 8 MiB
	Reachable     time.Duration // default 30 s (base_reachable_time_ms)
	Announcements int           // frames that announce a VIP; default 2, negative for none
	Router        bool          // set the R flag of advertisements (RFC 4861 section 4.4): some hosts use a VIP as default router
}

// Out is a frame to send by a port: a whole Ethernet frame without FCS, which the
// receiver of the Out owns. Vnet is zero except for frames that ResolveVnet was given.
type Out struct {
	Port  int
	Frame []byte
	Vnet  packet.Vnet
}

// Static is a binding that is never asked for, changed, evicted or expired.
type Static struct {
	Port int
	Addr packet.Addr
	MAC  packet.MAC
}

// Entry is one neighbour, for listing.
type Entry struct {
	Port  int
	Addr  packet.Addr
	MAC   packet.MAC // zero in states Incomplete and Failed
	State State
	Age   time.Duration // since the last confirmation; before one, since the entry was made; 0 if static
}

// Cache is the neighbour cache and responder of all ports of a director. All methods
// are safe for concurrent use; instants should not go backwards by more than workers'
// clocks differ.
type Cache struct {
	generation atomic.Uint64

	mu       sync.Mutex
	cfg      Config
	ports    []port
	owned    map[packet.Addr]int // how many ports have a VIP
	table    table
	queues   queues
	ready    []Out // frames freed by SetStatic, for the next Step
	announce announcer
	counters Counters
	changed  bool // an answer of Lookup changed since the lock was taken
}

// New returns an empty cache without ports.
func New(cfg Config) *Cache {
	cfg.MaxEntries = cmp.Or(max(cfg.MaxEntries, 0), defaultMaxEntries)
	cfg.QueueFrames = cmp.Or(max(cfg.QueueFrames, 0), defaultQueueFrames)
	cfg.QueueBytes = cmp.Or(max(cfg.QueueBytes, 0), defaultQueueBytes)
	cfg.QueueTotal = cmp.Or(max(cfg.QueueTotal, 0), defaultQueueTotal)
	cfg.Reachable = cmp.Or(max(cfg.Reachable, 0), ReachableTime)
	cfg.Announcements = cmp.Or(cfg.Announcements, defaultAnnouncements)
	return &Cache{
		cfg:    cfg,
		table:  newTable(),
		queues: newQueues(cfg.QueueFrames, cfg.QueueBytes, cfg.QueueTotal),
	}
}

// Lookup returns the MAC of addr on port, if one is known. It changes nothing and
// allocates nothing; a caller that keeps the answer, positive or not, may do so while
// Generation stays the same and calls Used for it.
func (c *Cache) Lookup(port int, addr packet.Addr) (packet.MAC, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, e := c.table.find(key{addr, int32(port)}); e != nil && e.state.hasMAC() {
		return e.mac, true
	}
	return packet.MAC{}, false
}

// Generation changes whenever an answer of Lookup may have changed, after the change.
// Read it before the Lookup whose answer is kept.
func (c *Cache) Generation() uint64 { return c.generation.Load() }

// unlock ends a method that may have changed answers.
func (c *Cache) unlock() {
	if c.changed {
		c.changed = false
		c.generation.Add(1)
	}
	c.mu.Unlock()
}

// SetStatic replaces the static bindings. Entries of bindings that are gone are
// forgotten. Frames waiting for an address that is now bound leave at the next Step.
func (c *Cache) SetStatic(bindings []Static) {
	c.mu.Lock()
	defer c.unlock()
	want := make(map[key]bool, len(bindings))
	for _, s := range bindings {
		want[key{s.Addr, int32(s.Port)}] = true
	}
	for i := range c.table.slab {
		if e := &c.table.slab[i]; e.state == Permanent && !want[e.key] {
			c.forget(ref(i))
		}
	}
	for _, s := range bindings {
		k := key{s.Addr, int32(s.Port)}
		r, e := c.table.find(k)
		if e == nil {
			r, e = c.table.insert(k, 0)
		}
		c.changed = c.changed || !e.state.hasMAC() || e.mac != s.MAC
		c.table.enlist(r, unlisted)
		c.table.timers.clear(c.table.slab, r)
		e.state, e.mac, e.questioned = Permanent, s.MAC, false
		c.ready = c.release(r, c.ready)
	}
}

// forget removes an entry and the frames that wait for it.
func (c *Cache) forget(r ref) {
	c.changed = c.changed || c.table.slab[r].state.hasMAC()
	c.counters[QueueDropped] += uint64(c.queues.purge(r))
	c.table.remove(r)
}

// Counters returns the counts since New.
func (c *Cache) Counters() Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counters
}

// Entries lists the neighbours as they were when the iteration began, by port and
// address. The loop's body may call the cache.
func (c *Cache) Entries(now time.Duration) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, e := range c.snapshot(now) {
			if !yield(e) {
				return
			}
		}
	}
}

func (c *Cache) snapshot(now time.Duration) []Entry {
	c.mu.Lock()
	all := make([]Entry, 0, len(c.table.index))
	for _, r := range c.table.index {
		e := &c.table.slab[r]
		listed := Entry{Port: int(e.key.port), Addr: e.key.addr, State: e.state, Age: max(now-e.confirmed, 0)}
		if e.state.hasMAC() {
			listed.MAC = e.mac
		}
		if e.state == Permanent {
			listed.Age = 0
		}
		all = append(all, listed)
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), slices.Compare(a.Addr[:], b.Addr[:]))
	})
	return all
}
