package twin

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// generator makes the packets of a round: those of a few clients to the services, those
// of servers that answer, others, and all of them now and then damaged.
type generator struct {
	*rand.Rand
	twin    *forwarder // asked for connections to go on with
	waiting []piece
}

// rarely is true once in n times.
func (g *generator) rarely(n int) bool { return g.IntN(n) == 0 }

// next draws a frame and the port that it comes in by.
func (g *generator) next() (port int, b []byte) {
	for {
		if len(g.waiting) > 0 && !g.rarely(4) {
			p := g.waiting[0]
			g.waiting = g.waiting[1:]
			return p.port, p.bytes
		}
		if g.rarely(100) {
			port, b = g.IntN(2), g.bytes(g.IntN(120))
		} else {
			port, b = g.packet()
		}
		switch p, r, _ := read(b); {
		case r == later, r == fragment:
		case r == whole && (strange(p.src) || strange(p.dst)): // neighbours would have to be asked for
		case r == whole && g.helped(port, &p):
		case r == whole && g.twin.routeTo(p.src) == nil: // nobody could be answered
		case r == whole && !martians && !oneHost(p.src):
		case r == whole && g.rarely(16) && len(p.l4) > 8 && len(p.ext) == 0 && !g.toTunnel6(port, &p):
			g.pieces(port, &p)
		default:
			return port, b
		}
	}
}

// helped reports whether the FTP helper would read the connection of a packet or of one
// that it quotes.
func (g *generator) helped(port int, p *ip) bool {
	if q, ok := p.asks(); ok {
		p = q.reversed()
	}
	if p.proto != protoTCP || p.to().Port() != 21 {
		return false
	}
	p.mark = g.twin.markOf(port, p)
	s := find(g.twin.services, p)
	return s != nil && s.Key.Port != 21
}

// strange reports whether an address is on a link of the director's, but none of the hosts
// whose link addresses are known.
func strange(a netip.Addr) bool {
	for port := range own {
		for _, p := range own[port] {
			if p.Contains(a) {
				b, c := a.As16(), p.Addr().As16()
				last := b[15]
				b[15] = c[15]
				return b != c || last < 2 || last == 255
			}
		}
	}
	return false
}

// packet draws an IP packet and frames it.
func (g *generator) packet() (port int, b []byte) {
	p := ip{ttl: 64, id: uint16(g.Uint32()), tos: pick(g.Rand, 0, 0, 0x10, 0xb8, uint8(g.Uint32()))}
	if g.rarely(10) {
		p.ttl = uint8(g.IntN(3))
	}
	if !g.rarely(3) {
		p.flags = 2
	}
	if g.rarely(300) {
		p.flags |= 4 // the reserved bit
	}
	switch n := g.IntN(100); {
	case n < 24 && len(g.twin.recent) > 0:
		port = g.answer(&p)
	case n < 32 && len(g.twin.recent) > 0:
		port = g.related(&p)
	case n < 36:
		g.icmp(&p)
	case n < 42:
		port = g.foreign(&p)
	default:
		g.request(&p)
	}
	if p.v6 {
		p.label = g.Uint32() & 0xfffff
		p.next = p.proto
		if g.rarely(40) && p.proto != protoICMPv6 {
			p.ext = []byte{p.proto, 0, 1, 4, 0, 0, 0, 0} // PadN: RFC 8200 section 4.2
			p.next = pick(g.Rand, uint8(0), uint8(60))
		}
	} else if g.rarely(25) && (p.proto != protoICMP || p.isError()) {
		p.options = g.options()
	}
	return port, g.damage(port, &p)
}

// request is a client's packet to a service, or to about one.
func (g *generator) request(p *ip) {
	k := pick(g.Rand, g.twin.network.services...).Key
	if k.Fwmark != 0 {
		t := pick(g.Rand, g.twin.targets...)
		k.Proto, k.Addr, k.Port = t.proto, t.addr, t.port
	}
	p.v6, p.proto, p.dst = k.Addr.Is6(), k.Proto, k.Addr
	port := k.Port
	if port == 0 || g.rarely(30) {
		port = pick[uint16](g.Rand, 20, 80, 443, 1024, 5000, 65535)
	}
	if g.rarely(40) {
		p.proto = pick[uint8](g.Rand, protoTCP, protoUDP, protoSCTP)
	}
	p.src = pick(g.Rand, clients[family(p.v6)]...)
	if g.rarely(500) {
		p.src = pick(g.Rand, addrs("0.0.0.1", "127.0.0.1", "224.0.0.5", "255.255.255.255")...)
		if p.v6 {
			p.src = pick(g.Rand, addrs("::", "::1", "ff02::1")...)
		}
	}
	from := uint16(40000 + g.IntN(12))
	if g.rarely(60) {
		from = 20
	}
	g.transport(p, from, port)
}

