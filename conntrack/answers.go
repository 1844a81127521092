package conntrack

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/dirigo-lb/dirigo/packet"
)

// answers is a set of the addresses that servers' packets may come from: of every entry
// that Out could find the end it would be found by. It may hold more, never less, so that
// most packets of clients need not be looked for among the answers. It only grows: an
// address that no entry has any more costs its packets a lookup, no wrong decision. The
// bits are read by every worker and written when a server is first used.
type answers [1 << answerBits / 64]atomic.Uint64

// answerBits is the size of the set, as a power of two: 8 KiB stay in the first cache, and
// a thousand servers fill less than a fiftieth.
const answerBits = 16

// place is the word and the bit of an address. Nobody chooses servers out of malice, and
// of a crowd only the speed suffers.
func (s *answers) place(a *packet.Addr) (*atomic.Uint64, uint64) {
	x := binary.LittleEndian.Uint64(a[:8]) ^ binary.LittleEndian.Uint64(a[8:])*0x9e3779b97f4a7c15 // 2^64 over the golden ratio
	x = x * 0xd6e8feb86659fd93 >> (64 - answerBits)
	return &s[x/64], 1 << (x % 64)
}

// add takes in the end that Out finds c by.
func (s *answers) add(c *Conn) {
	end := &c.Virtual
	if c.Flags&FlagMethod == 0 {
		end = &c.Dest
	}
	if word, bit := s.place(end); word.Load()&bit == 0 {
		word.Or(bit)
	}
}

// MayAnswer reports whether a packet from an address may belong to a connection as its
// server's (Shard.Out). False is certain as long as no entry is changed in what Out
// compares. It needs no lock.
func (t *Table) MayAnswer(from *packet.Addr) bool {
	word, bit := t.answers.place(from)
	return word.Load()&bit != 0
}
