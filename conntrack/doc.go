// Package conntrack is the connection table: who talks to which real server, in what
// state, until when. It knows shards, entries, TCP and UDP states, timeouts and
// persistence templates; it must not know schedulers, sockets or clocks (an instant is
// an argument).
//
// Entries live in one slab outside the Go heap and hold no pointers, so ten million
// of them cost the garbage collector nothing. A shard owns the buckets and the
// timer wheel of its entries; which shard is decided by the client's address, port and
// protocol alone, which both directions of a connection share.
package conntrack
