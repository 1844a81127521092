package control

import "sync/atomic"

// feed is the bounded buffer between the workers and one reader. A worker never waits
// for the reader: what finds no room is left out and counted.
type feed[T any] struct {
	items   chan T
	most    int64 // bytes that may lie in it
	held    atomic.Int64
	dropped atomic.Uint64
}

func newFeed[T any](items int, bytes int64) *feed[T] {
	return &feed[T]{items: make(chan T, items), most: bytes}
}

// room reports whether something of so many bytes may be put, and counts it as dropped if
// not. It is asked before that something is made.
func (f *feed[T]) room(bytes int) bool {
	if len(f.items) == cap(f.items) || f.held.Load()+int64(bytes) > f.most {
		f.dropped.Add(1)
		return false
	}
	return true
}

// put adds an item of so many bytes.
func (f *feed[T]) put(item T, bytes int) {
	f.held.Add(int64(bytes))
	select {
	case f.items <- item:
	default: // other workers were faster
		f.held.Add(-int64(bytes))
		f.dropped.Add(1)
	}
}

// taken gives the bytes of a received item free.
func (f *feed[T]) taken(bytes int) { f.held.Add(-int64(bytes)) }
