package dataplane

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// process is the journey of one parsed frame: it ends in one verdict with one reason. bad
// is what Parse said of it. What it sends is in the worker's transmit lists, which the end
// of the batch flushes.
//
// Like the kernel's hooks it offers every packet first to the connection a server's
// answer would belong to, then to the client's (ip_vs_out, then ip_vs_in).
func (w *Worker) process(f *packet.Frame, bad packet.Bad) (Verdict, Reason) {
	if bad != packet.None {
		return w.notPacket(f, bad)
	}
	if f.Fragment() && !isIPsec(f) && w.table.serves(f.Flow.V6) && (!f.L2 || f.IsTo(&w.table.ports[f.Port].MAC)) {
		return w.fragment(f)
	}
	return w.packet(f)
}

// packet is the journey of a whole packet.
func (w *Worker) packet(f *packet.Frame) (Verdict, Reason) {
	w.explainFlow(f)
	v, r := w.decide(f)
	if v == Pass && r != NotForUs {
		return w.pass(f, r)
	}
	return v, r
}

func (w *Worker) decide(f *packet.Frame) (Verdict, Reason) {
	if v, r, done := w.notBalanced(f); done {
		return v, r
	}
	if !w.table.serves(f.Flow.V6) {
		w.explainWhy(whyNoFamily)
		return Pass, NoService
	}
	if martian(f) {
		return Drop, Martian
	}
	if hasOptions(f) && sourceRouted(f) {
		return Drop, SourceRouted
	}
	if isIPsec(f) {
		return w.ipsec(f)
	}
	var a action
	if w.conns.MayAnswer(&f.Flow.Src) && w.reply(f, &a) {
		v, r := w.answer(f, &a)
		w.release(&a)
		return v, r
	}
	if w.table.starters != nil && f.Flow.Proto == packet.UDP {
		if a, ok := w.startCall(f); ok {
			return w.answer(f, &a)
		}
	}
	if w.table.sysctl.NATICMPSend.On() && w.strayAnswer(f) {
		return Drop, StrayAnswer
	}
	found, v, r := w.established(f, &a)
	if !found && r == noReason && w.findPortless(f) {
		found, v, r = w.established(f, &a)
	}
	if !found && r == noReason {
		if a, v, r = w.schedule(f, &f.Flow, false, a.before); r != noReason {
			return v, r
		}
		found = true
	}
	if !found {
		return v, r
	}
	v, r = w.forward(f, &a)
	w.release(&a)
	return v, r
}

// findPortless looks for an FTP data connection that waits for its client.
func (w *Worker) findPortless(f *packet.Frame) bool {
	if !w.conns.WaitsForPort() {
		return false
	}
	var k conntrack.Key
	k.FromClient(&f.Flow)
	return w.conns.FindPortless(&k, w.tick)
}

// noReason says that a stage has not decided.
const noReason = Reasons

// action is what the tables decided for a packet, copied out of the entry so that its
// shard is unlocked before the packet is rewritten.
type action struct {
	addr        packet.Addr // the end to put in place of the packet's destination (or, for answers, source)
	port        uint16
	method      conf.Forward
	server      *Server       // nil for an entry bound to none
	quote       *quote        // of an ICMP error that belongs to the connection; nil for its own packets
	app         conntrack.Ref // the entry, if a helper reads along and it is held for that; else 0
	established bool          // TCP ESTABLISHED, for the helper
	withheld    bool          // a refusal that the client does not get
	before      attempt       // of a client whose older connection was ended here
}

// reply finds the connection of a packet from a server and takes the packet's effect
// on it (handle_response).
func (w *Worker) reply(f *packet.Frame, a *action) bool {
	var k conntrack.Key
	k.FromServer(&f.Flow)
	s, h := w.conns.Lock(k.Proto, &k.Client, k.ClientPort, w.tick)
	r := s.Out(h, &k)
	if r == 0 {
		s.Unlock()
		return false
	}
	c := s.At(r)
	a.addr, a.port, a.method, a.server = c.Virtual, c.VirtualPort, conf.Forward(c.Method()), w.serverOf(c)
	if a.method == conf.NAT && w.stopsReply(f) {
		w.explainConn(c)
		s.Unlock()
		return true
	}
	if f.TCPFlags&packet.RST != 0 || c.Flags&conntrack.FlagRefused != 0 {
		a.withheld = w.withholds(f, c, a.server)
	}
	w.advance(s, r, c, conntrack.Output, f, a.server)
	w.helped(a, r, c)
	w.explainConn(c)
	s.Unlock()
	w.countOut(a.server, f)
	return true
}

