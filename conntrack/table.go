package conntrack

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/dirigo-lb/dirigo/packet"
)

// DefaultMax is the bound on entries when none is configured.
const DefaultMax = 1_000_000

// ReArm is how long an entry lives on whose timer fires while it has children:
// 60*HZ in ip_vs_conn_expire.
const ReArm = Tick(60 * time.Second / TickLen)

const (
	chunk     = 64   // entries a shard takes from the slab at a time
	perShard  = 2048 // aimed-at entries of a shard when the table is full
	minShards = 64
	maxShards = 1 << 14
)

// ErrFull says that the table has as many entries as it may have, and that no half-open one
// was found to make room.
var ErrFull = errors.New("connection table is full")

// Owner hears of entries that end, so that it can give back what it counted for them.
type Owner interface {
	// Ended is called with the entry's shard locked, just before the entry is freed.
	Ended(r Ref, c *Conn)
}

// Config of a Table.
type Config struct {
	Max   int       // bound on entries; 0: DefaultMax
	Seed  [2]uint64 // of the hash; zero: random. A replay fixes it
	Owner Owner     // nil: nobody
}

// Table is the connection table. Its methods are safe for concurrent use; those of a
// Shard need its lock.
type Table struct {
	shards   []Shard
	index    []bucket        // a shard's buckets are neighbours
	conns    []Conn          // the slab
	toShard  uint            // hash >> toShard is the shard
	toBucket uint            // hash >> toBucket is the bucket
	due      []atomic.Uint32 // by shard: the Tick at which the sweep is to visit it
	free     func()
	next     atomic.Uint32 // first never used entry of the slab
	live     atomic.Int64
	noPort   atomic.Int64 // entries with FlagNoCPort
	max      int64
	seed     [2]uint64
	owner    Owner

	answers answers
	evicted atomic.Uint64

	bereft   sync.Mutex // taken inside a shard's lock, never around one
	parents  []Ref      // each held by a child that was dropped and has died: see bereave
	bereaved atomic.Int64
}

// Shard is one lock's worth of entries. No two of them share a cache line.
type Shard struct {
	shard
	_ [(64 - unsafe.Sizeof(shard{})%64) % 64]byte
}

// shard begins with what every lookup reads: 64 bytes.
type shard struct {
	mu     sync.Mutex
	t      *Table
	number uint32
	now    Tick // the caller's of Lock
	count  uint32
	unused Ref // freed entries, chained by next
	fresh  Ref // next entry of the chunk in hand
	left   uint32
	wheel  wheel
}

// New makes a table.
func New(cfg Config) (*Table, error) {
	if cfg.Max == 0 {
		cfg.Max = DefaultMax
	}
	if cfg.Max < 0 || cfg.Max > 1<<30 {
		return nil, fmt.Errorf("connection table: %d entries: must be 1 to %d", cfg.Max, 1<<30)
	}
	if cfg.Seed == [2]uint64{} {
		cfg.Seed = [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1}
	}
	n := min(max(cfg.Max/perShard, minShards), maxShards)
	n = 1 << bits.Len(uint(n-1))
	// Shards fill unevenly and keep what they freed: a quarter more address space
	// and some chunks each, of which only what is used takes memory.
	conns, freeConns, err := reserve[Conn](likely(cfg.Max, n) + cfg.Max/4 + n*3*chunk)
	if err != nil {
		return nil, err
	}
	index, freeIndex, err := reserve[bucket](max(n, 1<<bits.Len(uint(cfg.Max/bucketLoad))))
	if err != nil {
		freeConns()
		return nil, err
	}
	t := &Table{
		shards: make([]Shard, n), due: make([]atomic.Uint32, n), toShard: uint(64 - bits.TrailingZeros(uint(n))),
		index: index, toBucket: uint(64 - bits.TrailingZeros(uint(len(index)))),
		conns: conns, free: func() { freeConns(); freeIndex() },
		max: int64(cfg.Max), seed: cfg.Seed, owner: cfg.Owner,
	}
	t.next.Store(chunk) // entry 0 is "none"
	for i := range t.shards {
		t.shards[i].t, t.shards[i].number = t, uint32(i)
	}
	return t, nil
}

