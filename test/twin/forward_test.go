package twin

import (
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// forwarder is the slow twin of the pipeline: it knows the same network and computes
// from each frame what must come out. Nothing in it is clever, and its clock is the
// caller's.
type forwarder struct {
	*network
	services []*service
	conns    table
	recent   []*conn // for those who make packets that belong to one
}

func newForwarder(n *network) *forwarder {
	t := &forwarder{network: n, conns: table{}}
	for _, s := range n.services {
		t.services = append(t.services, newTwinService(s))
	}
	return t
}

// frame is what leaves by a port.
type frame struct {
	port  int
	bytes []byte
}

// outcome is what must become of a frame.
type outcome struct {
	verdict dataplane.Verdict
	frames  []frame
	rule    string // that decided
	conn    *conn  // that the packet belongs to, nil if none
}

// drawn is what a director draws at random, as the pipeline did it: the identification
// of a packet of its own and of a tunnel packet without DF, that of IPv6 fragments,
// the flow label of a packet of its own, and the server that a scheduler chose.
type drawn struct {
	id     uint16
	fragID uint32
	label  uint32
	server func() netip.Addr
}

func passed(rule string) outcome  { return outcome{verdict: dataplane.Pass, rule: rule} }
func dropped(rule string) outcome { return outcome{verdict: dataplane.Drop, rule: rule} }

// receive is the journey of one frame: IP input as the kernel does it, then ip_vs_out,
// then ip_vs_in.
func (t *forwarder) receive(port int, b []byte, d drawn) outcome {
	p, r, why := read(b)
	switch {
	case r == malformed:
		return dropped("malformed: " + why)
	case r == notIP:
		return passed("not an IP packet")
	case packet.MAC(b[:6]) != directorMAC[port]:
		return passed("another host's frame")
	case p.proto == protoICMP && !p.v6 || p.proto == protoICMPv6 && p.v6:
		return t.icmp(&p, d)
	case p.proto != protoTCP && p.proto != protoUDP:
		return passed("a protocol that is never scheduled")
	case !oneHost(p.src): // RFC 1812 section 5.3.7; ip_handle_martian_source
		return dropped("martian source")
	case !slices.ContainsFunc(t.services, func(s *service) bool { return s.Key.Addr.Is6() == p.v6 }):
		return passed("no service of this family: the hooks are off")
	}
	for _, o := range p.list() {
		if o[0] == 131 || o[0] == 137 {
			return dropped("source routed (sysctl accept_source_route)")
		}
	}
	if c := t.conns.out(&p); c != nil {
		return t.reply(port, &p, c, d)
	}
	if t.sysctl.NATICMPSend.On() && t.fromNATServer(&p) && !(p.proto == protoTCP && p.l4[13]&flagRST != 0) {
		o := dropped("a NAT server's packet without a connection (nat_icmp_send)")
		if p.ttl > 1 { // ip_forward has counted it down by then
			p.hop()
			o.frames = t.tell(port, &p, t.ownAddr(port, p.v6), portUnreachable, 0, d)
		}
		return o
	}
	return t.request(port, &p, d)
}

// request is a client's packet (ip_vs_in).
func (t *forwarder) request(port int, p *ip, d drawn) outcome {
	c := t.conns.in(p)
	switch {
	case c == nil:
	case t.opensAnew(p, c):
		c.dying, c = true, nil
	case !c.server.available && !t.sysctl.ExpireNodestConn.On():
		return outcome{verdict: dataplane.Drop, rule: "the server was removed (expire_nodest_conn=0)", conn: c}
	case !c.server.available:
		c.dying, c = true, nil
	}
	if c == nil {
		var o outcome
		if c, o = t.schedule(port, p, d); c == nil {
			return o
		}
	}
	c.advance(p, false, t.secure())
	return t.transmit(port, p, c, d)
}

func (t *forwarder) secure() bool { return t.sysctl.SecureTCP >= 2 }

// opensAnew says whether a SYN is taken for the first packet of another connection than
// c (is_new_conn, is_new_conn_expected).
func (t *forwarder) opensAnew(p *ip, c *conn) bool {
	if p.proto != protoTCP || p.l4[13]&flagSYN == 0 {
		return false
	}
	if t.sysctl.ExpireNodestConn.On() && c.server.Weight == 0 {
		return true
	}
	if t.sysctl.ConnReuseMode == 0 || c.child {
		return false
	}
	return c.state == "TIME_WAIT" || c.state == "CLOSE" ||
		t.sysctl.ConnReuseMode&2 != 0 && c.state == "FIN_WAIT" && c.noOutput
}

// schedule makes a connection, or says what becomes of the packet without one.
func (t *forwarder) schedule(port int, p *ip, d drawn) (*conn, outcome) {
	if p.proto == protoTCP {
		syn, rst := p.l4[13]&flagSYN != 0, p.l4[13]&flagRST != 0
		if rst || !syn && !t.sysctl.SloppyTCP.On() {
			return nil, passed("no connection, and none may be opened")
		}
	}
	svc := find(t.services, p)
	if svc == nil {
		return nil, passed("no service")
	}
	from, to := p.from(), p.to()
	if from.Port() == 20 {
		return nil, passed("source port 20: active FTP data of a server")
	}
	leave := func(rule string) (*conn, outcome) {
		if svc.Key.Port == 21 && to.Port() != 21 {
			return nil, passed("an FTP service and another port (ip_vs_leave)")
		}
		o := dropped(rule)
		o.frames = t.tell(port, p, p.dst, portUnreachable, 0, d)
		return nil, o
	}
	chosen := func(s *server) bool { return s.Addr == d.server() }
	var srv *server
	if svc.Persistence.Timeout > 0 {
		k := svc.templateFor(p)
		srv = svc.made[k]
		if srv != nil && (!srv.available || t.sysctl.ExpireQuiescentTemplate.On() && srv.Weight == 0) {
			delete(svc.made, k) // for good: ip_vs_check_template
			srv = nil
		}
		if srv == nil {
			if srv = svc.choose(chosen); srv == nil {
				return leave("no server available, persistent")
			}
			svc.made[k] = srv
		}
	} else {
		if to.Port() != svc.Key.Port {
			return leave("another port than the service's")
		}
		if srv = svc.choose(chosen); srv == nil {
			if svc.Scheduler != "sh" && svc.anyUsable() {
				return leave("a server is available, but " + svc.Scheduler + " chose none or one that it may not")
			}
			return leave("no server available")
		}
	}
	c := &conn{
		proto: p.proto, client: from, virtual: to, dest: netip.AddrPortFrom(srv.Addr, to.Port()), method: srv.Forward,
		server: srv, state: "NONE", noOutput: srv.Forward != conf.NAT, child: svc.Persistence.Timeout > 0,
	}
	if srv.Port != 0 && (!c.child || to.Port() == svc.Key.Port) {
		c.dest = netip.AddrPortFrom(srv.Addr, srv.Port)
	}
	if p.proto == protoUDP {
		c.state = "UDP"
	}
	if !svc.OnePacket { // else it is gone with its packet
		t.conns.insert(c)
		if t.recent = append(t.recent, c); len(t.recent) > 2000 {
			t.recent = t.recent[1000:]
		}
	}
	return c, outcome{}
}

// transmit is ip_vs_nat_xmit, ip_vs_dr_xmit and ip_vs_tunnel_xmit. The order is that of
// __ip_vs_get_out_rt: route, TTL, MTU.
func (t *forwarder) transmit(port int, p *ip, c *conn, d drawn) outcome {
	refuse := func(rule string, kind icmpKind, mtu int) outcome {
		return outcome{verdict: dataplane.Drop, rule: rule, conn: c, frames: t.tell(port, p, c.virtual.Addr(), kind, mtu, d)}
	}
	rt := t.routeTo(c.dest.Addr())
	if rt == nil {
		return refuse("no route to the server", hostUnreachable, 0)
	}
	if p.ttl <= 1 {
		return refuse("TTL spent", timeExceeded, 0)
	}
	p.hop()
	p.recordRoute(p.dst) // the virtual address: ip_options_compile, for a packet to the host itself
	mtu := t.mtuOf(rt)
	if c.method == conf.Tunnel {
		least := 68 // RFC 791 section 3.2; RFC 8200 section 5
		if mtu -= 20; c.dest.Addr().Is6() {
			mtu, least = mtu-20, 1280
		}
		if mtu < least {
			return outcome{verdict: dataplane.Drop, rule: "the tunnel's MTU is below the least", conn: c}
		}
	}
	mayCut := !p.df() || c.method == conf.Tunnel && !p.v6 && !t.sysctl.PMTUDisc.On()
	if p.length() > mtu && !mayCut {
		return refuse("longer than the MTU, with DF", tooBig, mtu)
	}
	q := *p
	switch c.method {
	case conf.NAT:
		q = p.toServer(c.dest)
	case conf.Tunnel:
		q = t.wrap(p, rt, c.dest.Addr(), d)
	}
	return outcome{verdict: dataplane.Send, rule: "to the server, by method " + methods[c.method], conn: c, frames: t.send(&q, rt, c.dest.Addr(), d)}
}

var methods = map[conf.Forward]string{conf.NAT: "NAT", conf.DR: "DR", conf.Tunnel: "IPIP"}

// wrap puts the outer header before a packet (ip_vs_tunnel_xmit).
func (t *forwarder) wrap(p *ip, rt *route, to netip.Addr, d drawn) ip {
	tos := p.tos
	if tos&3 == 3 { // congestion experienced becomes ECT(0): INET_ECN_encapsulate
		tos = tos&^3 | 2
	}
	q := ip{v6: to.Is6(), src: t.ownAddr(rt.port, to.Is6()), dst: to, tos: tos, ttl: p.ttl, proto: protoIPIP, l4: p.bytes()}
	if p.v6 {
		q.proto = protoIPv6
	}
	q.next = q.proto
	if !p.v6 && p.df() && t.sysctl.PMTUDisc.On() {
		q.flags = 2
	} else {
		q.id = d.id
	}
	return q
}

// reply is a server's packet of connection c (handle_response). Routing, TTL and MTU come
// first: they are ip_forward's, which the hook stands behind.
func (t *forwarder) reply(port int, p *ip, c *conn, d drawn) outcome {
	if c.method != conf.NAT {
		c.advance(p, true, t.secure())
		return outcome{verdict: dataplane.Pass, rule: "an answer that needs no translation", conn: c}
	}
	rt := t.routeTo(p.dst)
	self := t.ownAddr(port, p.v6)
	switch mtu := t.mtuOf(rt); {
	case p.ttl <= 1:
		return outcome{verdict: dataplane.Drop, rule: "TTL spent, answer", frames: t.tell(port, p, self, timeExceeded, 0, d)}
	case p.length() > mtu && p.df():
		return outcome{verdict: dataplane.Drop, rule: "longer than the MTU, answer", frames: t.tell(port, p, self, tooBig, mtu, d)}
	}
	c.advance(p, true, t.secure())
	p.hop()
	p.recordRoute(t.ownAddr(rt.port, false))
	q := p.toClient(c.virtual)
	return outcome{verdict: dataplane.Send, rule: "to the client", conn: c, frames: t.send(&q, rt, p.dst, d)}
}

// fromNATServer reports whether a packet's source is a server behind NAT.
func (t *forwarder) fromNATServer(p *ip) bool {
	for _, s := range t.services {
		for _, srv := range s.servers {
			if srv.Forward == conf.NAT && s.Key.Proto == p.proto && netip.AddrPortFrom(srv.Addr, srv.Port) == p.from() {
				return true
			}
		}
	}
	return false
}

// ownAddr is the director's address on a port.
func (t *forwarder) ownAddr(port int, v6 bool) netip.Addr {
	if v6 {
		return own[port][1].Addr()
	}
	return own[port][0].Addr()
}