// established finds the connection of a packet from a client and takes the packet's
// effect on it. With r == noReason and found false the packet has none and may open one.
func (w *Worker) established(f *packet.Frame, a *action) (found bool, v Verdict, reason Reason) {
	var k conntrack.Key
	k.FromClient(&f.Flow)
	s, h := w.conns.Lock(k.Proto, &k.Client, k.ClientPort, w.tick)
	if r := s.In(h, &k); r != 0 {
		found, reason = w.belongs(f, s, r, a)
		s.Unlock()
		if reason != noReason {
			return false, Drop, reason
		}
		return found, Pass, noReason
	}
	s.Unlock()
	return false, Pass, noReason
}

// belongs takes a client's packet for entry r of shard s, unless one of the sysctls says
// that the entry is over.
func (w *Worker) belongs(f *packet.Frame, s *conntrack.Shard, r conntrack.Ref, a *action) (bool, Reason) {
	c := s.At(r)
	server := w.serverOf(c)
	if opens(f) {
		if c.Flags&conntrack.FlagRefused != 0 {
			a.before = attempt{server, c.Refusals() + 1}
			w.explainEnded(redispatch)
			s.Expire(r, w.tick)
			return false, noReason
		}
		if by := w.opensAnew(c, server); by != "" {
			w.explainEnded(by)
			s.Expire(r, w.tick)
			return false, noReason
		}
	}
	if server != nil && !server.Available.Load() {
		if !w.table.sysctl.ExpireNodestConn.On() {
			w.explainConn(c)
			return false, ServerGone
		}
		w.explainEnded(expireNodest)
		s.Expire(r, w.tick)
		return false, noReason
	}
	w.fromClient(s, r, c, f, server)
	a.of(c, server)
	w.helped(a, r, c)
	return true, noReason
}

// helped holds an entry that a helper reads along until the helper is done: release.
func (w *Worker) helped(a *action, r conntrack.Ref, c *conntrack.Conn) {
	if c.Flags&conntrack.FlagApp != 0 {
		a.app, a.established = r, c.State == conntrack.TCPEstablished
		w.conns.Hold(r)
	}
}

// release ends what helped began.
func (w *Worker) release(a *action) {
	if a.app != 0 {
		w.conns.Release(a.app)
	}
}

// of is what becomes of a packet from c's client. It is written field by field, as a
// structure built elsewhere and copied would wait for its own stores.
func (a *action) of(c *conntrack.Conn, server *Server) {
	a.addr, a.port, a.method, a.server = c.Dest, c.DestPort, conf.Forward(c.Method()), server
}

func actionOf(c *conntrack.Conn, server *Server) (a action) {
	a.of(c, server)
	return a
}

// fromClient counts a client's packet for its connection and moves the state on.
func (w *Worker) fromClient(s *conntrack.Shard, r conntrack.Ref, c *conntrack.Conn, f *packet.Frame, server *Server) {
	if server != nil {
		k := w.count.at(server.ID)
		k.InPkts++
		k.InBytes += uint64(f.IPLen())
	}
	w.advance(s, r, c, conntrack.Input, f, server)
	if c.InPkts != ^uint32(0) {
		c.InPkts++
	}
	w.explainConn(c)
}

// The settings that let a packet end an older connection of its ends.
const (
	expireNodest  = "expire_nodest_conn"
	connReuseMode = "conn_reuse_mode"
	redispatch    = "redispatch" // of the service
)

// opensAnew says by which sysctl a packet that begins a connection must not be taken for
// one of the old entry c, "" if by none (is_new_conn and is_new_conn_expected in
// ip_vs_core.c).
func (w *Worker) opensAnew(c *conntrack.Conn, server *Server) string {
	if server != nil && server.pinned {
		return "" // to whom it was pinned, and to nobody else
	}
	if w.table.sysctl.ExpireNodestConn.On() && server != nil && server.Weight.Load() == 0 {
		return expireNodest
	}
	mode := w.table.sysctl.ConnReuseMode
	if mode == 0 || c.Parent() != 0 {
		return ""
	}
	anew := false
	switch {
	case c.Proto == packet.SCTP:
		anew = c.State == conntrack.SCTPClosed
	case c.State == conntrack.TCPTimeWait, c.State == conntrack.TCPClose:
		anew = true
	case c.State == conntrack.TCPFinWait:
		anew = mode&2 != 0 && c.Flags&conntrack.FlagNoOutput != 0
	}
	if anew {
		return connReuseMode
	}
	return ""
}

// opens reports whether f begins a connection (is_new_conn): a SYN, also with ACK, or an
// SCTP INIT; UDP never says so.
func opens(f *packet.Frame) bool {
	switch f.Flow.Proto {
	case packet.TCP:
		return f.TCPFlags&packet.SYN != 0
	case packet.SCTP:
		chunk, ok := f.SCTPFirst()
		return ok && chunk == packet.ChunkInit
	}
	return false
}

