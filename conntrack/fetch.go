package conntrack

import (
	"unsafe"

	"github.com/dirigo-lb/dirigo/packet"
)

// With a million connections a lookup waits three times for main memory: for the bucket,
// for the entry it names, for the entry's shard. A worker that knows the packets it will
// look up next asks for that memory beforehand, for a whole batch at once, so that the
// waiting overlaps: FetchBucket for all of them, then FetchEntry, then the lookups.
// Fetching only touches: what the lookups find is decided by them alone.

// Hash is what FetchBucket and FetchEntry want of a client's end.
func (t *Table) Hash(proto uint8, client *packet.Addr, port uint16) uint64 {
	return t.hash(proto, client, port)
}

// FetchBucket asks for the memory of a client's shard and bucket.
func (t *Table) FetchBucket(h uint64) {
	packet.Prefetch(unsafe.Pointer(t.bucket(h)))
	packet.PrefetchWrite(unsafe.Pointer(t.shard(h))) // its lock
}

// FetchEntry asks for the memory of the newest entry that may be of a client's end. It
// reads the bucket without its lock, so it may see any mixture of what stands there before
// and after another worker's change; it only makes an address of it.
//
//go:norace
func (t *Table) FetchEntry(h uint64) {
	b := t.bucket(h)
	if m := b.holders(tagOf(h)); m != 0 {
		c := unsafe.Pointer(&t.conns[b.refs[lane(m)]])
		packet.PrefetchWrite(c) // an entry lies in two lines
		packet.PrefetchWrite(unsafe.Add(c, 64))
	}
}
