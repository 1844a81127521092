package host

import (
	"cmp"
	"maps"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
)

// Piece is a service without its servers, or one server of a service: what commands bring
// and take away.
type Piece struct {
	Key      conf.ServiceKey
	Server   conf.ServerID
	Forward  conf.Forward // of the server
	OfServer bool
}

// PieceOf is a server of the service k. What else is said of it means nothing here.
func PieceOf(k conf.ServiceKey, d *conf.Server) Piece {
	return Piece{Key: k, Server: d.ID(), Forward: d.Forward, OfServer: true}
}

// tally counts how many pieces want each element of the guard's sets, so that one piece
// more or less costs what it changes. Mark rules, of which there are few, are painted as a
// whole.
type tally struct {
	exact   map[setID]map[string]int
	ranges  map[line]map[portSpan]int // any order of them leads to the same elements
	marks   []conf.Mark
	classes []int
	painted map[setID]canvas        // by family and class: all marked packets
	kinds   [2]map[uint32][]traffic // by family: what leads to a mark
	wanted  [2]map[uint32]int       // by family: services of a mark
	marked  map[Piece]int           // servers of fwmark services, to be counted anew with other kinds

	touched touched
}

// touched is what may differ from the sets in the kernel.
type touched struct {
	exact []element         // some of them twice
	lines map[line][]string // with the elements it had
	marks bool
}

type element struct {
	id  setID
	key string
}

// line is a server's address and a protocol; its answers come from ranges of ports.
type line struct {
	addr box // all but srcAddr and ipProto are zero
	v6   bool
}

type portSpan struct{ first, last uint16 }

func newTally(marks []conf.Mark, ports []string) *tally {
	t := &tally{exact: map[setID]map[string]int{}, ranges: map[line]map[portSpan]int{}, marked: map[Piece]int{}}
	t.wanted = [2]map[uint32]int{{}, {}}
	t.paint(marks, ports)
	t.settle()
	return t
}

// settle forgets what was touched: the kernel has it.
func (t *tally) settle() {
	t.touched = touched{lines: map[line][]string{}}
}

// paint judges the mark rules for these ports, and counts the servers of fwmark services
// by what leads to their marks now.
func (t *tally) paint(marks []conf.Mark, ports []string) {
	was := t.marked
	for p, n := range was {
		t.server(&p, -n)
	}
	t.marks, t.classes = marks, classes(marks, ports)
	t.painted, t.kinds = map[setID]canvas{}, [2]map[uint32][]traffic{{}, {}}
	for f, v6 := range []bool{false, true} {
		for i, class := range t.classes {
			id := setID{"mark", v6, class}
			if t.painted[id] != nil {
				continue // shared with an earlier port
			}
			c := marked(marks, v6, ports[i])
			t.painted[id] = c
			for i := range c {
				if k := (traffic{c[i].box[ipProto], c[i].box[dstPort]}); !slices.Contains(t.kinds[f][c[i].mark], k) {
					t.kinds[f][c[i].mark] = append(t.kinds[f][c[i].mark], k)
				}
			}
		}
	}
	for p, n := range was {
		t.server(&p, n)
	}
	t.touched.marks = true
}

// count takes a piece in (by 1) or drops it (by -1).
func (t *tally) count(p *Piece, by int) {
	switch {
	case !p.OfServer:
		t.service(&p.Key, by)
	case p.Key.Fwmark != 0:
		if t.marked[*p] += by; t.marked[*p] == 0 {
			delete(t.marked, *p)
		}
		fallthrough
	default:
		t.server(p, by)
	}
}

// service counts the address of a service, and the service itself for a VIP that is the
// host's own address: there the host keeps the other ports. (A box's source stands for the
// address and port in question here, whichever end of a frame they are.)
func (t *tally) service(k *conf.ServiceKey, by int) {
	if k.Fwmark != 0 {
		w := t.wanted[family(k.V6)]
		if w[k.Fwmark] += by; w[k.Fwmark] == 0 {
			delete(w, k.Fwmark)
		}
		t.touched.marks = true
		return
	}
	if !k.Addr.IsValid() {
		return
	}
	v6 := k.Addr.Unmap().Is6()
	vip := addrBox(k.Addr)
	t.put(setID{name: "vip", v6: v6}, vip.key(v6, srcAddr), by)
	for _, p := range followers(k) {
		vip[ipProto] = smallSpan(p, p)
		t.put(setID{name: "allports", v6: v6}, vip.key(v6, srcAddr, ipProto), by)
	}
	vip[ipProto] = smallSpan(uint16(k.Proto), uint16(k.Proto))
	if k.Port == 0 {
		t.put(setID{name: "allports", v6: v6}, vip.key(v6, srcAddr, ipProto), by)
		return
	}
	vip[srcPort] = smallSpan(k.Port, k.Port)
	t.put(setID{name: "service", v6: v6}, vip.key(v6, srcAddr, ipProto, srcPort), by)
}

func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// server counts the answers of one server: for a service with an address those by its
// protocol, for a fwmark service those by whatever protocols and ports lead to its mark.
func (t *tally) server(p *Piece, by int) {
	if !p.rewrites() {
		return
	}
	k, srv := &p.Key, p.Server
	if k.Fwmark != 0 {
		for _, kind := range t.kinds[family(k.V6)][k.Fwmark] {
			for _, p := range balanced {
				if one := smallSpan(p, p); one.meets(&kind.proto) {
					t.reply(srv, p, kind.ports, by)
				}
			}
		}
		return
	}
	t.reply(srv, uint16(k.Proto), anyPort, by)
	for _, p := range followers(k) {
		srv.Port = 0
		t.reply(srv, p, anyPort, by)
	}
}

