package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// A Fragmenter cuts a packet that is longer than its link's MTU into IP fragments:
// IPv4 as any router does (RFC 791 section 3.2), IPv6 as the sender of the packet
// (RFC 8200 section 4.5), which the director is of tunnel packets and of those it has
// reassembled. The zero Fragmenter has nothing to cut; it is used like a Segmenter.
type Fragmenter struct {
	// ID is the identification of the next IPv6 packet that is cut; each Reset for
	// IPv6 adds one. It should begin at random: RFC 7739 section 4.
	ID uint32

	f       *packet.Frame
	head    uint32 // bytes before the data, from f.Start: link and IP headers that each fragment repeats
	next    uint32 // first byte in f.Buf not yet cut
	room    uint32 // bytes of data that a fragment of full length holds
	off     uint32 // offset of next in the unfragmented packet
	id      uint32 // of this packet, IPv6
	first   uint32 // bytes of data in the first fragment, when later says how to cut
	later   []uint16
	df      bool // IPv4: fragments have DF
	running bool
}

const (
	moreFragments  = 0x2000 // MF in the IPv4 flags and offset field
	dontFragment   = 0x4000 // DF in the same field
	fragmentHeader = 8      // IPv6: RFC 8200 section 4.5
	ip6MinMTU      = 1280   // RFC 8200 section 5
)

// Reset takes a parsed packet, which must not change until the last Next, and the
// bytes of IP packet the link takes. It returns false when f may not or cannot be cut:
// it fits, DF is set (always so for IPv6) and ignoreDF is not, f is a super-frame, an
// IPv6 fragment or a fragment beyond 64 KB, or mtu has no room for all headers and 8
// bytes of data. The kernel ignores DF for packets that IPVS forwards, after it has
// judged their length itself. Fragments of a packet whose DF is ignored have it clear
// (ip_do_fragment). An unfinished transport checksum is finished first, in f.
func (g *Fragmenter) Reset(f *packet.Frame, mtu int, ignoreDF bool) bool {
	*g = Fragmenter{ID: g.ID}
	if f.DF && !ignoreDF || f.IPLen() <= mtu {
		return false
	}
	return g.begin(f, mtu)
}

// ResetReceived is Reset for a packet that a Reassembler put together from what was
// says and that has not changed its length since, but for tunnel headers before it. It
// goes out in the pieces it came in (ip_do_fragment and ip6_fragment with a frag_list),
// and where a tunnel header leaves no room for that, in pieces of the greatest length
// that was received and that the link takes. It returns false when f leaves whole, or
// cannot be cut as Reset says; the caller has judged its length before (TooBig, or for
// IPv6 was.MaxLen greater than mtu: packet too big). was.Pieces must not change until
// the last Next.
//
// Whether f must be cut at all is the kernel's rule too: an IPv4 packet always
// (ip_finish_output), an IPv6 packet that is longer than its longest fragment was
// (ip6_finish_output). A tunnel with an outer IPv6 header, or from one family into the
// other, forgets the received length, as ip_vs_tunnel_xmit does with the skb's control
// block, and only cuts what the link does not take. DF stays only where the pieces had
// to be cut anew.
func (g *Fragmenter) ResetReceived(f *packet.Frame, mtu int, was Received) bool {
	*g = Fragmenter{ID: g.ID}
	if len(was.Pieces) == 0 {
		return false
	}
	v6 := f.Flow.V6
	head := f.L4 - f.L3
	if v6 {
		head, _ = unfragmentable(f)
	}
	first := f.IPEnd - f.L3 - head // shrinks to what is not in later pieces
	for _, n := range was.Pieces[1:] {
		if uint32(n) > first {
			return false // not the packet that was received
		}
		first -= uint32(n)
	}
	limit, whole := mtu, f.IPLen() <= mtu
	if v6 == was.V6 && (!v6 || first == uint32(was.Pieces[0])) {
		limit = was.MaxLen
		if whole = v6 && whole && f.IPLen() <= limit; v6 {
			limit = max(limit, ip6MinMTU)
		}
		limit = min(limit, mtu)
	}
	if whole || !g.begin(f, limit) {
		return false
	}
	if g.fits(first, was.Pieces[1:]) {
		g.first, g.later = first, was.Pieces[1:]
		return true
	}
	g.df = was.DF && !v6
	g.running = f.IPLen() > limit
	return g.running
}

// fits reports whether pieces of these lengths can be fragments as they are.
func (g *Fragmenter) fits(first uint32, later []uint16) bool {
	if first > g.room || first%8 != 0 || len(later) == 0 {
		return false
	}
	for i, n := range later {
		if uint32(n) > g.room || n%8 != 0 && i != len(later)-1 {
			return false
		}
	}
	return true
}

// begin takes f, whatever its length, to be cut into fragments of mtu bytes.
func (g *Fragmenter) begin(f *packet.Frame, mtu int) bool {
	if super(f) {
		return false
	}
	head, added := f.L4-f.L3, uint32(0) // IP headers each fragment repeats, and gets
	least := head + 8
	if f.Flow.V6 {
		if f.Fragment() {
			return false
		}
		head, _ = unfragmentable(f)
		added = fragmentHeader
		least += added
	}
	if mtu < int(least) || uint32(f.FragOff)+f.IPEnd-f.L3-head > 0xffff {
		return false
	}
	f.FinishChecksum()
	*g = Fragmenter{
		ID:      g.ID,
		f:       f,
		head:    f.L3 + head - f.Start,
		next:    f.L3 + head,
		room:    uint32(mtu) - head - added,
		off:     uint32(f.FragOff),
		running: true,
	}
	if f.Flow.V6 {
		g.id = g.ID
		g.ID++
	}
	return true
}