// likely is how many entries of the slab a full table uses: each shard has a chunk begun.
func likely(entries, shards int) int { return entries + shards*chunk }

// Populate takes the memory of a full table from the system, until ctx ends. Without it a
// page is taken when an entry on it is first used: a packet waits for that, and a flood
// makes the process grow. Workers may run meanwhile; the table must not be closed.
func (t *Table) Populate(ctx context.Context) error {
	index, conns := t.whole()
	return errors.Join(populate(ctx, index), populate(ctx, conns))
}

// Size is what Populate takes, in bytes.
func (t *Table) Size() int64 {
	index, conns := t.whole()
	return int64(len(index))*int64(unsafe.Sizeof(bucket{})) + int64(len(conns))*int64(unsafe.Sizeof(Conn{}))
}

// whole is the memory of a full table.
func (t *Table) whole() ([]bucket, []Conn) {
	return t.index, t.conns[:likely(int(t.max), len(t.shards))]
}

// Close gives the memory back. Nothing may use the table afterwards.
func (t *Table) Close() { t.free() }

// Len is the number of entries, templates included.
func (t *Table) Len() int { return int(t.live.Load()) }

// Max is the bound on Len.
func (t *Table) Max() int { return int(t.max) }

// Lock locks the shard of a client's end and returns it with the hash that its methods
// want. No lookup finds an entry that is over by now.
func (t *Table) Lock(proto uint8, client *packet.Addr, port uint16, now Tick) (*Shard, uint64) {
	h := t.hash(proto, client, port)
	s := t.shard(h)
	s.mu.Lock()
	if s.now = now; s.isDue(now) {
		budget := lockBudget
		s.advance(now, &budget)
	}
	return s, h
}

// Unlock unlocks the shard; entries may not be touched afterwards.
func (s *Shard) Unlock() { s.mu.Unlock() }

// At is the entry that r names.
func (s *Shard) At(r Ref) *Conn { return &s.t.conns[r] }

// At is the entry that r names, for a caller that counts as its child: only its atomic
// fields may be touched without its shard's lock.
func (t *Table) At(r Ref) *Conn { return &t.conns[r] }

// matchFlags is the part of the flags that a lookup compares.
const matchFlags = FlagV6 | FlagTemplate | FlagNoCPort

// In finds the connection of a packet from the client (ip_vs_conn_in_get): the newest
// of equals. It returns 0 for none; templates are never found.
func (s *Shard) In(h uint64, k *Key) Ref {
	want := family(k.V6)
	if k.ClientPort == 0 {
		want |= FlagNoCPort // an entry that waits for its port is stored under port 0
	}
	r := s.in(h, k, want)
	for s.over(r) {
		r = s.in(h, k, want)
	}
	return r
}

// Template finds the template with the client network, port 0 and virtual end of k
// (ip_vs_ct_in_get).
func (s *Shard) Template(h uint64, k *Key) Ref {
	want := family(k.V6) | FlagTemplate
	r := s.in(h, k, want)
	for s.over(r) {
		r = s.in(h, k, want)
	}
	return r
}

// over reports whether r, which was found, is over though the shard is late to end it. Then
// it has been ended, or set anew, and is to be looked for again.
func (s *Shard) over(r Ref) bool { return r != 0 && s.wheel.late && s.settle(r) }

func (s *Shard) in(h uint64, k *Key, want Flags) Ref {
	b, conns := s.t.bucket(h), s.t.conns
	for m := b.holders(tagOf(h)); m != 0; m &= m - 1 {
		if r := b.refs[lane(m)]; conns[r].isIn(k, want) {
			return r
		}
	}
	for r := b.more; r != 0; r = conns[r].next {
		if conns[r].isIn(k, want) {
			return r
		}
	}
	return 0
}

// isIn reports whether k is of a packet from c's client.
func (c *Conn) isIn(k *Key, want Flags) bool {
	return c.ClientPort == k.ClientPort && c.VirtualPort == k.OtherPort && c.Proto == k.Proto &&
		c.Flags&matchFlags == want && c.Client == k.Client && c.Virtual == k.Other
}

