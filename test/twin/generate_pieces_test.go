package twin

import (
	"encoding/binary"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
)

// piece is a frame that waits to be sent.
type piece struct {
	port  int
	bytes []byte
}

// pieces cuts a packet and lets its pieces wait: mostly all but the last of one length, as
// senders do it, in order, backwards or mixed; some lose one, get one twice or one that
// overlaps another.
func (g *generator) pieces(port int, p *ip) {
	var list []ip
	size := 8 * pick(g.Rand, 1, 2, 3, 10, 60, 160, 172, 184, 185)
	for len(p.l4)/size > 20 {
		size *= 2
	}
	even := !g.rarely(8)
	id := g.Uint32()
	for at := 0; at < len(p.l4) || at == 0; {
		n := size
		if !even {
			n = 8 * (1 + g.IntN(size/8))
		}
		q := *p
		q.fragID, q.offset, q.wire = id, uint16(at/8), nil
		q.more = at+n < len(p.l4)
		q.l4 = p.l4[at:min(at+n, len(p.l4))]
		list = append(list, q)
		at += n
	}
	switch g.IntN(12) {
	case 0:
		slices.Reverse(list)
	case 1, 2:
		g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	if p.proto == protoICMPv6 && len(list) == 1 {
		return
	}
	i := g.IntN(len(list))
	switch g.IntN(14) {
	case 0:
		list = slices.Delete(list, i, i+1)
	case 1:
		list = slices.Insert(list, g.IntN(len(list)), list[i])
	case 2: // a bit longer than it is: it overlaps the next, but the end stays where it is
		if q := list[i]; q.upTo()+16 <= len(p.l4) {
			q.l4 = append(slices.Clone(q.l4), g.bytes(8*(1+g.IntN(2)))...)
			list = slices.Insert(list, i+g.IntN(2), q)
		}
	case 3: // within another, with other data
		q := list[i]
		if len(q.l4) > 16 {
			q.offset, q.l4, q.more = q.offset+1, g.bytes(8), true
			list = slices.Insert(list, i+1, q)
		}
	}
	for i := range list {
		g.waiting = append(g.waiting, piece{port, g.frame(port, &list[i])})
	}
}

// toTunnel6 reports whether a packet may get into a tunnel with IPv6 inside or outside: what
// becomes of one that came in pieces is nowhere said.
func (g *generator) toTunnel6(port int, p *ip) bool {
	mark := g.twin.markOf(port, p)
	if q, ok := p.asks(); ok {
		p = q.reversed()
	}
	if p.proto != protoTCP && p.proto != protoUDP && p.proto != protoSCTP {
		return false
	}
	if c := g.twin.conns.in(p); c != nil && c.method == conf.Tunnel && (p.v6 || c.dest.Addr().Is6()) {
		return true
	}
	p.mark = mark
	s := find(g.twin.services, p)
	return s != nil && slices.ContainsFunc(append(slices.Clone(s.servers), s.gone...), func(srv *server) bool { return srv.Forward == conf.Tunnel && (p.v6 || srv.Addr.Is6()) })
}

// frame is a piece on the wire.
func (g *generator) frame(port int, p *ip) []byte {
	q := *p
	if q.v6 {
		off := q.offset << 3
		if q.more {
			off |= 1
		}
		q.ext = binary.BigEndian.AppendUint16([]byte{q.proto, 0}, off)
		q.ext = binary.BigEndian.AppendUint32(q.ext, q.fragID)
		q.next, q.offset = protoFrag, 0
	} else if q.flags = 0; q.more { // without DF
		q.flags = 1
	}
	return ethernet(directorMAC[port], hostMAC(port, q.src), q.v6, q.bytes())
}