// Size is the length a buffer must have to hold any fragment, headroom included.
func (g *Fragmenter) Size() int {
	if !g.running {
		return 0
	}
	return int(packet.Headroom + g.head + fragmentHeader + g.room)
}

// Next writes the next fragment into dst.Buf, which the caller owns, behind
// packet.Headroom free bytes, and sets all other fields of dst. It returns false when
// there is no fragment left, or dst.Buf is shorter than the fragment needs (Size).
func (g *Fragmenter) Next(dst *packet.Frame) bool {
	if !g.running {
		return false
	}
	f, size := g.f, g.size()
	gap := uint32(0)
	if f.Flow.V6 {
		gap = fragmentHeader
	}
	if !place(dst, f, g.head, gap, g.next, size) {
		return false
	}
	last := g.next+size == f.IPEnd
	dst.FragOff = uint16(g.off)
	dst.MoreFrag = !last || f.MoreFrag
	setIPLength(dst)
	if f.Flow.V6 {
		g.finishIPv6(dst)
	} else {
		g.finishIPv4(dst)
	}
	if g.off != 0 {
		dst.L4 = dst.IPEnd - size
		dst.Flow.SrcPort, dst.Flow.DstPort = 0, 0
	}
	if dst.IPEnd-dst.L4 < tcpHeader || g.off != 0 {
		dst.TCPFlags = 0
	}
	if g.first != 0 && g.off != 0 {
		g.later = g.later[1:]
	}
	g.next += size
	g.off += size
	g.running = !last
	return true
}

// size is how many bytes of data the next fragment takes.
func (g *Fragmenter) size() uint32 {
	switch left := g.f.IPEnd - g.next; {
	case g.first != 0 && g.off == 0:
		return g.first
	case g.first != 0:
		return uint32(g.later[0])
	case left > g.room:
		return g.room &^ 7 // offsets count units of 8 bytes
	default:
		return left
	}
}

// finishIPv4 writes offset and flags. In later fragments the options that are not to
// be copied (RFC 791 section 3.1, copied flag) become no-operations, so that the header
// keeps its length, as ip_options_fragment does.
func (g *Fragmenter) finishIPv4(dst *packet.Frame) {
	ip := dst.Buf[dst.L3 : dst.Start+g.head]
	field := uint16(g.off / 8)
	if dst.MoreFrag {
		field |= moreFragments
	}
	if dst.DF = g.df; g.df {
		field |= dontFragment
	}
	binary.BigEndian.PutUint16(ip[6:], field)
	if g.off != 0 {
		blankOptions(ip[ip4Header:])
	}
	putIPChecksum(ip)
}

// blankOptions overwrites the IPv4 options that belong into the first fragment only.
func blankOptions(opts []byte) {
	const end, nop, copied = 0, 1, 0x80
	for len(opts) > 0 && opts[0] != end {
		n := 1
		if opts[0] != nop {
			if len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts) {
				return // malformed: what follows cannot be told apart
			}
			n = int(opts[1])
			if opts[0]&copied == 0 {
				for i := range opts[:n] {
					opts[i] = nop
				}
			}
		}
		opts = opts[n:]
	}
}

// finishIPv6 writes the fragment header (RFC 8200 section 4.5) behind the headers that
// each fragment repeats.
//
//	| next header | reserved | offset in units of 8, 2 bits reserved, M | identification |
func (g *Fragmenter) finishIPv6(dst *packet.Frame) {
	_, nextHeader := unfragmentable(g.f)
	proto := &dst.Buf[nextHeader-g.f.Start+dst.Start]
	h := dst.Buf[dst.Start+g.head:][:fragmentHeader]
	h[0], h[1] = *proto, 0
	*proto = 44 // IPPROTO_FRAGMENT
	field := uint16(g.off)
	if dst.MoreFrag {
		field |= 1
	}
	binary.BigEndian.PutUint16(h[2:], field)
	binary.BigEndian.PutUint32(h[4:], g.id)
	dst.L4 += fragmentHeader
	if g.off != 0 {
		dst.Flow.Proto = h[0] // may name another extension header
	}
}

// unfragmentable measures what every fragment of an IPv6 packet repeats: the IPv6
// header and the extension headers up to and with a hop-by-hop and a routing header
// (RFC 8200 section 4.5). It returns their length and the place in f.Buf of the byte
// that names what follows.
func unfragmentable(f *packet.Frame) (length, nextHeader uint32) {
	const hopByHop, routing, destination = 0, 43, 60
	length, nextHeader = ip6Header, f.L3+6
	at, name := f.L3+ip6Header, f.L3+6
	for at+8 <= f.L4 {
		kind := f.Buf[name]
		if kind != hopByHop && kind != routing && kind != destination {
			break
		}
		name = at
		at += (uint32(f.Buf[at+1]) + 1) * 8
		if at > f.L4 {
			break
		}
		if kind != destination { // destination options count only before a routing header
			length, nextHeader = at-f.L3, name
		}
	}
	return length, nextHeader
}
