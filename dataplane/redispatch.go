package dataplane

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// A server whose daemon has died refuses connections until its checks say so. With
// redispatch those refusals end here: the client hears nothing, repeats its SYN after a
// second or so (RFC 6298 section 2.1), and is given to another server. The director keeps
// no packet for that and answers for nobody. It is NAT's alone, for of other methods the
// director does not see what servers say.

// attempt is what a client has tried so far whose SYN comes again after a refusal. The zero
// attempt is a first one.
type attempt struct {
	refusedBy *Server
	refusals  int // that the client was not told of
}

// withholds takes a server's packet that is a reset, or of a connection that was refused
// before, and reports whether it is a refusal that is to be kept from the client.
func (w *Worker) withholds(f *packet.Frame, c *conntrack.Conn, server *Server) bool {
	waits := c.Flags&conntrack.FlagRefused != 0 // for the client's next SYN
	if server == nil || !refuses(f, c, waits) {
		c.Flags &^= conntrack.FlagRefused // it has accepted after all
		return false
	}
	if waits { // the answer to a second SYN
		return true
	}
	svc := server.service.Load()
	if svc == nil {
		return false
	}
	rules, refusals := svc.rules.Load(), c.Refusals()
	// A port other than the service's own says nothing of the server: that of an FTP data
	// connection, or one of a persistent mark's that nobody is meant to serve.
	own := svc.Key.Port == c.VirtualPort || svc.Key.Fwmark != 0 && !rules.persistent
	withhold := refusals < rules.conf.Redispatch && own
	if withhold {
		c.Flags |= conntrack.FlagRefused
	}
	if withhold || refusals > 0 {
		server.refusals.Add(1)
	}
	return withhold
}

// refuses reports whether a server's packet says that nobody listens: a RST that answers a
// SYN has the sequence number 0 and an acknowledgment (RFC 9293 section 3.10.7.1); one of
// a server that has accepted goes on from its own SYN.
func refuses(f *packet.Frame, c *conntrack.Conn, again bool) bool {
	return c.Proto == packet.TCP && (again || c.State == conntrack.TCPSynRecv) && conf.Forward(c.Method()) == conf.NAT &&
		f.TCPFlags&(packet.RST|packet.ACK|packet.SYN) == packet.RST|packet.ACK &&
		binary.BigEndian.Uint32(f.Buf[f.L4+4:]) == 0
}
