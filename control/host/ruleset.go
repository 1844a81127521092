package host

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Names of the guard's counters: why a frame was kept from the host's stack.
const (
	countVIP      = "vip"
	countMark     = "mark"
	countReply    = "reply"
	countFragment = "fragment"
	countICMP     = "icmp"
)

var counters = []string{countVIP, countMark, countReply, countFragment, countICMP}

// elementsPerMessage keeps a list of elements within one netlink attribute, whose
// length is 16 bits: an element of a mark set takes about 110 bytes.
const elementsPerMessage = 400

// setTypes gives the key of each set and whether its elements are ranges. Ranges in
// several dimensions are the kernel's pipapo sets (Linux 5.6), the others are hashes.
func setTypes(id setID) (key []nftables.SetDatatype, ranges bool) {
	addr, icmp := nftables.TypeIPAddr, nftables.TypeICMPType
	if id.v6 {
		addr, icmp = nftables.TypeIP6Addr, nftables.TypeICMP6Type
	}
	proto, port := nftables.TypeInetProto, nftables.TypeInetService
	switch id.name {
	case "vip", "local":
		return []nftables.SetDatatype{addr}, false
	case "icmperror":
		return []nftables.SetDatatype{icmp}, false
	case "allports", "replyfrag":
		return []nftables.SetDatatype{addr, proto}, false
	case "service", "reply":
		return []nftables.SetDatatype{addr, proto, port}, false
	case "replyrange":
		return []nftables.SetDatatype{addr, proto, port}, true
	case "mark":
		return []nftables.SetDatatype{addr, addr, proto, port, port}, true
	case "markfrag":
		return []nftables.SetDatatype{addr, addr, proto}, true
	}
	panic("host: no such set: " + id.name)
}

func (id setID) String() string {
	family := 4
	if id.v6 {
		family = 6
	}
	if id.class != 0 {
		return fmt.Sprintf("%s%d_port%d", id.name, family, id.class-1)
	}
	return fmt.Sprintf("%s%d", id.name, family)
}

func (id setID) set(t *nftables.Table) *nftables.Set {
	types, ranges := setTypes(id)
	s := &nftables.Set{Table: t, Name: id.String(), KeyType: types[0], Interval: ranges}
	if len(types) > 1 {
		// At most five types fit the library's key, so this cannot fail.
		s.KeyType, _ = nftables.ConcatSetType(types...)
		s.Concatenation = true
	}
	return s
}

// elements turns keys into messages of bounded size.
func (id setID) elements(keys []string) (chunks [][]nftables.SetElement) {
	_, ranges := setTypes(id)
	var chunk []nftables.SetElement
	for _, k := range keys {
		e := nftables.SetElement{Key: []byte(k[:len(k)/2])}
		if ranges {
			e.KeyEnd = []byte(k[len(k)/2:])
		}
		if chunk = append(chunk, e); len(chunk) == elementsPerMessage {
			chunks = append(chunks, chunk)
			chunk = nil
		}
	}
	if len(chunk) > 0 {
		chunks = append(chunks, chunk)
	}
	return chunks
}

// setsOf lists every set of a table whose ports have these classes.
func setsOf(classes []int) (ids []setID) {
	for _, v6 := range []bool{false, true} {
		for _, name := range []string{"vip", "service", "allports", "reply", "replyrange", "replyfrag", "local", "icmperror"} {
			ids = append(ids, setID{name: name, v6: v6})
		}
		seen := map[int]bool{}
		for _, c := range classes {
			if !seen[c] {
				ids = append(ids, setID{"mark", v6, c}, setID{"markfrag", v6, c})
			}
			seen[c] = true
		}
	}
	return ids
}

// ruleset adds the chains and rules to the batch: one base chain for each port, which
// goes on to the chain of its family and class.
func (g *Guard) ruleset(c *nftables.Conn, ports []string, classes []int) {
	targets := map[string]*nftables.Chain{}
	for _, class := range classes {
		for _, v6 := range []bool{false, true} {
			name := setID{"ip", v6, class}.String()
			if targets[name] == nil {
				targets[name] = c.AddChain(&nftables.Chain{Name: name, Table: g.table})
				for _, r := range g.familyRules(v6, class) {
					c.AddRule(&nftables.Rule{Table: g.table, Chain: targets[name], Exprs: r})
				}
			}
		}
	}
	accept := nftables.ChainPolicyAccept
	for i, port := range ports {
		base := c.AddChain(&nftables.Chain{
			Name:     fmt.Sprintf("port%d", i),
			Table:    g.table,
			Hooknum:  nftables.ChainHookIngress,
			Priority: nftables.ChainPriorityFirst, // before any other netdev chain may act on the frame
			Type:     nftables.ChainTypeFilter,
			Policy:   &accept,
			Device:   port,
		})
		add := func(e ...expr.Any) { c.AddRule(&nftables.Rule{Table: g.table, Chain: base, Exprs: e}) }
		// By the link header, not by meta protocol: a tagged frame belongs to a VLAN interface
		// above this one, which is guarded itself if it is a port; dropped here, the director
		// would not see it there. The kernel shows the tag in the link header although it has
		// taken it out (nft_payload_copy_vlan).
		for _, v6 := range []bool{false, true} {
			etherType := uint16(unix.ETH_P_IP)
			if v6 {
				etherType = unix.ETH_P_IPV6
			}
			add(load(reg0, expr.PayloadBaseLLHeader, 12, 2), equal(reg0, be16(etherType)...),
				&expr.Verdict{Kind: expr.VerdictJump, Chain: setID{"ip", v6, classes[i]}.String()})
		}
	}
}