// answer is a packet of the server of a recent connection.
func (g *generator) answer(p *ip) (port int) {
	c := pick(g.Rand, g.twin.recent...)
	for range 3 { // mostly NAT: the others' answers do not come by here
		if c.method != conf.NAT {
			c = pick(g.Rand, g.twin.recent...)
		}
	}
	from := c.dest
	if c.method != conf.NAT {
		from = c.virtual
	}
	if g.rarely(12) {
		from = netip.AddrPortFrom(c.dest.Addr(), from.Port()+uint16(g.IntN(2)))
	}
	if from.Addr().Is6() != c.client.Addr().Is6() {
		from = c.virtual
	}
	p.v6, p.proto, p.src, p.dst = from.Addr().Is6(), c.proto, from.Addr(), c.client.Addr()
	to := c.client.Port()
	if g.rarely(20) {
		to++
	}
	g.transport(p, from.Port(), to)
	if c.method == conf.NAT && c.proto != protoSCTP && g.rarely(20) {
		g.zeroSum(p, c.virtual)
	}
	if rt := g.twin.routeTo(c.dest.Addr()); rt != nil {
		return rt.port
	}
	return 1
}

// icmp is an ICMP message, mostly an echo request to a virtual address.
func (g *generator) icmp(p *ip) {
	f := g.IntN(2)
	p.v6, p.src, p.dst = f == 1, pick(g.Rand, clients[f]...), pick(g.Rand, vips[f]...)
	typ := pick[uint8](g.Rand, 8, 8, 8, 0, 5, 12, 13, 18, uint8(g.Uint32()))
	p.proto = protoICMP
	if p.v6 {
		p.proto = protoICMPv6
		typ = pick[uint8](g.Rand, 128, 128, 128, 129, 130, 143, uint8(g.Uint32()))
	}
	code := uint8(0)
	if g.rarely(20) {
		code = uint8(g.Uint32())
	}
	body := g.bytes(g.size(8))
	if p.v6 {
		p.l4 = icmp6(p, typ, code, append(g.bytes(4), body...))
		return
	}
	m := layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: uint16(g.Uint32()), Seq: uint16(g.Uint32())}
	p.l4 = serialize(&m, gopacket.Payload(body))
}

// foreign is a packet of no service: another destination, or another protocol.
func (g *generator) foreign(p *ip) (port int) {
	f := g.IntN(2)
	p.v6, p.proto = f == 1, pick[uint8](g.Rand, protoTCP, protoUDP, protoSCTP, 47, 50, 89)
	p.src = pick(g.Rand, append(clients[f], servers[f]...)...)
	p.dst = pick(g.Rand, append(append(vips[f], servers[f]...), own[0][f].Addr())...)
	if p.proto == protoTCP || p.proto == protoUDP || p.proto == protoSCTP {
		g.transport(p, pick[uint16](g.Rand, 53, 80, 8053, 8080, 40000), pick[uint16](g.Rand, 22, 25, 40001, 40002))
	} else {
		p.l4 = g.bytes(g.IntN(60))
	}
	return g.IntN(2)
}

// transport makes a TCP segment, a UDP datagram or an SCTP packet, mostly with the right
// checksum.
func (g *generator) transport(p *ip, from, to uint16) {
	switch p.proto {
	case protoSCTP:
		g.sctp(p, from, to)
		return
	case protoTCP:
		flags := pick[uint8](g.Rand, flagSYN, flagSYN, flagSYN, flagSYN|flagACK, flagACK, flagACK, flagACK|flagPSH, flagFIN|flagACK, flagFIN, flagRST, uint8(g.Uint32()))
		opts := g.bytes(pick(g.Rand, 0, 0, 0, 4, 12, 40))
		b := binary.BigEndian.AppendUint16(nil, from)
		b = binary.BigEndian.AppendUint16(b, to)
		b = append(b, g.bytes(8)...) // sequence and acknowledgement
		b = append(b, uint8(5+len(opts)/4)<<4|uint8(pick(g.Rand, 0, 0, 0, g.IntN(16))), flags)
		b = append(b, g.bytes(2)...) // window
		b = append(b, 0, 0, 0, 0)
		b = append(b, opts...)
		p.l4 = append(b, g.bytes(g.size(20+len(opts)))...)
	default:
		body := g.bytes(g.size(8))
		b := binary.BigEndian.AppendUint16(nil, from)
		b = binary.BigEndian.AppendUint16(b, to)
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(body)))
		p.l4 = append(append(b, 0, 0), body...)
		if g.rarely(50) { // a length of its own, within the packet or not
			binary.BigEndian.PutUint16(b[4:6], uint16(g.IntN(len(p.l4)+4)))
			copy(p.l4, b)
		}
		if g.rarely(8) {
			return // no checksum
		}
	}
	p.next = p.proto
	sum := p.rightSum()
	if sum == 0 && g.rarely(2) {
		sum = 0xffff // the other zero
	}
	if g.rarely(30) {
		sum ^= uint16(g.Uint32())
	}
	binary.BigEndian.PutUint16(p.sumField(), sum)
}

