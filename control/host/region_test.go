package host

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// probe is a packet of the tests' small universe.
type probe struct {
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16
}

// slowMark says what the mark rules make of a packet, word by word: every rule in
// order, every condition any-of, mark = (mark &^ mask) | value.
func slowMark(rules []conf.Mark, port string, p probe) (mark uint32) {
	for _, m := range rules {
		anyPrefix := func(ps []netip.Prefix, a netip.Addr) bool {
			return len(ps) == 0 || slices.ContainsFunc(ps, func(x netip.Prefix) bool { return x.Contains(a) })
		}
		anyRange := func(rs []conf.PortRange, v uint16) bool {
			return len(rs) == 0 || slices.ContainsFunc(rs, func(r conf.PortRange) bool { return r.First <= v && v <= r.Last })
		}
		if (m.AnyFamily || m.V6 == p.dst.Is6()) && (m.InPort == "" || m.InPort == port) && (m.Proto == 0 || m.Proto == p.proto) &&
			anyPrefix(m.Source, p.src) && anyPrefix(m.Dest, p.dst) && anyRange(m.SourcePorts, p.sport) && anyRange(m.DestPorts, p.dport) {
			mark = mark&^m.Mask | m.Value
		}
	}
	return mark
}

// universe makes random rules and packets over few addresses and ports, so that rules
// overlap in every way.
type universe struct{ *rand.Rand }

func (u universe) addr(v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0x20, 1, 14: byte(u.Intn(2)), 15: byte(u.Intn(8))})
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(u.Intn(2)), byte(u.Intn(8))})
}

func (u universe) prefixes(v6 bool) (out []netip.Prefix) {
	for range u.Intn(3) {
		a := u.addr(v6)
		p, _ := a.Prefix(a.BitLen() - u.Intn(10))
		out = append(out, p)
	}
	return out
}

func (u universe) ports() (out []conf.PortRange) {
	for range u.Intn(3) {
		first := uint16(u.Intn(8))
		out = append(out, conf.PortRange{First: first, Last: first + uint16(u.Intn(4))})
	}
	return out
}

func (u universe) rules(n int) (out []conf.Mark) {
	for range n {
		m := conf.Mark{V6: u.Intn(2) == 0, Value: uint32(u.Intn(4)), Mask: 0xffffffff}
		if u.Intn(3) == 0 {
			m.Mask = uint32(u.Intn(4))
			m.Value &= m.Mask
		}
		if m.AnyFamily = u.Intn(4) == 0; !m.AnyFamily {
			m.Source, m.Dest = u.prefixes(m.V6), u.prefixes(m.V6)
		}
		if m.Proto = []uint8{0, packet.TCP, packet.UDP}[u.Intn(3)]; m.Proto != 0 {
			m.SourcePorts, m.DestPorts = u.ports(), u.ports()
		}
		if u.Intn(4) == 0 {
			m.InPort = "eth1"
		}
		out = append(out, m)
	}
	return out
}

func (u universe) probe() probe {
	v6 := u.Intn(2) == 0
	return probe{u.addr(v6), u.addr(v6), []uint8{packet.ICMP, packet.TCP, packet.UDP, 255}[u.Intn(4)], uint16(u.Intn(12)), uint16(u.Intn(12))}
}

func (p probe) box() (b box) {
	b[srcAddr], b[dstAddr] = span{numberOf(p.src), numberOf(p.src)}, span{numberOf(p.dst), numberOf(p.dst)}
	b[ipProto] = smallSpan(uint16(p.proto), uint16(p.proto))
	b[srcPort], b[dstPort] = smallSpan(p.sport, p.sport), smallSpan(p.dport, p.dport)
	return b
}

