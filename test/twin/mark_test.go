package twin

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
)

// markOf is what the rules make of a packet's mark, from 0 on: iptables(8), extension
// MARK, whose targets do not end the walk.
func (n *network) markOf(port int, p *ip) (mark uint32) {
	for _, m := range n.marks {
		if m.matches(port, p) {
			mark = mark&^m.Mask | m.Value
		}
	}
	return mark
}

// markRule is one rule; without a condition of a kind every packet meets that.
type markRule struct{ conf.Mark }

func (m markRule) matches(port int, p *ip) bool {
	in := func(list []netip.Prefix, a netip.Addr) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(x netip.Prefix) bool { return x.Contains(a) })
	}
	among := func(list []conf.PortRange, n uint16) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(x conf.PortRange) bool { return x.First <= n && n <= x.Last })
	}
	if !m.AnyFamily && m.V6 != p.v6 || m.Proto != 0 && m.Proto != p.proto || m.InPort != "" && m.InPort != portNames[port] {
		return false
	}
	if !in(m.Source, p.src) || !in(m.Dest, p.dst) {
		return false
	} else if m.Proto == 0 {
		return true
	}
	return among(m.SourcePorts, p.from().Port()) && among(m.DestPorts, p.to().Port())
}

// target is where a client sends packets.
type target struct {
	proto uint8
	addr  netip.Addr
	port  uint16
}

// ranges are addresses that nobody has, for services by mark only.
var ranges = [2]netip.Prefix{netip.MustParsePrefix("10.77.0.0/24"), netip.MustParsePrefix("2001:db8:77::/120")}

// addMarks draws services by mark for a family, and rules that give packets marks.
func (n *network) addMarks(r *rand.Rand, f int) {
	v6 := f == 1
	one := func(a netip.Addr) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())} }
	whole := uint32(1<<32 - 1)
	rule := func(m conf.Mark, to ...target) {
		m.V6 = v6
		n.marks = append(n.marks, markRule{m})
		n.targets = append(n.targets, to...)
	}
	some := ranges[f].Addr().Next().Next()
	protos := []uint8{protoTCP, protoUDP, protoSCTP}
	for _, proto := range protos { // several ports, all addresses of a range
		rule(conf.Mark{Proto: proto, Dest: ranges[f : f+1], DestPorts: []conf.PortRange{{First: 80, Last: 90}, {First: 443, Last: 443}}, Value: 1, Mask: whole},
			target{proto, some, 80}, target{proto, some.Next(), 90}, target{proto, some, 443}, target{proto, some, 91})
	}
	// One address, whatever the protocol, but only from these clients or by this port.
	rule(conf.Mark{Dest: one(some.Next().Next()), Source: one(clients[f][0]), Value: 0x20, Mask: 0xf0},
		target{protoTCP, some.Next().Next(), 5000}, target{protoUDP, some.Next().Next(), 0})
	rule(conf.Mark{Dest: one(some.Next().Next()), InPort: pick(r, portNames[:]...), Value: 0x2, Mask: 0xf})
	// One that an address service has too: the mark comes first.
	rule(conf.Mark{Proto: protoTCP, Dest: one(vips[f][1]), DestPorts: []conf.PortRange{{First: 80, Last: 80}},
		SourcePorts: []conf.PortRange{{First: 40000, Last: 40004}}, Value: 3, Mask: whole}, target{protoTCP, vips[f][1], 80})
	if r.IntN(3) == 0 { // and a rule for both families, behind the others
		m := conf.Mark{AnyFamily: true, Proto: protoUDP, DestPorts: []conf.PortRange{{First: 53, Last: 53}}, Value: 0x100, Mask: 0x100}
		n.marks = append(n.marks, markRule{m})
		n.targets = append(n.targets, target{protoUDP, some, 53})
	}
	for _, mark := range []uint32{1, 2, 3, 0x22, 0x100} {
		if r.IntN(4) > 0 {
			n.services = append(n.services, newService(r, f, conf.ServiceKey{Fwmark: mark, V6: v6}))
		}
	}
}

// isV6 reports whether a service is IPv6's.
func isV6(k conf.ServiceKey) bool { return k.V6 || k.Addr.Is6() }
