package twin

import (
	"net/netip"
	"slices"
)

// pile is what has come of a packet in pieces.
type pile struct {
	pieces []ip // in order
	end    int  // of the packet, 0 while the last piece is not there
}

// pileKey tells packets in pieces apart: RFC 791 section 3.2, RFC 8200 section 4.5.
type pileKey struct {
	src, dst netip.Addr
	id       uint32
	proto    uint8 // 0 in IPv6
}

// at is where a piece begins in its packet's data, and upTo where it ends.
func (p *ip) at() int   { return int(p.offset) * 8 }
func (p *ip) upTo() int { return p.at() + len(p.l4) }

// fate is what became of a piece.
type fate int

const (
	held    fate = iota // others are missing
	refused             // with all that was there, or as good as
	joined
)

// collect puts a piece to the others of its packet. One that overlaps another spoils
// the packet (RFC 5722 section 4; IPv4 as well: inet_frag_queue_insert); what lies within
// another is a mere duplicate.
func (t *forwarder) collect(p ip) (whole ip, f fate) {
	k := pileKey{p.src, p.dst, p.fragID, 0}
	if !p.v6 {
		k.id, k.proto = uint32(p.id), p.proto
	}
	s := t.piles[k]
	if s == nil {
		s = &pile{}
		t.piles[k] = s
	}
	spoilt := func() (ip, fate) {
		delete(t.piles, k)
		return ip{}, refused
	}
	longest := 0
	for _, q := range s.pieces {
		longest = max(longest, q.upTo())
	}
	if !p.more && p.upTo() < longest || s.end != 0 && (p.upTo() > s.end || !p.more && p.upTo() != s.end) {
		return spoilt() // no agreement on where the packet ends
	}
	for _, q := range s.pieces {
		if q.at() <= p.at() && p.upTo() <= q.upTo() {
			t.met["a duplicate of a piece"]++
			return ip{}, refused
		}
		if q.at() < p.upTo() && p.at() < q.upTo() {
			t.met["a piece that overlaps another"]++
			return spoilt()
		}
	}
	if !p.more {
		s.end = p.upTo()
	}
	s.pieces = append(s.pieces, p)
	slices.SortFunc(s.pieces, func(a, b ip) int { return a.at() - b.at() })
	have := 0
	for _, q := range s.pieces {
		if q.at() != have {
			return ip{}, held
		}
		have = q.upTo()
	}
	if s.end == 0 {
		return ip{}, held
	}
	delete(t.piles, k)
	return join(s.pieces), joined
}

// join is the packet of all its pieces: the header is the first one's, without what was
// about pieces.
func join(pieces []ip) ip {
	w := pieces[0]
	w.l4, w.wire, w.offset, w.more, w.fragID = nil, nil, 0, false, 0
	for _, q := range pieces {
		w.l4 = append(w.l4, q.l4...)
		w.lengths = append(w.lengths, len(q.l4))
		size := q.length()
		if q.v6 {
			size += 8 // the fragment header
		}
		w.largest = max(w.largest, size)
	}
	if w.flags = 0; w.v6 {
		w.next = w.proto
	}
	return w
}
