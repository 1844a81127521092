package dataplane

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// FTP announces its data connections in the text of the control connection. For NAT
// control connections (virtual port 21) the director reads along, as the kernel's
// ip_vs_ftp does: it makes the entry of the data connection beforehand, and puts the
// virtual service's address into what the server announces.

// ftpTable keeps what is known of each FTP control connection. Only their packets take
// its lock.
type ftpTable struct {
	live  atomic.Int64 // control connections
	mu    sync.Mutex
	conns map[conntrack.Ref]*ftpConn
}

type ftpConn struct {
	mu       sync.Mutex
	began    bool            // the client's SYN was seen; isn is its sequence number
	isn, end uint32          // what the SYN-ACK may acknowledge: what is after isn, up to end
	answered bool            // the SYN-ACK was seen, or a RST
	verb     encap.FTPVerb   // the client's last command that the server has not answered
	toClient encap.SeqAdjust // for the bytes that announcements became longer or shorter
}

func (t *ftpTable) get(r conntrack.Ref) *ftpConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.conns[r]
	if c == nil {
		if t.conns == nil {
			t.conns = map[conntrack.Ref]*ftpConn{}
		}
		c = &ftpConn{}
		t.conns[r] = c
	}
	return c
}

func (t *ftpTable) drop(r conntrack.Ref) {
	t.live.Add(-1)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, r)
}

// FTPConns is the number of FTP control connections that are read along
// (/proc/net/ip_vs_app). Safe for concurrent use.
func (p *Plane) FTPConns() int { return int(p.ftp.live.Load()) }

// ftpControl reports whether a new connection is one the director reads along.
func ftpControl(c *conntrack.Conn) bool {
	return c.Proto == packet.TCP && c.VirtualPort == ftpPort && conf.Forward(c.Method()) == conf.NAT
}

// ftpCommand takes a client's packet of a control connection, before it is translated
// (ip_vs_ftp_in). It returns why a packet must be dropped, else noReason: where a helper
// is at work the kernel drops wrong checksums, and, by its connection tracking, what the
// client acknowledges before the server has answered its SYN: such a packet would begin
// a second tracked connection between the same ends (nf_conntrack_tcp_loose).
func (w *Worker) ftpCommand(f *packet.Frame, a *action) Reason {
	if !f.VerifyTransport() {
		return BadTransportChecksum
	}
	c := w.plane.ftp.get(a.app)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.TCPFlags & (packet.SYN | packet.FIN | packet.RST | packet.ACK) {
	case packet.SYN:
		if seq := tcpWord(f, 4); !c.began || seq != c.isn {
			c.began, c.isn, c.answered = true, seq, false
			c.end = seq + 1 + uint32(len(encap.TCPPayload(f)))
		}
	case packet.ACK:
		if c.began && !c.answered && w.table.tracks(f.Flow.V6) {
			return NotAnswered
		}
	}
	c.toClient.FixAck(f)
	if !a.established {
		return noReason
	}
	verb, at := encap.ParseFTPCommand(encap.TCPPayload(f), f.Flow.V6)
	switch verb {
	case encap.FTPPasv, encap.FTPEpsv:
		c.verb = verb
	case encap.FTPPort, encap.FTPEprt:
		// The server will call back from the port below its own.
		w.expectData(a, conntrack.Conn{
			Client: at.Addr, ClientPort: at.Port, Virtual: f.Flow.Dst, VirtualPort: f.Flow.DstPort - 1,
			Dest: a.addr, DestPort: a.port - 1,
		}, f.Flow.V6)
	}
	return noReason
}

// ftpReply takes a server's packet of a control connection, before it is translated
// (ip_vs_ftp_out), and returns the packet to send in its place; nil when its checksum is
// wrong.
func (w *Worker) ftpReply(f *packet.Frame, a *action) *packet.Frame {
	if !f.VerifyTransport() {
		return nil
	}
	c := w.plane.ftp.get(a.app)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch ack := tcpWord(f, 8); {
	case f.TCPFlags&packet.RST != 0,
		f.TCPFlags&(packet.SYN|packet.ACK) == packet.SYN|packet.ACK && ack-c.isn-1 <= c.end-c.isn-1:
		c.answered = true
	}
	seq := tcpWord(f, 4)
	c.toClient.FixSeq(f)
	if !a.established || c.verb == encap.FTPNone {
		return f
	}
	at, ok := encap.ParseFTPReply(encap.TCPPayload(f), c.verb, f.Flow.V6)
	if !ok {
		return f
	}
	from := at.Addr
	if from == (packet.Addr{}) {
		from = f.Flow.Src
	}
	// The same port is announced on the VIP; the client's is learnt from its first packet.
	w.expectData(a, conntrack.Conn{
		Client: f.Flow.Dst, Virtual: a.addr, VirtualPort: at.Port, Dest: from, DestPort: at.Port,
		Flags: conntrack.FlagNoCPort,
	}, f.Flow.V6)
	var room [32]byte
	text := encap.AppendFTPEpsv(room[:0], at.Port)
	if c.verb == encap.FTPPasv {
		text = encap.AppendFTPPasv(room[:0], a.addr, at.Port)
	}
	c.verb = encap.FTPNone
	g := w.arena.frame(packet.Headroom + len(f.Bytes()) + len(room))
	buf := g.Buf
	n := copy(buf[packet.Headroom:], f.Bytes())
	shift := f.Start - packet.Headroom
	*g = *f
	g.Buf, g.Start, g.End = buf, packet.Headroom, packet.Headroom+uint32(n)
	g.L3, g.L4, g.IPEnd = f.L3-shift, f.L4-shift, f.IPEnd-shift
	if !encap.Resize(g, at.At, at.Len, text) {
		return f
	}
	c.toClient.Resized(seq, len(text)-at.Len)
	return g
}

// tcpWord is the 32-bit word at an offset of the TCP header: 4 is the sequence number,
// 8 the acknowledgement (RFC 9293 section 3.1).
func tcpWord(f *packet.Frame, at uint32) uint32 { return binary.BigEndian.Uint32(f.Buf[f.L4+at:]) }

// expectData makes the entry of a data connection: a child of its control connection
// that waits for two minutes (LISTEN). One that is there already is left alone.
func (w *Worker) expectData(a *action, c conntrack.Conn, v6 bool) {
	if a.server == nil {
		return
	}
	c.Proto, c.Server, c.State = packet.TCP, a.server.ID, conntrack.TCPListen
	c.Flags |= conntrack.FlagInactive
	if v6 {
		c.Flags |= conntrack.FlagV6 | conntrack.FlagDestV6
	}
	c.Timeout = w.table.timeouts.TCP[conntrack.TCPListen]
	s, h := w.conns.Lock(c.Proto, &c.Client, c.ClientPort, w.tick)
	defer s.Unlock()
	k := conntrack.Key{Client: c.Client, ClientPort: c.ClientPort, Other: c.Virtual, OtherPort: c.VirtualPort, Proto: c.Proto, V6: v6}
	if s.In(h, &k) != 0 {
		return
	}
	if _, err := s.Insert(h, &c, a.app, w.tick); err == nil {
		a.server.bind(&c)
	}
}
