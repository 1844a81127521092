package twin

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
)

// conn is a connection as ip_vs_conn.c has it.
type conn struct {
	proto                 uint8
	client, virtual, dest netip.AddrPort
	method                conf.Forward
	server                *server
	state                 string // as listed: SYN_RECV; UDP for all of UDP
	noOutput              bool   // no packet of the server has been seen, and none is expected
	child                 bool   // of a persistence template
	dying                 bool   // its timer was made to fire now: it ends at the next tick, unless a packet sets the timer anew
}

// end is what both directions of a connection share.
type end struct {
	proto  uint8
	client netip.AddrPort
}

// table holds the connections of each client's end, newest first.
type table map[end][]*conn

func (t table) insert(c *conn) {
	e := end{c.proto, c.client}
	t[e] = slices.Insert(t[e], 0, c)
}

// in finds the connection of a client's packet (ip_vs_conn_in_get).
func (t table) in(p *ip) *conn {
	for _, c := range t[end{p.proto, p.from()}] {
		if c.virtual == p.to() {
			return c
		}
	}
	return nil
}

// out finds the connection of a server's packet (ip_vs_conn_out_get).
func (t table) out(p *ip) *conn {
	for _, c := range t[end{p.proto, p.to()}] {
		from := c.virtual
		if c.method == conf.NAT {
			from = c.dest
		}
		if from == p.from() {
			return c
		}
	}
	return nil
}

// tick ends what is dying.
func (t table) tick() {
	for e, list := range t {
		if slices.ContainsFunc(list, func(c *conn) bool { return c.dying }) {
			t[e] = slices.DeleteFunc(list, func(c *conn) bool { return c.dying })
		}
	}
}

// Flags of TCP: RFC 9293 section 3.1.
const (
	flagFIN, flagSYN, flagRST, flagPSH, flagACK = 1, 2, 4, 8, 16
)

// The state tables of ip_vs_proto_tcp.c: rows are SYN, FIN, ACK, RST, columns the
// present state in the order of columns.
const columns = "NO ES SS SR FW TW CL CW LA LI SA"

var normalTable = map[string]string{
	"in": `
		SR ES ES SR SR SR SR SR SR SR SR
		CL CW SS TW TW TW CL CW LA LI TW
		ES ES SS ES FW TW CL CW CL LI ES
		CL CL CL SR CL CL CL CL LA LI SR`,
	"out": `
		SS ES SS SR SS SS SS SS SS LI SR
		TW FW SS TW FW TW CL TW LA LI TW
		ES ES SS ES FW TW CL CW LA ES ES
		CL CL SS CL CL TW CL CL CL CL CL`,
	"in only": `
		SR ES ES SR SR SR SR SR SR SR SR
		CL FW SS TW FW TW CL CW LA LI TW
		ES ES SS ES FW TW CL CW CL LI ES
		CL CL CL SR CL CL CL CL LA LI CL`,
}

// secureTable is in force with secure_tcp 2 and 3.
var secureTable = map[string]string{
	"in": `
		SR ES ES SR SR SR SR SR SR SR SA
		CL CW SS TW TW TW CL CW LA LI SA
		ES ES SS SR FW TW CL CW CL LI SA
		CL CL CL SR CL CL CL CL LA LI CL`,
	"out": `
		SS ES SS SA SS SS SS SS SS LI SA
		TW FW SS TW FW TW CL TW LA LI TW
		ES ES SS ES FW TW CL CW LA ES ES
		CL CL SS CL CL TW CL CL CL CL CL`,
	"in only": `
		SA ES ES SR SA SA SA SA SA SA SA
		CL FW SS TW FW TW CL CW LA LI TW
		ES ES SS ES FW TW CL CW CL LI ES
		CL CL CL SR CL CL CL CL LA LI CL`,
}

var stateNames = map[string]string{
	"NO": "NONE", "ES": "ESTABLISHED", "SS": "SYN_SENT", "SR": "SYN_RECV", "FW": "FIN_WAIT", "TW": "TIME_WAIT",
	"CL": "CLOSE", "CW": "CLOSE_WAIT", "LA": "LAST_ACK", "LI": "LISTEN", "SA": "SYNACK",
}

// next[secure][direction][event][state], states by their listed names.
var next = map[bool]map[string][4]map[string]string{false: expand(normalTable), true: expand(secureTable)}

func expand(t map[string]string) map[string][4]map[string]string {
	all := map[string][4]map[string]string{}
	for dir, text := range t {
		var rows [4]map[string]string
		for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
			rows[i] = map[string]string{}
			for j, to := range strings.Fields(line) {
				rows[i][stateNames[strings.Fields(columns)[j]]] = stateNames[to]
			}
		}
		all[dir] = rows
	}
	return all
}

// advance takes a packet's effect on the state and sets the timer.
func (c *conn) advance(p *ip, output, secure bool) {
	c.dying = false
	if c.proto == protoUDP {
		return
	}
	if c.proto == protoSCTP {
		if _, ok := p.chunk(); !ok {
			return // nobody knows what it is
		}
	}
	dir := "in"
	if output {
		dir, c.noOutput = "out", false
	} else if c.noOutput {
		dir = "in only"
	}
	if c.proto == protoSCTP {
		c.state = sctpNext[dir][p.event()][c.state]
		return
	}
	rows := next[secure][dir]
	switch flags := p.l4[13]; {
	case flags&flagRST != 0:
		c.state = rows[3][c.state]
	case flags&flagSYN != 0:
		c.state = rows[0][c.state]
	case flags&flagFIN != 0:
		c.state = rows[1][c.state]
	case flags&flagACK != 0:
		c.state = rows[2][c.state]
	default:
		c.state = "CLOSE"
	}
}

// active reports whether the connection counts as active.
func (c *conn) active() bool {
	switch c.state {
	case "ESTABLISHED", "SYN_SENT", "SYN_RECV", "SYNACK":
		return true
	}
	return false
}
