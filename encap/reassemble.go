package encap

import (
	"encoding/binary"
	"hash/maphash"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// Outcome says what became of a fragment. It is a counter's name, not an error.
type Outcome uint8

const (
	FragIncomplete Outcome = iota // kept: others are missing
	FragComplete                  // the whole packet is in dst
	FragDuplicate                 // all its bytes are there already: dropped alone
	FragOverlap                   // some of its bytes are there already: its datagram is dropped (RFC 5722)
	FragTooMany                   // its datagram came in more pieces than Limits.Fragments: dropped
	FragOversize                  // its datagram would be longer than an IP packet, or than dst: dropped
	FragBadLength                 // empty, no multiple of 8 (IPv6), or an end that contradicts others
	FragBadECN                    // congestion marks that no honest path makes (RFC 3168 section 5.3): datagram dropped
	FragMalformed                 // not a fragment, or what came together is no packet: see Result.Bad
	FragExpired                   // counted only: a datagram whose time was over
	FragEvicted                   // counted only: a datagram that made room for a newer one

	// NumOutcomes is how many values there are, for tables of counters.
	NumOutcomes = int(iota)
)

var outcomeNames = [NumOutcomes]string{"incomplete", "complete", "duplicate", "overlap", "too_many", "oversize",
	"bad_length", "bad_ecn", "malformed", "expired", "evicted"}

// String is the value's name in lower_snake words, as counters are labelled.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}

// Limits bound a Reassembler. A zero field takes the default in brackets.
type Limits struct {
	Bytes     int           // of fragments kept, in blocks of 512; at least 128 KiB (4 MiB: ipfrag_high_thresh)
	Datagrams int           // incomplete at a time (4096)
	Fragments int           // of one datagram, at most 8192 (1024)
	Timeout4  time.Duration // from a datagram's first fragment on (30 s: ipfrag_time)
	Timeout6  time.Duration // (60 s: nf_conntrack_frag6_timeout, RFC 8200 section 4.5)
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Bytes:     max(orElse(l.Bytes, 4<<20), 128<<10),
		Datagrams: orElse(l.Datagrams, 4096),
		Fragments: min(orElse(l.Fragments, 1024), 8192),
		Timeout4:  orElse(l.Timeout4, 30*time.Second),
		Timeout6:  orElse(l.Timeout6, 60*time.Second),
	}
}

