package dataplane

import (
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// markRule is a compiled conf.Mark.
type markRule struct {
	conf.Mark
	source, dest []prefix
	port         int // index of the port it must come in by; -1: any
}

// prefix is an address range in 16-byte form.
type prefix struct {
	addr packet.Addr
	bits int // within the family: 0..32 or 0..128
	v6   bool
}

func newPrefix(p netip.Prefix) prefix {
	p = p.Masked()
	return prefix{packet.AddrFrom(p.Addr()), p.Bits(), p.Addr().Is6()}
}

func (p *prefix) contains(a packet.Addr) bool { return a.Is4() != p.v6 && a.Mask(p.bits) == p.addr }

// mark classifies a packet as the rules of a mangle PREROUTING chain would: every
// matching rule changes the mark, and the walk goes on. It starts at 0.
func (t *Table) mark(f *packet.Frame) uint32 { return t.markOf(f.Port, &f.Flow) }

// markOf is mark for a packet of these ends that comes in by a port.
func (t *Table) markOf(port uint16, fl *packet.Flow) (mark uint32) {
	for i := range t.marks {
		if r := &t.marks[i]; r.matches(port, fl) {
			mark = mark&^r.Mask | r.Value
		}
	}
	return mark
}

func (r *markRule) matches(port uint16, fl *packet.Flow) bool {
	if !r.AnyFamily && r.V6 != fl.V6 || r.Proto != 0 && r.Proto != fl.Proto {
		return false
	}
	if r.port >= 0 && r.port != int(port) {
		return false
	}
	return within(r.source, fl.Src) && within(r.dest, fl.Dst) &&
		inRange(r.SourcePorts, fl.SrcPort) && inRange(r.DestPorts, fl.DstPort)
}

func within(ps []prefix, a packet.Addr) bool {
	for i := range ps {
		if ps[i].contains(a) {
			return true
		}
	}
	return len(ps) == 0
}

func inRange(rs []conf.PortRange, p uint16) bool {
	for _, r := range rs {
		if r.First <= p && p <= r.Last {
			return true
		}
	}
	return len(rs) == 0
}
