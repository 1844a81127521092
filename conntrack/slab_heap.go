//go:build !linux || race

package conntrack

// newSlab makes n zeroed entries on the heap: without pointers in them the collector only
// keeps them, and the race detector sees who touches them.
func newSlab(n int) ([]Conn, func(), error) { return make([]Conn, n), func() {}, nil }
