package dataplane

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// A server whose daemon has died refuses connections until its checks say so. With
// redispatch those refusals end here: the client hears nothing, repeats its SYN after a
// second (RFC 6298 section 2.1), and is given to another server. The director keeps no
// packet for that and answers for nobody. It is NAT's alone, for of other methods the
// director does not see what servers say.

// attempt is what a client has tried so far whose SYN comes again after a refusal. The zero
// attempt is a first one.
type attempt struct {
	refusedBy *Server
	syns      uint32 // SYNs that the client has sent before this one
}

// withholds reports whether a server's packet of connection c refuses it and is to be kept
// from the client, as its service may be asked again.
func (w *Worker) withholds(f *packet.Frame, c *conntrack.Conn, server *Server) bool {
	if f.TCPFlags&packet.RST == 0 || server == nil || !refuses(f, c) {
		return false
	}
	svc := server.service.Load()
	return svc != nil && int64(c.InPkts) <= int64(svc.rules.Load().conf.Redispatch)
}

// refuses reports whether a server's packet says that nobody listens: a RST that answers a
// SYN has the sequence number 0 and an acknowledgment (RFC 9293 section 3.10.7.1); one of
// a server that has accepted goes on from its own SYN.
func refuses(f *packet.Frame, c *conntrack.Conn) bool {
	return c.Proto == packet.TCP && c.State == conntrack.TCPSynRecv && conf.Forward(c.Method()) == conf.NAT &&
		f.TCPFlags&(packet.RST|packet.ACK|packet.SYN) == packet.RST|packet.ACK &&
		binary.BigEndian.Uint32(f.Buf[f.L4+4:]) == 0
}
