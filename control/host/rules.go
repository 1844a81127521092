package host

import (
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// Rules is what the guard goes by: the part of the desired state that says which frames
// are the director's. A real server that was removed while it still has connections
// should stay in Services until they end, or its answers reach the host's stack.
type Rules struct {
	Services []conf.Service
	Marks    []conf.Mark
	// LocalPorts are the ports from which the director's own connections to real servers
	// start (probes through a service, FULLNAT), where their address is the host's own: what
	// servers answer there, as themselves or as the service, is kept from the host, which
	// gets what is its own after all by the host port. The zero range means none.
	LocalPorts conf.PortRange
}

// setID names one nftables set of the guard, without the family: "vip" is "vip4" or
// "vip6" in the table.
type setID struct {
	name  string
	v6    bool
	class int // 0, or 1 + the index of a port that mark rules name; mark sets only
}

// content maps each set to its elements, each the first key and the last key of a range
// one after the other; the two are the same in a set without ranges.
type content map[setID]map[string]struct{}

func (c content) put(id setID, key string) {
	m := c[id]
	if m == nil {
		m = make(map[string]struct{})
		c[id] = m
	}
	m[key] = struct{}{}
}

// classes gives each guarded port the class of its mark sets: ports that no mark rule
// names share class 0, the others have their own, since rules with InPort differ there.
func classes(marks []conf.Mark, ports []string) []int {
	out := make([]int, len(ports))
	for i, p := range ports {
		if slices.ContainsFunc(marks, func(m conf.Mark) bool { return m.InPort == p }) {
			out[i] = i + 1
		}
	}
	return out
}

// compile says what is in each set for the guarded ports.
func (r *Rules) compile(ports []string) content {
	t := newTally(r.Marks, ports)
	for _, p := range r.pieces() {
		t.count(&p, 1)
	}
	return t.content()
}

// pieces are the services and their servers one by one.
func (r *Rules) pieces() (out []Piece) {
	for i := range r.Services {
		s := &r.Services[i]
		out = append(out, Piece{Key: s.Key})
		for j := range s.Servers {
			out = append(out, PieceOf(s.Key, &s.Servers[j]))
		}
	}
	return out
}

// followers are the protocols without ports whose packets go the way of a service's
// connections: AH and ESP go that of IKE's.
func followers(k *conf.ServiceKey) []uint16 {
	if k.Proto == packet.UDP && (k.Port == isakmp || k.Port == 0) {
		return []uint16{packet.ESP, packet.AH}
	}
	return nil
}

const isakmp = 500 // RFC 7296 section 2

// rewrites reports whether the server's answers come back through the director, to be
// given another source address.
func (p *Piece) rewrites() bool { return p.Forward == conf.NAT || p.Forward == conf.FullNAT }

// balanced are the protocols a fwmark service spreads over its servers: those with an
// ip_vs_protocol in the kernel. A NAT server's other traffic is not ours.
var balanced = []uint16{packet.TCP, packet.UDP, packet.SCTP, packet.ESP, packet.AH}

// traffic is what may lead to a mark: protocols and destination ports.
type traffic struct{ proto, ports span }

// marked evaluates the mark rules in order for what comes in by one port, exactly: the
// result is disjoint, later rules cut earlier ones, and masks combine.
func marked(marks []conf.Mark, v6 bool, port string) canvas {
	c := canvas{}
	for i := range marks {
		m := &marks[i]
		if m.InPort != "" && m.InPort != port {
			continue
		}
		for _, b := range markBoxes(m, v6) {
			c = c.paint(b, m.Value, m.Mask)
		}
	}
	return c
}

// putMarks takes in the marked packets, and their later fragments, which have no ports.
func (c content) putMarks(v6 bool, class int, m canvas) {
	frags := canvas{}
	for i := range m {
		b := m[i].box
		c.put(setID{"mark", v6, class}, b.key(v6, srcAddr, dstAddr, ipProto, srcPort, dstPort))
		b[srcPort], b[dstPort] = anyPort, anyPort
		frags = frags.add(b)
	}
	for i := range frags {
		c.put(setID{"markfrag", v6, class}, frags[i].box.key(v6, srcAddr, dstAddr, ipProto))
	}
}

func addrBox(a netip.Addr) box {
	n := numberOf(a)
	return box{srcAddr: span{n, n}}
}

// key lays out the named dimensions as the kernel concatenates them (each padded to a
// multiple of four bytes), the first keys and then the last keys.
func (b *box) key(v6 bool, which ...int) string {
	out := make([]byte, 0, 96)
	for _, end := range []bool{false, true} {
		for _, d := range which {
			n := b[d].lo.bytes()
			if end {
				n = b[d].hi.bytes()
			}
			switch {
			case d == ipProto:
				out = append(out, n[15], 0, 0, 0)
			case d == srcPort || d == dstPort:
				out = append(out, n[14], n[15], 0, 0)
			case v6:
				out = append(out, n[:]...)
			default:
				a := packet.Addr(n).As4()
				out = append(out, a[:]...)
			}
		}
	}
	return string(out)
}