// reply counts answers of one server by one protocol: an exact port by hash, ranges by
// interval.
func (t *tally) reply(srv conf.ServerID, proto uint16, ports span, by int) {
	v6 := srv.Addr.Unmap().Is6()
	b := addrBox(srv.Addr)
	b[ipProto] = smallSpan(proto, proto)
	t.put(setID{name: "replyfrag", v6: v6}, b.key(v6, srcAddr, ipProto), by)
	if srv.Port != 0 {
		ports = smallSpan(srv.Port, srv.Port)
	}
	if ports.lo == ports.hi {
		b[srcPort] = ports
		t.put(setID{name: "reply", v6: v6}, b.key(v6, srcAddr, ipProto, srcPort), by)
		return
	}
	l := line{b, v6}
	if _, known := t.touched.lines[l]; !known {
		t.touched.lines[l] = t.rangesOf(l)
	}
	m := t.ranges[l]
	if m == nil {
		m = map[portSpan]int{}
		t.ranges[l] = m
	}
	r := portSpan{uint16(ports.lo.lo), uint16(ports.hi.lo)}
	if m[r] += by; m[r] == 0 {
		delete(m, r)
	}
	if len(m) == 0 {
		delete(t.ranges, l)
	}
}

func (t *tally) put(id setID, key string, by int) {
	m := t.exact[id]
	if m == nil {
		m = map[string]int{}
		t.exact[id] = m
	}
	n := m[key]
	if n+by == 0 {
		delete(m, key)
	} else {
		m[key] = n + by
	}
	if n == 0 || n+by == 0 {
		t.touched.exact = append(t.touched.exact, element{id, key})
	}
}

// rangesOf are the elements of a line: its ranges, those that meet or touch as one.
func (t *tally) rangesOf(l line) (keys []string) {
	var spans []portSpan
	for _, r := range slices.SortedFunc(maps.Keys(t.ranges[l]), func(a, b portSpan) int { return cmp.Compare(a.first, b.first) }) {
		if n := len(spans); n > 0 && int(r.first) <= int(spans[n-1].last)+1 {
			spans[n-1].last = max(spans[n-1].last, r.last)
		} else {
			spans = append(spans, r)
		}
	}
	for _, r := range spans {
		l.addr[srcPort] = smallSpan(r.first, r.last)
		keys = append(keys, l.addr.key(l.v6, srcAddr, ipProto, srcPort))
	}
	return keys
}

// markContent is what is in the sets of marked packets: those that lead to a service.
func (t *tally) markContent() content {
	c := content{}
	for id := range t.painted {
		c.putMarks(id.v6, id.class, t.toServices(id))
	}
	return c
}

// toServices are the marked packets of a family and class that lead to a service.
func (t *tally) toServices(id setID) canvas {
	return slices.DeleteFunc(slices.Clone(t.painted[id]), func(r region) bool { return t.wanted[family(id.v6)][r.mark] == 0 })
}

// content is what is in all the sets.
func (t *tally) content() content {
	c := t.markContent()
	for _, v6 := range []bool{false, true} {
		for _, icmp := range fieldsOf(v6).icmpErrors {
			c.put(setID{name: "icmperror", v6: v6}, string([]byte{icmp, icmp}))
		}
	}
	for id, m := range t.exact {
		for key := range m {
			c.put(id, key)
		}
	}
	for l := range t.ranges {
		for _, key := range t.rangesOf(l) {
			c.put(setID{name: "replyrange", v6: l.v6}, key)
		}
	}
	return c
}

// elements are some of each set.
type elements map[setID][]string

func (e elements) put(id setID, key string) { e[id] = append(e[id], key) }

// apply makes the sets hold the difference, or, with the two exchanged, not any more.
func (c content) apply(gone, added elements) {
	for id, keys := range gone {
		for _, k := range keys {
			delete(c[id], k)
		}
	}
	for id, keys := range added {
		for _, k := range keys {
			c.put(id, k)
		}
	}
}

// difference makes the sets hold what of the touched is missing in them, and no more what
// is too much there, and says what it did.
func (t *tally) difference(installed content) (gone, added elements) {
	gone, added = elements{}, elements{}
	for _, e := range t.touched.exact {
		_, is := installed[e.id][e.key]
		switch want := t.exact[e.id][e.key] != 0; {
		case want && !is:
			added.put(e.id, e.key)
			installed.put(e.id, e.key)
		case is && !want:
			gone.put(e.id, e.key)
			delete(installed[e.id], e.key)
		}
	}
	moreGone, moreAdded := t.rangeDifference(installed)
	installed.apply(moreGone, moreAdded)
	for id, keys := range moreGone {
		gone[id] = append(gone[id], keys...)
	}
	for id, keys := range moreAdded {
		added[id] = append(added[id], keys...)
	}
	return gone, added
}

// rangeDifference is that of the sets of ranges.
func (t *tally) rangeDifference(installed content) (gone, added elements) {
	gone, added = elements{}, elements{}
	for l, was := range t.touched.lines {
		is, id := t.rangesOf(l), setID{name: "replyrange", v6: l.v6}
		for _, key := range was {
			if !slices.Contains(is, key) {
				gone.put(id, key)
			}
		}
		for _, key := range is {
			if !slices.Contains(was, key) {
				added.put(id, key)
			}
		}
	}
	if t.touched.marks {
		want := t.markContent()
		for id := range t.painted {
			for _, id := range []setID{id, {"markfrag", id.v6, id.class}} {
				gone[id], added[id] = without(installed[id], want[id]), without(want[id], installed[id])
			}
		}
	}
	return gone, added
}
