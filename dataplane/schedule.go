package dataplane

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/sched"
)

// schedule is for a packet without a connection: find its service, let the template or
// the scheduler name a server, and make the entry (tcp_conn_schedule, ip_vs_schedule). fl
// are the connection's ends, client first: the packet's own, or, if icmp, those of the
// packet that it quotes; before is what the client has tried already. With r == noReason the packet goes on with action a.
func (w *Worker) schedule(f *packet.Frame, fl *packet.Flow, icmp bool, before attempt) (a action, v Verdict, r Reason) {
	t := w.table
	if fl.Proto == packet.SCTP && !icmp {
		if _, ok := f.SCTPFirst(); !ok { // nothing says what it is: sctp_conn_schedule
			return a, Drop, ShortTransport
		}
	}
	sloppy := fl.Proto == packet.TCP && t.sysctl.SloppyTCP.On() || fl.Proto == packet.SCTP && t.sysctl.SloppySCTP.On()
	if !icmp && fl.Proto != packet.UDP && (resets(f) || !opens(f) && !sloppy) {
		w.explainNotOpening(f)
		return a, Pass, NoConnection
	}
	svc := t.service(f, fl)
	if svc == nil {
		w.explainNoService(f)
		return a, Pass, NoService
	}
	rules := svc.rules.Load()
	w.explainService(rules)
	if w.plane.defence.Packets.Drop() {
		return a, Drop, Defended
	}
	if fl.SrcPort == ftpDataPort {
		w.explainWhy(whyFTPSource)
		return a, Pass, FTPData
	}
	var server *Server
	var parent template
	port := fl.DstPort
	if rules.persistent {
		server, parent, r = w.sticky(f, fl, svc, rules, before.refusedBy)
		if r != noReason {
			return w.leave(f, fl, icmp, svc, r)
		}
		if port == svc.Key.Port && server.Port != 0 {
			port = server.Port
		}
	} else {
		if svc.Key.Fwmark == 0 && port != svc.Key.Port {
			return w.leave(f, fl, icmp, svc, PortMismatch)
		}
		if server = w.pick(fl, rules, before.refusedBy); server == nil {
			return w.leave(f, fl, icmp, svc, NoDestination)
		}
		if server.Port != 0 {
			port = server.Port
		}
	}
	return w.connect(f, fl, icmp, rules, server, parent, port, before.refusals)
}

// pick asks the scheduler. A server that has just refused the client is chosen only if
// there is no other.
func (w *Worker) pick(fl *packet.Flow, rules *serviceRules, refusedBy *Server) *Server {
	w.request = sched.Request{Src: fl.Src, Dst: fl.Dst, SrcPort: fl.SrcPort, Proto: fl.Proto, V6: fl.V6, Now: w.now}
	s := rules.sched.Pick(&w.request)
	if refusedBy != nil && (s == nil || s.ID == refusedBy.ID) { // nil: a hash leads there
		if other := rules.sched.Besides(&refusedBy.Server); other != nil {
			s = other
		}
	}
	if s == nil {
		w.explainNoServer(rules)
		return nil
	}
	w.explainPick(rules.schedName)
	return w.plane.servers.at(s.ID)
}

// connect makes the connection's entry and takes the packet as its first. So many servers
// have refused the client before.
func (w *Worker) connect(f *packet.Frame, fl *packet.Flow, icmp bool, rules *serviceRules, server *Server, parent template, port uint16, refusals int) (a action, v Verdict, r Reason) {
	sr := server.rules.Load()
	c := conntrack.Conn{
		Client: fl.Src, ClientPort: fl.SrcPort, Virtual: fl.Dst, VirtualPort: fl.DstPort,
		Dest: server.Addr, DestPort: port, Proto: fl.Proto, Server: server.ID,
		Flags: sr.flags(), Timeout: conntrack.Initial,
	}
	c.SetRefusals(refusals)
	if fl.V6 {
		c.Flags |= conntrack.FlagV6
	}
	if ftpControl(&c) {
		c.Flags |= conntrack.FlagApp
	}
	if rules.onePacket && fl.Proto == packet.UDP {
		// Bound only while it passes: nothing to look up later, nothing to expire.
		w.count.at(server.ID).Conns++
		if !icmp { // errors are counted where they are sent on
			w.countIn(server, f)
		}
		server.bind(&c)
		server.unbind(&c)
		parent.release(w)
		w.explainConn(&c)
		return actionOf(&c, server), Pass, noReason
	}
	s, h := w.conns.Lock(fl.Proto, &fl.Src, fl.SrcPort, w.tick)
	defer s.Unlock()
	defer parent.release(w)
	k := conntrack.Key{Client: fl.Src, ClientPort: fl.SrcPort, Other: fl.Dst, OtherPort: fl.DstPort, Proto: fl.Proto, V6: fl.V6}
	if ref := s.In(h, &k); ref != 0 && w.tick.Before(s.At(ref).Expires()) {
		// Another worker was first with a packet of this flow (not the old entry that
		// this one replaces: that one's time is over).
		e := s.At(ref)
		server = w.serverOf(e)
		if !icmp {
			w.fromClient(s, ref, e, f, server)
		}
		return actionOf(e, server), Pass, noReason
	}
	ref, err := s.Insert(h, &c, parent.ref, w.tick)
	if err != nil {
		return a, Drop, TableFull
	}
	w.count.at(server.ID).Conns++
	server.bind(&c)
	if c.Flags&conntrack.FlagApp != 0 {
		w.plane.ftp.live.Add(1)
	}
	e := s.At(ref)
	if icmp { // no packet of the connection itself: it stays as it was made
		w.explainConn(e)
	} else {
		w.fromClient(s, ref, e, f, server)
	}
	a = actionOf(e, server)
	w.helped(&a, ref, e)
	return a, Pass, noReason
}