// The regions that mark rules are cut into say of each packet what the rules, one after
// the other, say of it; and they are disjoint, as the kernel's interval sets want them.
func TestMarkRegionsAgreeWithTheRulesInOrder(t *testing.T) {
	u := universe{rand.New(rand.NewSource(1))}
	guarded, free := 0, 0
	for round := range 300 {
		r := Rules{Marks: u.rules(1 + u.Intn(8)), Services: []conf.Service{
			{Key: conf.ServiceKey{Fwmark: 1}}, {Key: conf.ServiceKey{Fwmark: 3}}, {Key: conf.ServiceKey{Fwmark: 2, V6: true}},
		}}
		for _, port := range []string{"eth0", "eth1"} {
			tl := newTally(r.Marks, []string{port})
			for _, p := range r.pieces() {
				tl.count(&p, 1)
			}
			class := tl.classes[0]
			regions := map[bool]canvas{false: tl.toServices(setID{"mark", false, class}), true: tl.toServices(setID{"mark", true, class})}
			for _, c := range regions {
				for i := range c {
					for j := range c[:i] {
						if c[i].meets(&c[j].box) {
							t.Fatalf("round %d: regions %d and %d overlap", round, i, j)
						}
					}
				}
			}
			for range 200 {
				p := u.probe()
				mark := slowMark(r.Marks, port, p)
				want := slices.ContainsFunc(r.Services, func(s conf.Service) bool { return s.Key.Fwmark == mark && s.Key.V6 == p.dst.Is6() })
				at := p.box()
				got := slices.ContainsFunc(regions[p.dst.Is6()], func(r region) bool { return r.meets(&at) })
				if got != want {
					t.Fatalf("round %d: %+v by %s: guarded %v, want %v (mark %d)\nrules %+v", round, p, port, got, want, mark, r.Marks)
				}
				if got {
					guarded++
				} else {
					free++
				}
			}
		}
	}
	if guarded < 1000 || free < 1000 {
		t.Errorf("%d packets guarded, %d free: too one-sided to mean much", guarded, free)
	}
}

// The kernel takes whatever the rules are cut into, also as a difference to what was.
func TestKernelTakesAnyMarkRules(t *testing.T) {
	u := universe{rand.New(rand.NewSource(2))}
	ns := newNS(t)
	dummies(t, ns, "eth0", "eth1")
	services := []conf.Service{{Key: conf.ServiceKey{Fwmark: 1}, Servers: []conf.Server{{Addr: addr("10.1.1.1")}}}, {Key: conf.ServiceKey{Fwmark: 2, V6: true}}}
	g := guardIn(t, ns, "x", []string{"eth0", "eth1"}, Rules{})
	for round := range 25 {
		r := Rules{Marks: u.rules(2 + u.Intn(6)), Services: services}
		update(t, ns, g, r)
		got := sets(t, ns, "dirigo_x")
		for id, keys := range r.compile([]string{"eth0", "eth1"}) {
			if len(got[id.String()]) != len(keys) {
				t.Errorf("round %d: set %v has %d elements, want %d", round, id, len(got[id.String()]), len(keys))
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

func TestNumbersStep(t *testing.T) {
	for _, c := range []struct{ n, after string }{
		{"::", "::1"}, {"::ff", "::100"}, {"2001:db8::ffff:ffff", "2001:db8::1:0:0"}, {"255.255.255.254", "255.255.255.255"},
		{"2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::"},
	} {
		n, after := numberOf(addr(c.n)), numberOf(addr(c.after))
		if n.after() != after || after.before() != n {
			t.Errorf("%s and %s are not neighbours", c.n, c.after)
		}
	}
}

// BenchmarkMarkRegions cuts rules for as many VIPs, each with one port.
func BenchmarkMarkRegions(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		var r Rules
		for i := range n {
			a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
			r.Marks = append(r.Marks, conf.Mark{Proto: packet.TCP, Dest: []netip.Prefix{netip.PrefixFrom(a, 32)},
				DestPorts: []conf.PortRange{{First: 80, Last: 80}}, Value: 1, Mask: 0xffffffff})
		}
		r.Services = []conf.Service{{Key: conf.ServiceKey{Fwmark: 1}}}
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			for b.Loop() {
				if len(marked(r.Marks, false, "eth0")) != n {
					b.Fatal("wrong number of regions")
				}
			}
		})
	}
}
