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
	// LocalPorts are the ports from which the director's FULLNAT connections to real
	// servers start, where their address is the host's own; they have to be outside
	// net.ipv4.ip_local_port_range. The zero range means none.
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
func (r *Rules) classes(ports []string) []int {
	out := make([]int, len(ports))
	for i, p := range ports {
		if slices.ContainsFunc(r.Marks, func(m conf.Mark) bool { return m.InPort == p }) {
			out[i] = i + 1
		}
	}
	return out
}

// compile says what is in each set for the guarded ports.
func (r *Rules) compile(ports []string) content {
	c := content{}
	for _, v6 := range []bool{false, true} {
		for _, t := range fieldsOf(v6).icmpErrors {
			c.put(setID{name: "icmperror", v6: v6}, string([]byte{t, t}))
		}
		replies := canvas{} // of real servers that keep the packet's own port
		kinds := map[uint32][]traffic{}
		for i, class := range r.classes(ports) {
			if class == 0 && slices.Contains(r.classes(ports[:i]), 0) {
				continue // shared with an earlier port
			}
			m := r.marked(v6, ports[i])
			c.putMarks(v6, class, m)
			for i := range m {
				if k := (traffic{m[i].box[ipProto], m[i].box[dstPort]}); !slices.Contains(kinds[m[i].mark], k) {
					kinds[m[i].mark] = append(kinds[m[i].mark], k)
				}
			}
		}
		for i := range r.Services {
			s := &r.Services[i]
			switch {
			case s.Key.Fwmark != 0:
				if s.Key.V6 == v6 {
					replies = fwmarkReplies(c, replies, s, kinds[s.Key.Fwmark])
				}
			case s.Key.Addr.IsValid() && s.Key.Addr.Unmap().Is6() == v6:
				replies = addressReplies(c, replies, s)
				c.putVIP(v6, s)
			}
		}
		for i := range replies {
			b := &replies[i].box
			c.put(setID{name: "replyrange", v6: v6}, b.key(v6, srcAddr, ipProto, srcPort))
		}
	}
	return c
}

// putVIP takes in the address of a service, and the service itself for a VIP that is
// the host's own address: there the host keeps the other ports. (A box's source stands
// for the address and port in question here, whichever end of a frame they are.)
func (c content) putVIP(v6 bool, s *conf.Service) {
	vip, proto := addrBox(s.Key.Addr), s.Key.Proto
	c.put(setID{name: "vip", v6: v6}, vip.key(v6, srcAddr))
	for _, p := range followers(&s.Key) {
		vip[ipProto] = smallSpan(p, p)
		c.put(setID{name: "allports", v6: v6}, vip.key(v6, srcAddr, ipProto))
	}
	vip[ipProto] = smallSpan(uint16(proto), uint16(proto))
	if s.Key.Port == 0 {
		c.put(setID{name: "allports", v6: v6}, vip.key(v6, srcAddr, ipProto))
		return
	}
	vip[srcPort] = smallSpan(s.Key.Port, s.Key.Port)
	c.put(setID{name: "service", v6: v6}, vip.key(v6, srcAddr, ipProto, srcPort))
}

// addressReplies takes in the answers of the servers of a service with an address.
func addressReplies(c content, replies canvas, s *conf.Service) canvas {
	for i := range s.Servers {
		srv := s.Servers[i]
		if !rewrites(&srv) {
			continue
		}
		replies = c.putReply(replies, &srv, smallSpan(uint16(s.Key.Proto), uint16(s.Key.Proto)), anyPort)
		for _, p := range followers(&s.Key) {
			srv.Port = 0
			replies = c.putReply(replies, &srv, smallSpan(p, p), anyPort)
		}
	}
	return replies
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

// traffic is what may lead to a mark: protocols and destination ports.
type traffic struct{ proto, ports span }

// fwmarkReplies takes in the answers of the servers of a fwmark service: whatever
// protocols and ports lead to its mark.
func fwmarkReplies(c content, replies canvas, s *conf.Service, kinds []traffic) canvas {
	for i := range s.Servers {
		srv := &s.Servers[i]
		if !rewrites(srv) {
			continue
		}
		for _, k := range kinds {
			for _, p := range balanced {
				if one := smallSpan(p, p); one.meets(&k.proto) {
					replies = c.putReply(replies, srv, one, k.ports)
				}
			}
		}
	}
	return replies
}

// rewrites reports whether the server's answers come back through the director, to be
// given another source address.
func rewrites(s *conf.Server) bool { return s.Forward == conf.NAT || s.Forward == conf.FullNAT }

// balanced are the protocols a fwmark service spreads over its servers: those with an
// ip_vs_protocol in the kernel. A NAT server's other traffic is not ours.
var balanced = []uint16{packet.TCP, packet.UDP, packet.SCTP, packet.ESP, packet.AH}

// putReply takes in answers of one server by one protocol: an exact port by hash,
// ranges by interval.
func (c content) putReply(replies canvas, srv *conf.Server, proto, ports span) canvas {
	v6 := srv.Addr.Unmap().Is6()
	b := addrBox(srv.Addr)
	b[ipProto] = proto
	c.put(setID{name: "replyfrag", v6: v6}, b.key(v6, srcAddr, ipProto))
	if srv.Port != 0 {
		ports = smallSpan(srv.Port, srv.Port)
	}
	b[srcPort] = ports
	if ports.lo == ports.hi {
		c.put(setID{name: "reply", v6: v6}, b.key(v6, srcAddr, ipProto, srcPort))
		return replies
	}
	return replies.add(b)
}

// marked evaluates the mark rules in order for what comes in by one port, exactly: the
// result is disjoint, later rules cut earlier ones, and masks combine.
func (r *Rules) marked(v6 bool, port string) canvas {
	c := canvas{}
	for i := range r.Marks {
		m := &r.Marks[i]
		if m.InPort != "" && m.InPort != port {
			continue
		}
		for _, b := range markBoxes(m, v6) {
			c = c.paint(b, m.Value, m.Mask)
		}
	}
	wanted := map[uint32]bool{}
	for i := range r.Services {
		if k := &r.Services[i].Key; k.Fwmark != 0 && k.V6 == v6 {
			wanted[k.Fwmark] = true
		}
	}
	return slices.DeleteFunc(c, func(r region) bool { return !wanted[r.mark] })
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