// familyRules are the rules of one family, each a list of expressions that ends in a
// counted drop.
func (g *Guard) familyRules(v6 bool, class int) (rules [][]expr.Any) {
	f := fieldsOf(v6)
	in := func(name string, k key) []expr.Any {
		id := setID{name: name, v6: v6}
		if name == "mark" || name == "markfrag" {
			id.class = class
		}
		return append(k.exprs, &expr.Lookup{SourceRegister: reg0, SetName: id.String()})
	}
	rule := func(counter string, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		rules = append(rules, append(all,
			&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: counter},
			&expr.Verdict{Kind: expr.VerdictDrop}))
	}
	away, here := g.local(v6, false), g.local(v6, true)

	// The services first: most frames are theirs, and no route has to be looked up for them.
	// Beyond them a VIP that is not the host's is the director's alone, whatever the
	// protocol; by one that is, the host may be reached.
	rule(countVIP, in("service", key{}.net(f.dst).l4proto().th(2, 2)))
	rule(countVIP, in("allports", key{}.net(f.dst).l4proto()))
	rule(countVIP, in("vip", key{}.net(f.dst)), away)
	rule(countMark, in("mark", key{}.net(f.src).net(f.dst).l4proto().th(0, 2).th(2, 2)))
	rule(countFragment, f.later, in("markfrag", key{}.net(f.src).net(f.dst).l4proto()))

	reply := key{}.net(f.src).l4proto().th(0, 2)
	own := g.rules.LocalPorts
	ownPort := func(at uint32) []expr.Any { // in the transport header
		return []expr.Any{load(reg0, expr.PayloadBaseTransportHeader, at, 2),
			&expr.Range{Op: expr.CmpOpEq, Register: reg0, FromData: be16(own.First), ToData: be16(own.Last)}}
	}
	connects := own.First != 0 && own.First <= own.Last
	if connects {
		toUs := ownPort(2)
		rule(countReply, toUs, in("reply", reply))
		rule(countReply, toUs, in("replyrange", reply))
		// With DR and tunnels servers answer as the service. What the host only forwards is
		// a client's.
		rule(countReply, toUs, in("service", reply), here)
		rule(countReply, toUs, in("allports", key{}.net(f.src).l4proto()), here)
	}
	// Answers to the host's own address are the host's: health checks, ssh.
	rule(countReply, in("reply", reply), away)
	rule(countReply, in("replyrange", reply), away)
	rule(countFragment, f.later, in("replyfrag", key{}.net(f.src).l4proto()), away)

	// ICMP errors are judged by the packet they quote, which went the other way: one of
	// ours to a client quotes a marked packet reversed, one to a server its answer reversed.
	isICMP := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0}, equal(reg0, f.icmp)}
	isError, q := in("icmperror", key{}.th(0, 1)), f.quoted
	rule(countICMP, isICMP, isError, f.plainQuote,
		in("mark", key{}.quote(q.dst).quote(q.src).quote(q.proto).quote(q.dport).quote(q.sport)))
	for _, set := range []string{"reply", "replyrange"} {
		rule(countICMP, isICMP, isError, f.plainQuote, in(set, key{}.quote(q.dst).quote(q.proto).quote(q.dport)), away)
	}
	if connects {
		for _, set := range []string{"reply", "replyrange", "service"} {
			rule(countICMP, isICMP, isError, f.plainQuote, ownPort(quoteAt+q.sport.off),
				in(set, key{}.quote(q.dst).quote(q.proto).quote(q.dport)), here)
		}
		rule(countICMP, isICMP, isError, f.plainQuote, ownPort(quoteAt+q.sport.off), in("allports", key{}.quote(q.dst).quote(q.proto)), here)
	}
	return rules
}

// local matches frames whose destination is an address of the host, or, if not is, those
// whose is none.
func (g *Guard) local(v6, is bool) []expr.Any {
	if g.noFib {
		k := key{}.net(fieldsOf(v6).dst)
		return append(k.exprs, &expr.Lookup{SourceRegister: reg0, SetName: setID{name: "local", v6: v6}.String(), Invert: !is})
	}
	op := expr.CmpOpNeq
	if is {
		op = expr.CmpOpEq
	}
	return []expr.Any{
		&expr.Fib{Register: reg0, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: op, Register: reg0, Data: native32(unix.RTN_LOCAL)},
	}
}
