package sched

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// Constants of ip_vs_lblc.c and ip_vs_lblcr.c.
const (
	cacheBits    = 10              // IP_VS_LBLC_TAB_BITS
	cacheSize    = 16 << cacheBits // max_size: entries beyond it are collected early
	cachePeriod  = time.Minute     // CHECK_EXPIRE_INTERVAL
	cacheIdle    = 6 * time.Minute // ENTRY_TIMEOUT, for early collection
	fullCheckOne = 30              // COUNT_FOR_FULL_EXPIRATION: ticks for each full check

	// modernLimit is how many entries the kernels of 2026 create; servers are still
	// chosen beyond it, but not remembered.
	modernLimit = cacheSize * 3 / 2

	// classicLimit is our own bound where the older kernels have none but memory:
	// destinations are named by whoever sends packets. About 100 bytes each.
	classicLimit = 1 << 20
)

// cache is what lblc and lblcr remember of destinations, with the kernel's rules of
// collection. T must not hold pointers, so that a large cache costs the garbage
// collector nothing.
//
// Pick's side is guarded by mu: entry pointers are good until it is unlocked or an
// entry is added. Housekeep has one caller and locks one bucket's work at a time.
type cache[T any] struct {
	mu      sync.Mutex
	index   map[packet.Addr]uint32 // place in entries
	bucket  [1 << cacheBits]uint32 // chains of entries: they give collection its order
	entries slab[entry[T]]
	counted int     // tbl->entries: as the kernel counts them, see lblc.remember
	drop    func(T) // gives back what a deleted entry refers to

	limit      int // entries beyond which none is added
	expiration atomic.Int64

	armed   bool
	next    time.Duration // when the next tick is due
	counter int           // ticks since the last full check
	rover   uint32        // last bucket that was visited
}

type entry[T any] struct {
	dst  packet.Addr
	used time.Duration
	next uint32 // in its bucket
	val  T
}

func (c *cache[T]) init(modern bool, expiration time.Duration, drop func(T)) {
	c.index = make(map[packet.Addr]uint32)
	c.drop = drop
	c.counter = 1
	c.limit = classicLimit
	if modern {
		c.limit = modernLimit
	}
	c.SetExpiration(expiration)
}

func (c *cache[T]) SetExpiration(d time.Duration) { c.expiration.Store(int64(d)) }

// find returns what is remembered of a destination, nil for nothing. The caller holds mu.
func (c *cache[T]) find(dst packet.Addr) *entry[T] {
	if i, ok := c.index[dst]; ok {
		return c.entries.at(i)
	}
	return nil
}

// add makes an entry for the request's destination, which has none, used now; nil if
// the cache is full. The caller holds mu.
func (c *cache[T]) add(r *Request) *entry[T] {
	if len(c.index) >= c.limit {
		return nil
	}
	i := c.entries.take()
	head := &c.bucket[hash32(fold(r.Dst, r.V6), cacheBits)]
	e := c.entries.at(i)
	e.dst, e.used, e.next = r.Dst, r.Now, *head
	*head = i
	c.index[r.Dst] = i
	c.counted++
	return e
}

// Housekeep runs the ticks that are due, each at its own instant, so that the result
// does not depend on how often it is called. The first call starts the clock.
func (c *cache[T]) Housekeep(now time.Duration) {
	if !c.armed {
		c.armed, c.next = true, now+cachePeriod
	}
	for ; now >= c.next; c.next += cachePeriod {
		c.tick(c.next)
	}
}

// tick is ip_vs_lblc_check_expire. A full check comes on every 30th tick, except that
// ticks which collect early do not count.
func (c *cache[T]) tick(now time.Duration) {
	c.mu.Lock()
	over := c.counted - cacheSize
	c.mu.Unlock()
	switch {
	case c.counter%fullCheckOne == 0:
		c.sweep(now-time.Duration(c.expiration.Load()), math.MaxInt)
		c.counter = 1
	case over <= 0:
		c.counter++
	default:
		c.sweep(now-cacheIdle, min(over*4/3, cacheSize/2))
	}
}

// sweep visits the buckets after rover, once around at most, and deletes the entries
// last used at or before since, until a bucket ends with goal reached.
func (c *cache[T]) sweep(since time.Duration, goal int) {
	for range c.bucket {
		c.rover = (c.rover + 1) % uint32(len(c.bucket))
		if goal -= c.sweepBucket(c.rover, since); goal <= 0 {
			return
		}
	}
}

func (c *cache[T]) sweepBucket(b uint32, since time.Duration) (deleted int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for link := &c.bucket[b]; *link != 0; {
		i := *link
		e := c.entries.at(i)
		if e.used > since {
			link = &e.next
			continue
		}
		*link = e.next
		delete(c.index, e.dst)
		c.drop(e.val)
		c.entries.give(i)
		c.counted--
		deleted++
	}
	return deleted
}

// crowded reports whether s has more active connections than its weight while some
// server of the service, whatever its state, is not half used (is_overloaded in
// ip_vs_lblc.c; not to be confused with the OVERLOAD flag).
func crowded(s *Server, servers []*Server) bool {
	if s.Active.Load() <= s.Weight.Load() {
		return false
	}
	for _, m := range servers {
		if int64(m.Active.Load())*2 < int64(m.Weight.Load()) {
			return true
		}
	}
	return false
}