// zeroSum changes two bytes of data such that the checksum is zero once the packet has
// been translated: TCP sends 0x0000 then, UDP 0xffff.
func (g *generator) zeroSum(p *ip, virtual netip.AddrPort) {
	at := len(p.l4) &^ 1
	if at < 24 || p.proto == protoUDP && int(binary.BigEndian.Uint16(p.l4[4:])) != len(p.l4) {
		return
	}
	word := p.l4[at-2 : at]
	q := p.toClient(virtual)
	binary.BigEndian.PutUint16(word, ones(int(binary.BigEndian.Uint16(word))+int(q.rightSum())))
	if binary.BigEndian.Uint16(p.sumField()) != 0 {
		binary.BigEndian.PutUint16(p.sumField(), p.rightSum())
	}
}

// size draws how many bytes lie behind a transport header of n bytes: mostly few, at
// times such that the packet is about as long as some MTU, also less tunnel headers.
func (g *generator) size(n int) int {
	switch {
	case !g.rarely(6):
		return g.IntN(40)
	case g.rarely(3):
		return g.IntN(1400)
	}
	mtu := pick(g.Rand, 1500, 1500, 1400, 1300, 1290, 1280, 576)
	return max(0, mtu-pick(g.Rand, 20, 40)-pick(g.Rand, 0, 20, 40)-n+pick(g.Rand, -1, 0, 0, 1, 2))
}

// options draws well-formed IPv4 options: record route, router alert, security, a
// source route, one that nobody knows.
func (g *generator) options() (b []byte) {
	for range 1 + g.IntN(2) {
		o := pick(g.Rand,
			[]byte{7, 7, 4, 0, 0, 0, 0}, []byte{7, 11, 8, 10, 9, 9, 9, 0, 0, 0, 0}, []byte{7, 7, 8, 10, 9, 9, 9},
			[]byte{148, 4, 0, 0}, []byte{130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{1}, []byte{0x9e, 6, 1, 2, 3, 4}, []byte{0x1e, 5, 1, 2, 3})
		if g.rarely(12) {
			o = append([]byte{pick[byte](g.Rand, 131, 137), 7, 4}, g.bytes(4)...)
		}
		b = append(b, o...)
	}
	end := pick[byte](g.Rand, 0, 1)
	for len(b)%4 != 0 {
		b = append(b, end)
	}
	return b
}

// damage frames the packet, as it is or not.
func (g *generator) damage(port int, p *ip) []byte {
	wire := p.bytes()
	fix := func() { // the IPv4 header checksum of whatever the header has become
		if !p.v6 {
			wire[10], wire[11] = 0, 0
			binary.BigEndian.PutUint16(wire[10:], ^sum16(wire[:20+len(p.options)]))
		}
	}
	if !p.v6 && wire[10] == 0 && wire[11] == 0 && g.rarely(2) {
		wire[10], wire[11] = 0xff, 0xff // the other zero
	}
	switch g.IntN(80) {
	case 0:
		wire[10] ^= uint8(g.Uint32()) // IPv4: header checksum; IPv6: an address
	case 1:
		wire = wire[:g.IntN(len(wire)+1)]
	case 2: // the length fields stay behind
		wire = append(wire, g.bytes(1+g.IntN(46))...)
	case 3:
		wire = append(wire, make([]byte, max(0, 46-len(wire)))...)
	case 4:
		at := 2
		if p.v6 {
			at = 4
		}
		binary.BigEndian.PutUint16(wire[at:], uint16(g.IntN(len(wire)+10)))
		fix()
	case 5:
		wire[g.IntN(len(wire))] ^= 1 << g.IntN(8)
	case 6:
		if i := 20 + len(p.options); !p.v6 && i < len(wire) {
			wire[g.IntN(20)] ^= 1 << g.IntN(8)
			fix()
		}
	case 7:
		if len(p.l4) > 12 && p.proto == protoTCP {
			wire[len(wire)-len(p.l4)+12] ^= 1 << (4 + g.IntN(4))
		}
	}
	dst := directorMAC[port]
	if g.rarely(80) {
		dst = pick(g.Rand, packet.MAC{2, 9, 9, 9, 9, 9}, packet.Broadcast, directorMAC[1-port], packet.MAC{1, 0, 0x5e, 0, 0, 1})
	}
	b := ethernet(dst, hostMAC(port, p.src), p.v6, wire)
	if g.rarely(500) {
		copy(b[12:], pick(g.Rand, []byte{0x81, 0x00}, []byte{0x00, 0x30}, []byte{0x88, 0xcc}, []byte{0x08, 0x00}, []byte{0x86, 0xdd}))
	}
	return b
}

// ethernet frames an IP packet.
func ethernet(dst, src packet.MAC, v6 bool, wire []byte) []byte {
	kind := []byte{0x08, 0x00}
	if v6 {
		kind = []byte{0x86, 0xdd}
	}
	return append(append(append(append([]byte{}, dst[:]...), src[:]...), kind...), wire...)
}

func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}