// Out finds the connection of a packet from a server (ip_vs_conn_out_get): its source
// is the server's end for NAT, the virtual service's for every other method.
func (s *Shard) Out(h uint64, k *Key) Ref {
	r := s.out(h, k)
	for s.over(r) {
		r = s.out(h, k)
	}
	return r
}

func (s *Shard) out(h uint64, k *Key) Ref {
	b, conns := s.t.bucket(h), s.t.conns
	for m := b.holders(tagOf(h)); m != 0; m &= m - 1 {
		if r := b.refs[lane(m)]; conns[r].isOut(k) {
			return r
		}
	}
	for r := b.more; r != 0; r = conns[r].next {
		if conns[r].isOut(k) {
			return r
		}
	}
	return 0
}

// isOut reports whether k is of a packet from c's server.
func (c *Conn) isOut(k *Key) bool {
	if c.ClientPort != k.ClientPort || c.Proto != k.Proto || c.Flags&(FlagV6|FlagTemplate) != family(k.V6) || c.Client != k.Client {
		return false
	}
	if c.Flags&FlagMethod == 0 {
		return c.DestPort == k.OtherPort && c.Dest == k.Other
	}
	return c.VirtualPort == k.OtherPort && c.Virtual == k.Other
}

func family(v6 bool) Flags {
	if v6 {
		return FlagV6
	}
	return 0
}

// Insert puts a copy of c into the shard, newest first, with its timer at now plus
// its Timeout. parent, if not 0, must be locked or otherwise kept alive by the caller
// until the child counts.
func (s *Shard) Insert(h uint64, c *Conn, parent Ref, now Tick) (Ref, error) {
	r, ok := s.alloc(now)
	if !ok {
		return 0, ErrFull
	}
	if !c.Template() {
		s.t.answers.add(c)
	}
	n := &s.t.conns[r]
	*n = *c
	n.parent, n.children = parent, 0
	if parent != 0 {
		atomic.AddUint32(&s.t.conns[parent].children, 1)
	}
	s.link(h, r)
	if n.Flags&FlagNoCPort != 0 {
		s.t.noPort.Add(1)
	}
	n.expires = now + n.Timeout
	s.add(r, n.expires, now)
	return r, nil
}

// Hold keeps entry r, whose shard the caller has locked, from expiring until Release,
// as a child would.
func (t *Table) Hold(r Ref) { atomic.AddUint32(&t.conns[r].children, 1) }

// Release ends a Hold. It needs no lock.
func (t *Table) Release(r Ref) { atomic.AddUint32(&t.conns[r].children, ^uint32(0)) }

// Touch sets r's timer to now plus its Timeout. That of a half-open entry is raised when
// others of its state in the shard have a longer one (see halfopen.go).
func (s *Shard) Touch(r Ref, now Tick) {
	c := &s.t.conns[r]
	if kind, ok := c.half(); ok && c.Timeout > 0 { // 0: dropped, and not revived by that
		s.touchHalf(r, kind, now)
		return
	}
	at := now + c.Timeout
	if at.Before(c.expires) {
		s.wheel.remove(s.t.conns, r)
		s.add(r, at, now)
	}
	c.expires = at
}

// Expire makes r's timer fire now, that is at the shard's next turn
// (ip_vs_conn_expire_now). An entry with children lives on.
func (s *Shard) Expire(r Ref, now Tick) {
	c := &s.t.conns[r]
	if c.Children() > 0 || !now.Before(c.expires) { // in use, or due already
		return
	}
	s.wheel.remove(s.t.conns, r)
	c.expires = now
	s.add(r, now, now)
}

// Disable makes template r unfindable until it expires (ip_vs_check_template): its
// virtual and server ports become 65535, as listings show.
func (s *Shard) Disable(r Ref) {
	c := &s.t.conns[r]
	c.VirtualPort, c.DestPort = 0xffff, 0xffff
}

// link puts r first in its bucket.
func (s *Shard) link(h uint64, r Ref) {
	s.t.bucket(h).push(s.t.conns, r, tagOf(h))
	s.count++
}

// unlink takes r out of its bucket.
func (s *Shard) unlink(r Ref) {
	s.t.bucket(s.t.hashOf(&s.t.conns[r])).remove(s.t, r)
	s.count--
}

