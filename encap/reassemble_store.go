package encap

import (
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// A store holds the incomplete datagrams of a Reassembler: three arrays that refer to
// each other by index, so that the garbage collector has nothing to follow. Index 0 of
// each is nobody.
type store struct {
	buckets   []uint32   // first datagram of each hash chain
	datagrams []datagram // free ones are chained by next
	blocks    []block    // free ones are chained by link
	data      []byte     // blockSize bytes for each block

	freeDatagram uint32
	freeBlock    uint32
	freeBlocks   uint32
	live         int
	ages         [2]ageList // of IPv4 and IPv6, whose datagrams live for different times
}

// blockSize is a compromise: a fragment of an Ethernet frame fills three, the smallest
// one.
const blockSize = 512

// fragmentKey says which fragments belong together (RFC 791 section 3.2, RFC 8200
// section 4.5: in IPv6 the identification is unique without the protocol).
type fragmentKey struct {
	src, dst packet.Addr
	id       uint32
	port     uint16
	proto    uint8
}

type datagram struct {
	key          fragmentKey
	bucket       uint32
	chain        uint32 // next in the bucket, or next free one
	older, newer uint32
	born         time.Duration
	first, last  uint32 // pieces by offset, each named by its first block
	head         uint32 // block with the headers of the first fragment; 0: not here yet
	headLen, l3  uint32
	end          uint32 // of the unfragmented data, as far as known
	have         uint32 // bytes of it
	maxLen       uint32 // IP length of the longest fragment
	maxDF        uint32 // and of the longest with DF
	names        uint32 // IPv6, see fragment
	count        uint16
	next         uint8
	ecn          uint8 // values seen, a bit for each
	lastIn       bool
	l2, v6       bool
}

// A block holds a part of a piece. The piece's fields are those of its first block.
type block struct {
	link uint32 // next block of the same piece
	piece
}

type piece struct {
	next      uint32 // piece behind it
	off, size uint16
	joined    bool // came directly behind the piece before it, in order
}

func (p *piece) end() uint32 { return uint32(p.off) + uint32(p.size) }

// ageList orders datagrams by birth.
type ageList struct{ oldest, newest uint32 }

func newStore(blocks, datagrams int) store {
	size := 1
	for size < datagrams {
		size *= 2
	}
	s := store{
		buckets:    make([]uint32, size),
		datagrams:  make([]datagram, datagrams+1),
		blocks:     make([]block, blocks+1),
		data:       make([]byte, (blocks+1)*blockSize),
		freeBlocks: uint32(blocks),
	}
	for i := datagrams; i > 0; i-- {
		s.datagrams[i].chain, s.freeDatagram = s.freeDatagram, uint32(i)
	}
	for i := blocks; i > 0; i-- {
		s.blocks[i].link, s.freeBlock = s.freeBlock, uint32(i)
	}
	return s
}

func (s *store) find(key *fragmentKey, hash uint64) uint32 {
	at := s.buckets[hash&uint64(len(s.buckets)-1)]
	for at != 0 && s.datagrams[at].key != *key {
		at = s.datagrams[at].chain
	}
	return at
}

// create makes an empty datagram, the newest of its family. There must be a free slot.
func (s *store) create(key *fragmentKey, hash uint64, now time.Duration, v6 bool) uint32 {
	slot := s.freeDatagram
	d := &s.datagrams[slot]
	s.freeDatagram = d.chain
	bucket := uint32(hash & uint64(len(s.buckets)-1))
	age := s.age(v6)
	*d = datagram{key: *key, bucket: bucket, chain: s.buckets[bucket], older: age.newest, born: now, v6: v6}
	s.buckets[bucket] = slot
	if age.newest != 0 {
		s.datagrams[age.newest].newer = slot
	} else {
		age.oldest = slot
	}
	age.newest = slot
	s.live++
	return slot
}

func (s *store) age(v6 bool) *ageList {
	if v6 {
		return &s.ages[1]
	}
	return &s.ages[0]
}

// drop forgets a datagram and its pieces.
func (s *store) drop(slot uint32) {
	d := &s.datagrams[slot]
	for at := d.first; at != 0; {
		next := s.blocks[at].piece.next
		s.free(at)
		at = next
	}
	s.free(d.head)

	from := &s.buckets[d.bucket]
	for *from != slot {
		from = &s.datagrams[*from].chain
	}
	*from = d.chain

	age := s.age(d.v6)
	if d.older != 0 {
		s.datagrams[d.older].newer = d.newer
	} else {
		age.oldest = d.newer
	}
	if d.newer != 0 {
		s.datagrams[d.newer].older = d.older
	} else {
		age.newest = d.older
	}
	*d = datagram{chain: s.freeDatagram}
	s.freeDatagram = slot
	s.live--
}

// insert keeps data as the piece p of d, behind the piece prev, or first if prev is 0.
func (s *store) insert(d *datagram, prev uint32, p piece, data []byte) {
	at := s.put(data)
	link := &d.first
	if prev != 0 {
		link = &s.blocks[prev].piece.next
	}
	p.next, *link = *link, at
	s.blocks[at].piece = p
	if p.next == 0 {
		d.last = at
	}
}

// put copies b, which is not empty, into free blocks, of which there must be enough.
func (s *store) put(b []byte) (first uint32) {
	link := &first
	for len(b) > 0 {
		at := s.freeBlock
		s.freeBlock = s.blocks[at].link
		s.freeBlocks--
		*link, link = at, &s.blocks[at].link
		b = b[copy(s.data[at*blockSize:][:blockSize], b):]
	}
	*link = 0
	return first
}

// get fills b with what put was given.
func (s *store) get(b []byte, at uint32) {
	for ; len(b) > 0; at = s.blocks[at].link {
		b = b[copy(b, s.data[at*blockSize:][:blockSize]):]
	}
}

// free gives the blocks from at on back.
func (s *store) free(at uint32) {
	for at != 0 {
		next := s.blocks[at].link
		s.blocks[at].link, s.freeBlock = s.freeBlock, at
		s.freeBlocks++
		at = next
	}
}

func blocksFor(n uint32) uint32 { return (n + blockSize - 1) / blockSize }