func orElse[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// Received is how a reassembled packet came in, which ResetReceived makes again on the
// way out.
type Received struct {
	V6     bool
	MaxLen int      // IP length of the longest fragment, its headers included (IPCB frag_max_size)
	DF     bool     // the longest fragment had DF (IPSKB_FRAG_PMTU); always false for IPv6
	Pieces []uint16 // bytes of data of each fragment, in order; lent until the next Add
}

// Result is what Add found. Received is set by FragComplete.
type Result struct {
	Outcome
	Bad packet.Bad // why Parse refused the whole packet, by FragMalformed
	Received
}

// A Reassembler puts fragments together to whole packets, as ip_defrag and
// nf_ct_frag6_gather do. It belongs to one worker. All memory is allocated by
// NewReassembler (the system gives it when it is first touched); when it is full the
// oldest datagram makes room, where the kernel would refuse the newest.
//
// Fragments that came in by different ports never meet: whoever forges one must be on
// the packet's own path.
type Reassembler struct {
	limits Limits
	seed   maphash.Seed // so that nobody can aim at one chain
	store
	pieces []uint16 // of the last complete packet
	count  [NumOutcomes]uint64
}

// NewReassembler returns an empty Reassembler.
func NewReassembler(l Limits) *Reassembler {
	l = l.withDefaults()
	return &Reassembler{
		limits: l,
		seed:   maphash.MakeSeed(),
		store:  newStore(l.Bytes/blockSize, l.Datagrams),
		pieces: make([]uint16, 0, l.Fragments),
	}
}

// MaxReassembled is the length of a buffer that holds any reassembled packet: headroom,
// Ethernet header, and the longest IPv6 packet without jumbo payload (RFC 8200 section 3).
const MaxReassembled = packet.Headroom + 14 + ip6Header + maxPayload6

const (
	maxPayload6 = 65535 // IPv6 payload length field
	maxLength4  = 65535 // IPv4 total length field
)

// Add takes a fragment that Parse accepted (f.Fragment()) at the instant now, which
// never goes back. f is lent: what is needed of it is copied. When it completes its
// packet, dst, with a Buf of its own that the caller owns (MaxReassembled bytes are
// always enough), becomes that packet behind packet.Headroom free bytes, parsed, with
// the headers and the port of the first fragment; else it means nothing. dst may be f's
// Frame only if their buffers differ.
//
// The IPv4 header gets the whole length, no offset, and DF if the longest fragment had
// it; the IPv6 fragment header is gone. CE in one fragment is CE of the packet. TTL,
// identification and options are the first fragment's (ip_frag_reasm).
func (r *Reassembler) Add(now time.Duration, f, dst *packet.Frame) Result {
	r.Expire(now)
	res := Result{Outcome: FragMalformed}
	var g fragment
	if g.read(f) {
		res = r.add(now, &g, f, dst)
	}
	r.count[res.Outcome]++
	return res
}

// Expire drops the datagrams whose time is over at the instant now and returns how many
// they were. Add calls it too; a worker without fragments should, now and then.
func (r *Reassembler) Expire(now time.Duration) (n int) {
	for family, timeout := range [2]time.Duration{r.limits.Timeout4, r.limits.Timeout6} {
		for {
			oldest := r.ages[family].oldest
			if oldest == 0 || now-r.datagrams[oldest].born < timeout {
				break
			}
			r.drop(oldest)
			r.count[FragExpired]++
			n++
		}
	}
	return n
}

// Count is how many fragments had this outcome; of FragExpired and FragEvicted, how many
// datagrams. It never goes down.
func (r *Reassembler) Count(o Outcome) uint64 { return r.count[o] }

// Len is how many datagrams are incomplete.
func (r *Reassembler) Len() int { return r.live }

// fragment is what matters of a frame that is one. The slice is lent.
type fragment struct {
	key      fragmentKey
	data     []byte
	off, end uint32 // of data in the unfragmented packet
	head     uint32 // bytes before the data that the whole packet repeats, from f.Start
	length   uint32 // IP length
	more, df bool
	v6       bool
	ecn      uint8
	names    uint32 // IPv6: place in the head of the byte that says what follows it
	next     uint8  // IPv6: what that byte says in the whole packet
}

// read fills g from f; false for a frame that is no fragment.
func (g *fragment) read(f *packet.Frame) bool {
	g.key = fragmentKey{src: f.Flow.Src, dst: f.Flow.Dst, port: f.Port}
	if f.Flow.V6 {
		return g.read6(f)
	}
	ip := f.Buf[f.L3:]
	g.key.id, g.key.proto = uint32(binary.BigEndian.Uint16(ip[4:])), f.Flow.Proto
	g.data = f.Buf[f.L4:f.IPEnd]
	g.off, g.more, g.df = uint32(f.FragOff), f.MoreFrag, f.DF
	if g.more { // the kernel cuts off what is not a multiple of 8 (ip_frag_queue)
		g.data = g.data[:len(g.data)&^7]
	}
	g.end = g.off + uint32(len(g.data))
	g.head = f.L4 - f.Start
	g.length = f.L4 - f.L3 + uint32(len(g.data))
	g.ecn = ip[1] & 3
	return f.Fragment()
}

// add finds or makes the fragment's datagram.
func (r *Reassembler) add(now time.Duration, g *fragment, f, dst *packet.Frame) Result {
	need := blocksFor(uint32(len(g.data))) // below 128 KiB with the header
	if g.off == 0 {
		need += blocksFor(g.head)
	}
	for r.freeBlocks < need { // may evict the fragment's own datagram, so it comes before the search
		r.evict()
	}
	hash := maphash.Comparable(r.seed, g.key)
	slot := r.find(&g.key, hash)
	if slot == 0 {
		if r.live == r.limits.Datagrams {
			r.evict()
		}
		slot = r.create(&g.key, hash, now, g.v6)
	}
	d := &r.datagrams[slot]
	outcome, fatal := r.accept(d, g, f)
	res := Result{Outcome: outcome}
	if outcome == FragIncomplete && d.head != 0 && d.lastIn && d.have == d.end {
		res, fatal = r.assemble(d, dst), true
	}
	if fatal || d.first == 0 {
		r.drop(slot)
	}
	return res
}

// accept judges g, in the order of ip_frag_queue and nf_ct_frag6_queue, and keeps it.
// fatal means that its datagram cannot be completed any more. A contradiction costs an
// IPv4 datagram its life, but only the fragment in IPv6.
func (r *Reassembler) accept(d *datagram, g *fragment, f *packet.Frame) (o Outcome, fatal bool) {
	limit := uint32(maxLength4 - ip4Header)
	if g.v6 {
		limit = maxPayload6
	}
	switch {
	case g.end > limit:
		return FragOversize, !g.v6
	case g.more && g.end%8 != 0: // RFC 8200 section 4.5
		return FragBadLength, true
	case !g.more && g.end < d.end, d.lastIn && g.end > d.end:
		return FragBadLength, !g.v6
	}
	d.end = max(d.end, g.end)
	d.lastIn = d.lastIn || !g.more
	if g.end == g.off {
		return FragBadLength, !g.v6
	}
	prev, joined, o := r.position(d, g.off, g.end)
	if o != FragIncomplete {
		return o, o == FragOverlap
	}
	if int(d.count) == r.limits.Fragments {
		return FragTooMany, true
	}
	r.insert(d, prev, piece{off: uint16(g.off), size: uint16(len(g.data)), joined: joined}, g.data)
	d.count++
	d.have += uint32(len(g.data))
	d.ecn |= 1 << g.ecn
	d.maxLen = max(d.maxLen, g.length)
	if g.df {
		d.maxDF = max(d.maxDF, g.length)
	}
	if g.off == 0 {
		d.head, d.headLen = r.put(f.Buf[f.Start:f.Start+g.head]), g.head
		d.l3, d.l2, d.names, d.next = f.L3-f.Start, f.L2, g.names, g.next
	}
	return FragIncomplete, false
}

// position finds where off to end belongs among the pieces of d: behind prev, joined to
// it if it came in order at the end. A run of joined pieces counts as one piece when
// another overlaps it (inet_frag_queue_insert): what lies wholly in it is a duplicate.
func (r *Reassembler) position(d *datagram, off, end uint32) (prev uint32, joined bool, o Outcome) {
	if d.last == 0 {
		return 0, false, FragIncomplete
	}
	if last := r.blocks[d.last].piece.end(); last < end { // the common case
		if off < last {
			return 0, false, FragOverlap
		}
		return d.last, off == last, FragIncomplete
	}
	for at := d.first; at != 0; {
		p := &r.blocks[at].piece
		start, runEnd := uint32(p.off), p.end()
		tail := at
		for at = p.next; at != 0 && r.blocks[at].piece.joined; at = r.blocks[at].piece.next {
			tail, runEnd = at, r.blocks[at].piece.end()
		}
		switch {
		case end <= start:
			return prev, false, FragIncomplete
		case off >= runEnd:
			prev = tail
		case off >= start && end <= runEnd:
			return 0, false, FragDuplicate
		default:
			return 0, false, FragOverlap
		}
	}
	return prev, false, FragIncomplete
}

// assemble writes the whole packet of d into dst.
func (r *Reassembler) assemble(d *datagram, dst *packet.Frame) Result {
	ecn, ok := joinECN(d.ecn)
	if !ok {
		return Result{Outcome: FragBadECN}
	}
	length := d.headLen - d.l3 + d.end // of the IP packet
	total := uint32(packet.Headroom) + d.headLen + d.end
	if !d.v6 && length > maxLength4 || d.v6 && length > ip6Header+maxPayload6 || total > uint32(len(dst.Buf)) {
		return Result{Outcome: FragOversize}
	}
	*dst = packet.Frame{Buf: dst.Buf, Start: packet.Headroom, End: total, Port: d.key.port, L2: d.l2}
	at := dst.Buf[packet.Headroom:total]
	r.get(at[:d.headLen], d.head)
	head, data := at[:d.headLen], at[d.headLen:]
	r.pieces = r.pieces[:0]
	for i := d.first; i != 0; {
		p := &r.blocks[i].piece
		r.get(data[p.off:p.end()], i)
		r.pieces = append(r.pieces, p.size)
		i = p.next
	}
	df := d.maxDF == d.maxLen
	if ip := head[d.l3:]; d.v6 {
		finish6(head, ip, d, ecn, length)
	} else {
		finish4(ip, df, ecn, length)
	}
	if bad := dst.Parse(); bad != packet.None {
		return Result{Outcome: FragMalformed, Bad: bad}
	}
	return Result{Outcome: FragComplete, Received: Received{V6: d.v6, MaxLen: int(d.maxLen), DF: df, Pieces: r.pieces}}
}

// finish4 makes the first fragment's IPv4 header that of the whole packet.
func finish4(ip []byte, df bool, ecn uint8, length uint32) {
	ip[1] |= ecn
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	field := uint16(0)
	if df {
		field = dontFragment
	}
	binary.BigEndian.PutUint16(ip[6:], field)
	putIPChecksum(ip)
}

// joinECN says what the ECN fields that were seen, a bit for each value, add to the
// first fragment's field. RFC 3168 section 5.3: CE in one of them is kept; a packet
// that is partly not ECN-capable was tampered with (ip_frag_ecn_table).
func joinECN(seen uint8) (ecn uint8, ok bool) {
	const notECT, ce = 1 << 0, 1 << 3
	switch {
	case seen&notECT != 0:
		return 0, seen == notECT
	case seen&ce != 0:
		return 3, true
	}
	return 0, true
}

// evict drops the oldest datagram of all.
func (r *Reassembler) evict() {
	oldest, other := r.ages[0].oldest, r.ages[1].oldest
	if oldest == 0 || other != 0 && r.datagrams[other].born < r.datagrams[oldest].born {
		oldest = other
	}
	r.drop(oldest)
	r.count[FragEvicted]++
}