// advance moves a connection's state and timer, the counts of its server and the
// assurance of its template.
func (w *Worker) advance(s *conntrack.Shard, r conntrack.Ref, c *conntrack.Conn, dir conntrack.Direction, f *packet.Frame, server *Server) {
	event := f.TCPFlags
	if f.Flow.Proto == packet.SCTP {
		var ok bool
		if event, ok = f.SCTPChunk(); !ok {
			s.Touch(r, w.tick)
			return
		}
	}
	if ch := c.Advance(dir, event, &w.table.timeouts); ch != 0 {
		if server != nil {
			server.moved(ch)
		}
		if ch&conntrack.Answered != 0 && c.Parent() != 0 {
			w.conns.At(c.Parent()).Assure()
		}
	}
	s.Touch(r, w.tick)
}

// serverOf is the server an entry is bound to, nil if none.
func (w *Worker) serverOf(c *conntrack.Conn) *Server {
	if c.Server == conntrack.NoServer {
		return nil
	}
	return w.plane.servers.at(c.Server)
}

// notPacket is the end of a frame without a well-formed IP packet.
func (w *Worker) notPacket(f *packet.Frame, bad packet.Bad) (Verdict, Reason) {
	switch bad {
	case packet.ARP:
		return w.neighbor(f)
	case packet.NotIP:
		return Pass, NotIP
	}
	return Drop, badReason[bad]
}

// notBalanced sorts out what never reaches a connection: other hosts' frames,
// neighbour discovery, ICMP and protocols without ports.
func (w *Worker) notBalanced(f *packet.Frame) (Verdict, Reason, bool) {
	port := &w.table.ports[f.Port]
	if f.L2 && !f.IsTo(&port.MAC) {
		if w.discovery(f) { // solicitations come by multicast
			v, r := w.neighbor(f)
			return v, r, true
		}
		return Pass, NotForUs, true
	}
	if f.Fragment() && !isIPsec(f) {
		w.explainWhy(whyFragmentFamily)
		return Pass, NoService, true // nobody collects fragments while there is no service
	}
	switch f.Flow.Proto {
	case packet.TCP, packet.UDP, packet.SCTP, packet.ESP, packet.AH:
		return Pass, noReason, false
	case packet.ICMP, packet.ICMPv6:
		if w.discovery(f) {
			v, r := w.neighbor(f)
			return v, r, true
		}
		if v, r, done := w.icmp(f); done {
			return v, r, true
		}
		w.explainWhy(whyICMP)
	}
	return Pass, NotBalanced, true
}

// ours reports whether a packet is addressed to a virtual service's address.
func (t *Table) ours(f *packet.Frame) bool { return t.vips.get(vipKey(f.Flow.Dst)) > 0 }

// discovery reports whether f is a neighbour solicitation or advertisement (RFC 4861).
func (w *Worker) discovery(f *packet.Frame) bool {
	if f.Flow.Proto != packet.ICMPv6 || !f.L2 || f.Fragment() {
		return false
	}
	typ, _ := f.ICMPType()
	return typ == 135 || typ == 136
}

// strayAnswer refuses a NAT server's packet that belongs to no connection, with port
// unreachable unless it is a reset itself (nat_icmp_send).
func (w *Worker) strayAnswer(f *packet.Frame) bool {
	k := serviceAddr{f.Flow.Src, f.Flow.SrcPort, f.Flow.Proto, f.Flow.V6}
	if w.table.natServers.get(k) == 0 {
		if k.proto = 0; w.table.natServers.get(k) == 0 { // of a fwmark service: any protocol
			return false
		}
	}
	if resets(f) {
		return false
	}
	if encap.DecTTL(f) { // as ip_forward has done by then
		w.sendICMP(f, w.ownAddr(f), icmpPortUnreachable, 0)
	}
	return true
}

// resets reports whether f is a TCP RST or an SCTP ABORT.
func resets(f *packet.Frame) bool {
	switch f.Flow.Proto {
	case packet.TCP:
		return f.TCPFlags&packet.RST != 0
	case packet.SCTP:
		chunk, ok := f.SCTPFirst()
		return ok && chunk == packet.ChunkAbort
	}
	return false
}

// martian reports whether a frame's source can be nobody's on a link: the loopback net,
// "this" net, a group or the broadcast (RFC 1812 section 5.3.7; martian_source in
// ip_route_input_slow). What comes from the host itself, without Ethernet, may be.
func martian(f *packet.Frame) bool {
	if !f.L2 {
		return false
	}
	a := &f.Flow.Src
	if f.Flow.V6 {
		return a[0] == 0xff || *a == packet.Addr{} || *a == packet.Addr{15: 1}
	}
	return a[12] == 127 || a[12] == 0 || a[12]&0xf0 == 0xe0 || binary.BigEndian.Uint32(a[12:]) == 0xffffffff
}
