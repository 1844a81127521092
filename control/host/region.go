package host

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// number is a value of any dimension, 128 bits, so that addresses of both families,
// protocols and ports compare and step alike. Two words compare ten times as fast as
// sixteen bytes, and painting compares every region with every rule.
type number struct{ hi, lo uint64 }

func (n number) less(o number) bool { return n.hi < o.hi || n.hi == o.hi && n.lo < o.lo }

// bytes is the number in network byte order.
func (n number) bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return b
}

func (n number) before() number {
	if n.lo == 0 {
		n.hi--
	}
	n.lo--
	return n
}

func (n number) after() number {
	if n.lo++; n.lo == 0 {
		n.hi++
	}
	return n
}

// span is an inclusive range.
type span struct{ lo, hi number }

// Dimensions of a box, the most selective first, so that most pairs of boxes are told
// apart by one comparison.
const (
	dstAddr = iota
	srcAddr
	ipProto
	srcPort
	dstPort
	dims
)

// box is a set of packets: those within every span.
type box [dims]span

func (s *span) meets(o *span) bool { return !o.hi.less(s.lo) && !s.hi.less(o.lo) }

func (b *box) meets(o *box) bool {
	for d := range b {
		if !b[d].meets(&o[d]) {
			return false
		}
	}
	return true
}

// minus splits b, which meets o, into what is outside o (disjoint pieces, at most two
// for each dimension) and what is inside.
func (b box) minus(o *box) (outside []box, inside box) {
	for d := range b {
		if b[d].lo.less(o[d].lo) {
			piece := b
			piece[d].hi = o[d].lo.before()
			outside = append(outside, piece)
			b[d].lo = o[d].lo
		}
		if o[d].hi.less(b[d].hi) {
			piece := b
			piece[d].lo = o[d].hi.after()
			outside = append(outside, piece)
			b[d].hi = o[d].hi
		}
	}
	return outside, b
}

// region is a set of packets with a mark.
type region struct {
	box
	mark uint32
}

// canvas is a list of disjoint regions; what is in none of them has mark 0.
type canvas []region

// paint gives the packets of b the mark (old &^ mask) | value, as a MARK target does.
func (c canvas) paint(b box, value, mask uint32) canvas {
	first := c.firstMeeting(&b)
	if first < 0 {
		return append(c, region{b, value & mask})
	}
	rest := []box{b}
	next := slices.Clone(c[:first])
	for i := first; i < len(c); i++ {
		r := &c[i]
		if !r.meets(&b) {
			next = append(next, *r)
			continue
		}
		outside, inside := r.minus(&b)
		for _, o := range outside {
			next = append(next, region{o, r.mark})
		}
		next = append(next, region{inside, r.mark&^mask | value&mask})
		var left []box
		for _, piece := range rest {
			if !piece.meets(&inside) {
				left = append(left, piece)
				continue
			}
			outside, _ := piece.minus(&inside)
			left = append(left, outside...)
		}
		rest = left
	}
	for _, piece := range rest {
		next = append(next, region{piece, value & mask})
	}
	return next
}

// firstMeeting is the index of the first region that meets b, or -1.
func (c canvas) firstMeeting(b *box) int {
	for i := range c { // by index: a region is 168 bytes to copy
		if c[i].meets(b) {
			return i
		}
	}
	return -1
}

// add puts b into a set of disjoint boxes.
func (c canvas) add(b box) canvas { return c.paint(b, 1, 1) }

func numberOf(a netip.Addr) number {
	b := packet.AddrFrom(a)
	return number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func small(v uint16) number { return number{lo: uint64(v)} }

func smallSpan(lo, hi uint16) span { return span{small(lo), small(hi)} }

func addrSpan(p netip.Prefix) span {
	host := p.Addr().BitLen() - p.Bits() // bits after the prefix
	mask := number{lo: ^uint64(0) >> max(0, 64-host)}
	if host > 64 {
		mask.hi = ^uint64(0) >> (128 - host)
	}
	n := numberOf(p.Addr())
	return span{number{n.hi &^ mask.hi, n.lo &^ mask.lo}, number{n.hi | mask.hi, n.lo | mask.lo}}
}

var (
	anyProto = smallSpan(0, 255)
	anyPort  = smallSpan(0, 65535)
	anyAddr4 = addrSpan(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	anyAddr6 = addrSpan(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
)

// markBoxes are the packets of one family that a mark rule matches.
func markBoxes(m *conf.Mark, v6 bool) (out []box) {
	if m.V6 != v6 && !m.AnyFamily {
		return nil
	}
	proto := anyProto
	if m.Proto != 0 {
		proto = smallSpan(uint16(m.Proto), uint16(m.Proto))
	}
	for _, src := range addrSpans(m.Source, v6) {
		for _, dst := range addrSpans(m.Dest, v6) {
			for _, sport := range portSpans(m.SourcePorts) {
				for _, dport := range portSpans(m.DestPorts) {
					out = append(out, box{dstAddr: dst, srcAddr: src, ipProto: proto, srcPort: sport, dstPort: dport})
				}
			}
		}
	}
	return out
}

func anyAddr(v6 bool) span {
	if v6 {
		return anyAddr6
	}
	return anyAddr4
}

// addrSpans are the prefixes of one family; no prefix at all means any address.
func addrSpans(ps []netip.Prefix, v6 bool) (out []span) {
	if len(ps) == 0 {
		return []span{anyAddr(v6)}
	}
	for _, p := range ps {
		if p.IsValid() && p.Addr().Unmap().Is6() == v6 {
			out = append(out, addrSpan(p))
		}
	}
	return out
}

func portSpans(rs []conf.PortRange) (out []span) {
	if len(rs) == 0 {
		return []span{anyPort}
	}
	for _, r := range rs {
		if r.First <= r.Last {
			out = append(out, smallSpan(r.First, r.Last))
		}
	}
	return out
}
