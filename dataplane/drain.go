package dataplane

import (
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// ServerOf names a server of a service.
type ServerOf struct {
	Service conf.ServiceKey
	Server  conf.ServerID
}

// Remaining is what the connection table has of a server.
type Remaining struct {
	Open      int           // connections that may still carry something
	Finished  int           // closed, and remembered for late packets
	Templates int           // clients that persistence binds to it
	Longest   time.Duration // until the last open one ends, if nothing comes any more
}

// fadeAway is after which silence a one-way connection that its client has closed counts
// as finished. The director does not see the server's side close (DR, tunnels), and keeps
// such entries for two minutes; a transfer that goes on has acknowledgements.
const fadeAway = 10 * time.Second

// Remaining counts for each of the servers, in one pass over the table. Safe for
// concurrent use.
func (p *Plane) Remaining(servers []ServerOf) []Remaining {
	out := make([]Remaining, len(servers))
	at := map[uint32]int{}
	for i, id := range p.serverIDs(servers) {
		if id != conntrack.NoServer {
			at[id] = i
		}
	}
	now := conntrack.TickOf(p.clock())
	p.conns.Scan(func(c *conntrack.Conn) {
		i, ok := at[c.Server]
		if !ok {
			return
		}
		switch r := &out[i]; {
		case c.Template():
			r.Templates++
		case finished(c, now):
			r.Finished++
		default:
			r.Open++
			if now.Before(c.Expires()) {
				r.Longest = max(r.Longest, time.Duration(c.Expires()-now)*conntrack.TickLen)
			}
		}
	})
	return out
}

// finished reports whether nothing is to be expected of a connection any more.
func finished(c *conntrack.Conn, now conntrack.Tick) bool {
	switch c.Proto {
	case packet.SCTP:
		return c.State == conntrack.SCTPClosed
	case packet.TCP:
	default:
		return false
	}
	switch c.State {
	case conntrack.TCPTimeWait, conntrack.TCPClose:
		return true
	case conntrack.TCPFinWait, conntrack.TCPLastAck:
		idle := now - (c.Expires() - c.Timeout)
		return c.Flags&conntrack.FlagNoOutput != 0 && !idle.Before(conntrack.Ticks(fadeAway))
	}
	return false
}

// EndConnections ends the connections of the servers, and the templates that no
// connection belongs to (any more). Later packets of theirs belong to no connection. It
// returns how many ended. Safe for concurrent use.
func (p *Plane) EndConnections(servers []ServerOf) int {
	of := map[uint32]bool{}
	for _, id := range p.serverIDs(servers) {
		of[id] = id != conntrack.NoServer
	}
	return p.conns.ExpireIf(conntrack.TickOf(p.clock()), func(c *conntrack.Conn) bool {
		if !of[c.Server] {
			return false
		}
		// Until the timer fires, a tick later, its packets would set it anew, those of a busy
		// connection again and again: so nobody finds the entry from here on. Its place in the
		// table is the client's, which stays.
		c.VirtualPort, c.DestPort = 0xffff, 0xffff
		return true
	})
}

// serverIDs are the numbers that connections keep of servers.
func (p *Plane) serverIDs(servers []ServerOf) []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]uint32, len(servers))
	for i := range servers {
		ids[i] = conntrack.NoServer
		if s := p.known(&servers[i]); s != nil {
			ids[i] = s.ID
		}
	}
	return ids
}

// known is a server of the service's list, or one that was taken out of it and still has
// its number; nil for none. The caller holds the lock.
func (p *Plane) known(of *ServerOf) *Server {
	c := conf.Server{Addr: of.Server.Addr, Port: of.Server.Port}
	if svc := p.services[of.Service]; svc != nil {
		if s := p.members[memberOf(svc, &c)]; s != nil {
			return s
		}
	}
	return p.trash.find(trashKey(of.Service, &c))
}