// alloc takes a free entry. When the table holds its maximum, a half-open one must make
// room, or there is none.
func (s *Shard) alloc(now Tick) (Ref, bool) {
	if s.t.live.Add(1) > s.t.max && !s.makeRoom(now) {
		s.t.live.Add(-1)
		return 0, false
	}
	if r := s.unused; r != 0 {
		s.unused = s.t.conns[r].next
		return r, true
	}
	if s.left == 0 {
		end := s.t.next.Add(chunk)
		if int(end) > len(s.t.conns) { // so uneven that even the reserve is used up
			s.t.next.Add(^uint32(chunk - 1))
			s.t.live.Add(-1)
			return 0, false
		}
		s.fresh, s.left = Ref(end-chunk), chunk
	}
	r := s.fresh
	s.fresh++
	s.left--
	return r, true
}

// bereave remembers parent r of a dropped entry that has died, whose shard may be another:
// it may have to end too. The dead child goes on to count, so that r stays until then.
func (t *Table) bereave(r Ref) {
	t.bereft.Lock()
	defer t.bereft.Unlock()
	t.parents = append(t.parents, r)
	t.bereaved.Store(int64(len(t.parents)))
}

// dropParents ends the parents whose last child was dropped, unless they are templates
// of clients that were answered (ip_vs_conn_expire). A parent's own parent follows it.
func (t *Table) dropParents(now Tick) {
	t.bereft.Lock()
	parents := t.parents
	t.parents = nil
	t.bereaved.Store(0)
	t.bereft.Unlock()
	for _, r := range parents {
		c := &t.conns[r] // alive, and these three of it do not change
		s, _ := t.Lock(c.Proto, &c.Client, c.ClientPort, now)
		t.Release(r)
		if c.Children() == 0 && !(c.Template() && c.Assured()) {
			s.drop(r, now)
		}
		s.Unlock()
	}
}

// drop is Expire for an entry that is sacrificed (ip_vs_conn_del). Its timeout of 0 says
// so until it dies, or a packet revives it.
func (s *Shard) drop(r Ref, now Tick) {
	s.t.conns[r].Timeout = 0
	s.Expire(r, now)
}

// Each calls f with a copy of every entry, newest first in a bucket, until f returns
// false. One shard at a time is copied under its lock, so f may take its time.
func (t *Table) Each(f func(r Ref, c *Conn) bool) {
	var page []Conn
	var refs []Ref
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		page, refs = page[:0], refs[:0]
		for r := range s.all(i) {
			page, refs = append(page, t.conns[r].copy()), append(refs, r)
		}
		s.mu.Unlock()
		for j := range page {
			if !f(refs[j], &page[j]) {
				return
			}
		}
	}
}

// Scan calls f with every entry while its shard is locked: f looks at it and is done.
func (t *Table) Scan(f func(c *Conn)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for r := range s.all(i) {
			f(&t.conns[r])
		}
		s.mu.Unlock()
	}
}

// ExpireIf makes the timer of every entry for which f is true fire now, entries with
// children excepted, and returns how many.
func (t *Table) ExpireIf(now Tick, f func(c *Conn) bool) (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for r := range s.all(i) {
			if c := &t.conns[r]; c.Children() == 0 && now.Before(c.expires) && f(c) {
				s.Expire(r, now)
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

// Sample looks at one part in share of all buckets, drawn at random with repetition
// by draw (uniform in [0, n)), and drops every entry there for which f is true: its timer
// fires now, and when it was the last child of its parent that may end too
// (ip_vs_random_dropentry). It returns how many.
func (t *Table) Sample(now Tick, share int, draw func(n uint64) uint64, f func(c *Conn) bool) (n int) {
	for range len(t.index) / share {
		i := int(draw(uint64(len(t.shards))))
		s, buckets := &t.shards[i], t.buckets(i)
		s.mu.Lock()
		for r := range buckets[draw(uint64(len(buckets)))].all(t.conns) {
			if f(&t.conns[r]) {
				s.drop(r, now)
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

// WaitsForPort reports whether any entry waits for its client's port, so that a failed
// In is worth repeating with port 0.
func (t *Table) WaitsForPort() bool { return t.noPort.Load() > 0 }
