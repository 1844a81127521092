package conntrack

import (
	"iter"
	"math/bits"
	"unsafe"
)

// A bucket is one chain of the hash index in one cache line: its entries, newest first.
// Of the newest eight it has a piece of the hash, so that others' entries are not touched;
// older ones are linked by Conn.next, and few buckets have any. The index has its full size
// from the beginning and never grows, so no packet waits for that; memory is taken from the
// system as buckets are first used.
type bucket struct {
	tags [lanes / 4]uint64 // 16 bits an entry, the newest in the lowest; 0 where there is none
	refs [lanes]Ref        // without gaps
	more Ref               // the ninth newest
	_    [12]byte
}

const (
	lanes      = 8
	bucketLoad = 5 // entries a bucket when the table is full: one in 30 is beyond the eighth then
)

// A bucket that is no cache line breaks the build.
var _ [64]byte = [unsafe.Sizeof(bucket{})]byte{}

const (
	eachLane = 0x0001_0001_0001_0001
	laneTops = 0x8000_8000_8000_8000
)

// tagOf is what a bucket keeps of a hash: bits that choose neither shard nor bucket, never 0.
func tagOf(h uint64) uint64 { return h&0xffff | 1 }

// same has the top bit of every lane of w that holds tag, and now and then of one above
// such a lane that does not: what follows compares keys anyway.
func same(w, tag uint64) uint64 {
	x := w ^ tag*eachLane
	return (x - eachLane) &^ x & laneTops
}

// gather brings the top bits of four lanes down to the lowest four bits.
func gather(m uint64) uint64 { return m >> 15 * (1<<48 | 1<<33 | 1<<18 | 1<<3) >> 48 }

// holders has a bit for each lane that holds tag, the newest's lowest. No branch depends on
// where that is, which nobody could predict.
func (b *bucket) holders(tag uint64) uint64 {
	return gather(same(b.tags[0], tag)) | gather(same(b.tags[1], tag))<<4
}

// lane is the number of the lowest bit of m, which is of holders and not 0.
func lane(m uint64) int { return bits.TrailingZeros64(m) % lanes }

// push puts r first.
func (b *bucket) push(conns []Conn, r Ref, tag uint64) {
	if last := b.refs[lanes-1]; last != 0 {
		conns[last].next, b.more = b.more, last
	}
	copy(b.refs[1:], b.refs[:lanes-1])
	b.refs[0] = r
	b.tags[1] = b.tags[1]<<16 | b.tags[0]>>48
	b.tags[0] = b.tags[0]<<16 | tag
}

// remove takes r, which is there, out. The ninth newest moves up.
func (b *bucket) remove(t *Table, r Ref) {
	conns := t.conns
	for i := range b.refs {
		if b.refs[i] != r {
			continue
		}
		copy(b.refs[i:], b.refs[i+1:])
		if i >= 4 {
			keep := uint64(1)<<(16*(i-4)) - 1
			b.tags[1] = b.tags[1]&keep | b.tags[1]>>16&^keep
		} else {
			keep := uint64(1)<<(16*i) - 1
			b.tags[0] = b.tags[0]&keep | b.tags[0]>>16&^keep | b.tags[1]<<48
			b.tags[1] >>= 16
		}
		next := b.more
		if b.refs[lanes-1] = next; next != 0 {
			b.tags[1] |= tagOf(t.hashOf(&conns[next])) << 48
			b.more, conns[next].next = conns[next].next, 0
		}
		return
	}
	p := &b.more
	for *p != r {
		p = &conns[*p].next
	}
	*p, conns[r].next = conns[r].next, 0
}

// all are the entries of the bucket, newest first. They may not change places meanwhile.
func (b *bucket) all(conns []Conn) iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for _, r := range b.refs {
			if r == 0 || !yield(r) {
				return
			}
		}
		for r := b.more; r != 0; r = conns[r].next {
			if !yield(r) {
				return
			}
		}
	}
}

// bucket is where entries of hash h are. (toBucket is below 64; that it is masked spares the
// question.)
func (t *Table) bucket(h uint64) *bucket { return &t.index[h>>(t.toBucket&63)] }

// shard is where hash h is locked.
func (t *Table) shard(h uint64) *Shard { return &t.shards[h>>(t.toShard&63)] }

// buckets are a shard's part of the index.
func (t *Table) buckets(shard int) []bucket {
	n := len(t.index) / len(t.shards)
	return t.index[shard*n : (shard+1)*n]
}

// all are the entries of shard number i, newest first in a bucket.
func (s *Shard) all(i int) iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		if s.count == 0 {
			return // the buckets may never have been touched
		}
		buckets := s.t.buckets(i)
		for j := range buckets {
			for r := range buckets[j].all(s.t.conns) {
				if !yield(r) {
					return
				}
			}
		}
	}
}
