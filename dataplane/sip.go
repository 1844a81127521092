package dataplane

import (
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// sipCall is the Call-ID of a SIP message in UDP (ip_vs_sip_fill_param).
func sipCall(f *packet.Frame) ([]byte, bool) {
	if f.Flow.Proto != packet.UDP || f.FragOff != 0 || f.L4+8 >= f.IPEnd {
		return nil, false
	}
	return conntrack.CallID(f.Buf[f.L4+8 : f.IPEnd])
}

// starters are the NAT servers that may begin connections of a service with the SIP
// engine, by the end they send from; nil while there is no such service. Of servers that
// share an end the one added last is found, whatever its service
// (ip_vs_find_real_service).
func (p *Plane) starters() map[serviceAddr]*Server {
	if p.engines == 0 {
		return nil
	}
	m := map[serviceAddr]*Server{}
	for k, svc := range p.services {
		if k.Fwmark == 0 && k.Proto != packet.UDP {
			continue
		}
		for _, s := range svc.servers {
			end := serviceAddr{s.Addr, s.Port, packet.UDP, s.V6}
			if old := m[end]; s.rules.Load().method == conf.NAT && (old == nil || old.added < s.added) {
				m[end] = s
			}
		}
	}
	for end, s := range m { // who hides another's end and begins nothing goes last
		if k := s.service.Load().Key; k.Fwmark != 0 || k.Port == 0 || end.port == 0 || s.service.Load().rules.Load().conf.Persistence.Engine == "" {
			delete(m, end)
		}
	}
	return m
}

// countEngine keeps how many services have an engine whose servers may be starters, so that
// a change of another service need not look at them all.
func (p *Plane) countEngine(r *serviceRules, by int) {
	if k := &r.conf.Key; k.Fwmark == 0 && k.Proto == packet.UDP && r.conf.Persistence.Engine != "" {
		p.engines += by
	}
}

// startCall makes the connection of a UDP packet from a server that belongs to none: a
// request of its own, or a one-packet service's answer, so that what the client sends
// back finds that server (__ip_vs_rs_conn_out, ip_vs_new_conn_out). It is not ok for any
// other packet, among them one without a Call-ID.
func (w *Worker) startCall(f *packet.Frame) (a action, ok bool) {
	fl := &f.Flow
	server := w.table.starters[serviceAddr{fl.Src, fl.SrcPort, packet.UDP, fl.V6}]
	if server == nil || server.rules.Load().method != conf.NAT || !w.leaves(f) {
		return a, false
	}
	svc := server.service.Load()
	rules := svc.rules.Load()
	// The connection as its client will see it: of its packets to the service.
	in := packet.Flow{Src: fl.Dst, SrcPort: fl.DstPort, Dst: svc.vip, DstPort: svc.Key.Port, Proto: packet.UDP, V6: fl.V6}
	var parent template
	if rules.persistent {
		call, found := sipCall(f)
		if !found {
			return a, false
		}
		k := conntrack.Key{Proto: packet.UDP, V6: fl.V6, Other: svc.vip, OtherPort: svc.Key.Port, ClientPort: w.plane.engine.Port(call)}
		k.Client = rules.masked(&fl.Dst)
		var r Reason
		if _, parent, r = w.stick(&k, call, server, nil, &in, rules); r != noReason {
			return a, false
		}
		defer parent.release(w)
	}
	c := conntrack.Conn{
		Client: in.Src, ClientPort: in.SrcPort, Virtual: in.Dst, VirtualPort: in.DstPort,
		Dest: fl.Src, DestPort: fl.SrcPort, Proto: packet.UDP, Server: server.ID,
		Flags: server.rules.Load().flags(), Timeout: conntrack.Initial,
	}
	if fl.V6 {
		c.Flags |= conntrack.FlagV6
	}
	a = action{addr: c.Virtual, port: c.VirtualPort, method: conf.NAT, server: server}
	if rules.onePacket { // bound only while it passes
		w.count.at(server.ID).Conns++
		server.bind(&c)
		server.unbind(&c)
		if parent.ref != 0 {
			w.conns.At(parent.ref).Assure()
		}
		w.explainConn(&c)
	} else if !w.putCall(f, &c, parent, server) {
		return a, false
	}
	w.explainService(rules)
	w.explainWhy(whyServerBegins)
	w.countOut(server, f)
	return a, true
}

// putCall puts the connection into the table, before older ones of the client's, and takes
// the server's packet as its first. It is false when the table is full.
func (w *Worker) putCall(f *packet.Frame, c *conntrack.Conn, parent template, server *Server) bool {
	s, h := w.conns.Lock(packet.UDP, &c.Client, c.ClientPort, w.tick)
	defer s.Unlock()
	k := conntrack.Key{Client: c.Client, ClientPort: c.ClientPort, Other: c.Dest, OtherPort: c.DestPort, Proto: c.Proto, V6: c.Flags&conntrack.FlagV6 != 0}
	ref := s.Out(h, &k)
	if ref == 0 { // no other worker was first
		var err error
		if ref, err = s.Insert(h, c, parent.ref, w.tick); err != nil {
			return false
		}
		w.count.at(server.ID).Conns++
		server.bind(c)
	}
	e := s.At(ref)
	w.advance(s, ref, e, conntrack.Output, f, server)
	w.explainConn(e)
	return true
}

// leaves reports whether ip_forward would take a packet on its way to another host: the
// hook for the host's own packets (LOCAL_IN) begins nothing, and what ip_forward stops
// does not come by.
func (w *Worker) leaves(f *packet.Frame) bool {
	rt := w.route(&f.Flow.Dst)
	return rt != nil && rt.kind == Unicast && !w.table.ours(f) && !w.stopsReply(f)
}