// template is a persistence template held as a parent: its Children count has been
// raised, so that it cannot expire before the child is in place.
type template struct{ ref conntrack.Ref }

func (t template) release(w *Worker) {
	if t.ref != 0 {
		w.conns.Release(t.ref)
	}
}

// sticky finds or makes the client's template (ip_vs_sched_persist) and returns its
// server. The template's server is used whatever its weight or load.
func (w *Worker) sticky(f *packet.Frame, fl *packet.Flow, svc *Service, rules *serviceRules, refusedBy *Server) (server *Server, parent template, r Reason) {
	k := conntrack.Key{Client: rules.masked(&fl.Src), Proto: fl.Proto, V6: fl.V6, Other: fl.Dst}
	same := fl.DstPort == svc.Key.Port
	switch {
	case svc.Key.Fwmark != 0: // one template for all that the mark gathers
		k.Proto, k.Other = 0, markAddr(svc.Key.Fwmark, fl.V6)
	case same && fl.DstPort != ftpPort:
		k.OtherPort = svc.Key.Port
	}
	var call []byte // the Call-ID, for a service with the SIP engine
	if rules.conf.Persistence.Engine != "" {
		var ok bool
		if call, ok = sipCall(f); !ok {
			return nil, parent, NoCallID
		}
		k.ClientPort = w.plane.engine.Port(call)
	}
	return w.stick(&k, call, nil, refusedBy, fl, rules)
}

// masked is the address of a client's template.
func (r *serviceRules) masked(client *packet.Addr) (a packet.Addr) {
	for i := range a {
		a[i] = client[i] & r.mask[i]
	}
	return a
}

// stick finds the template of k, and of call for a service with the engine, or makes it,
// and holds it. want is the server that it must be of; nil: of any, and the scheduler
// names a new one's. An unfit one is disabled (ip_vs_check_template), and so is one whose
// server has just refused the client.
func (w *Worker) stick(k *conntrack.Key, call []byte, want, refusedBy *Server, fl *packet.Flow, rules *serviceRules) (server *Server, parent template, r Reason) {
	s, h := w.conns.Lock(k.Proto, &k.Client, k.ClientPort, w.tick)
	defer s.Unlock()
	var ref conntrack.Ref
	if call != nil {
		ref = w.plane.engine.Template(s, h, k, call)
	} else {
		ref = s.Template(h, k)
	}
	if ref != 0 {
		server = w.serverOf(s.At(ref))
		if want != nil && server != want || refusedBy != nil && server == refusedBy || !server.leads(w.table.sysctl.ExpireQuiescentTemplate.On()) {
			s.Disable(ref)
			ref = 0
		}
	}
	if ref == 0 {
		if server = want; server == nil {
			server = w.pick(fl, rules, refusedBy)
		}
		if server == nil {
			return nil, parent, NoDestination
		}
		c := conntrack.Conn{
			Client: k.Client, ClientPort: k.ClientPort, Virtual: k.Other, VirtualPort: k.OtherPort, Dest: server.Addr,
			Proto: k.Proto, Server: server.ID, Timeout: rules.timeout,
			Flags: server.rules.Load().flags() | conntrack.FlagTemplate,
		}
		if fl.V6 {
			c.Flags |= conntrack.FlagV6
		}
		if k.OtherPort != 0 { // 0 of a fwmark service too
			c.DestPort = server.Port
		}
		var err error
		if ref, err = s.Insert(h, &c, 0, w.tick); err != nil {
			return nil, parent, TableFull
		}
		if call != nil {
			w.plane.engine.SetData(ref, conntrack.SIPEngine, call)
		}
		server.bind(&c)
	} else {
		w.explainPick("template")
	}
	w.conns.Hold(ref)
	s.Touch(ref, w.tick)
	return server, template{ref}, noReason
}

// markAddr is the virtual address of a fwmark service's template: the mark in the first
// word of the address, as listings show it (0.0.0.1 for mark 1).
func markAddr(mark uint32, v6 bool) (a packet.Addr) {
	if v6 {
		binary.BigEndian.PutUint32(a[:], mark)
		return a
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], mark)
	return packet.AddrFrom4(b)
}

// leave is the end of a packet whose service has no server for it (ip_vs_leave): the
// client is told port unreachable, also for TCP, unless the host may want it or it goes
// on without a server.
func (w *Worker) leave(f *packet.Frame, fl *packet.Flow, icmp bool, svc *Service, r Reason) (action, Verdict, Reason) {
	if r == TableFull || r == NoCallID {
		return action{}, Drop, r
	}
	if w.bypasses(fl, icmp, svc) {
		return w.bypass(f, fl, svc.rules.Load())
	}
	if svc.Key.Fwmark == 0 && svc.Key.Port == ftpPort && fl.DstPort != ftpPort {
		return action{}, Pass, FTPData
	}
	if icmp { // no error about an error
		return action{}, Drop, r
	}
	w.sendICMP(f, f.Flow.Dst, icmpPortUnreachable, 0)
	return action{}, Drop, r
}

// methodReason is the reason of a packet that leaves by a method.
var methodReason = [...]Reason{
	conf.NAT: ForwardNAT, conf.Local: ForwardLocal, conf.Tunnel: ForwardTunnel, conf.DR: ForwardDR,
	conf.Bypass: ForwardBypass,
}
