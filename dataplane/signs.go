package dataplane

import (
	"time"

	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// Signs are what clients' own connections tell of a server.
type Signs struct {
	Conns      uint64 // connections it has got so far, as the workers last handed over
	Unanswered int    // TCP clients that had to repeat their SYN
	Refused    int    // TCP connections that the server reset at once, also those that the client was not told of; seen with NAT alone
}

// Signs looks for signs of trouble that came within the last period, 1 to 3 seconds: a
// client asks again one second after its first SYN and two after its second (RFC 6298
// section 2.1 and 5.5), so with one call each two seconds every sign is seen once. It is
// one pass over the table, and little is done for it while packets pass. It has one caller.
func (p *Plane) Signs(servers []ServerOf, period time.Duration) []Signs {
	out := make([]Signs, len(servers))
	at := map[uint32]int{}
	ids := p.serverIDs(servers)
	p.stats.mu.Lock()
	for i, id := range ids {
		if id == conntrack.NoServer {
			continue
		}
		at[id] = i
		out[i].Refused = int(p.servers.at(id).refusals.Swap(0)) // those of redispatch, whose entries are short-lived
		if int(id) < len(p.stats.servers) {
			out[i].Conns = p.stats.servers[id].Counter.Conns
		}
	}
	p.stats.mu.Unlock()
	now, recent := conntrack.TickOf(p.clock()), conntrack.Ticks(period)
	p.conns.Scan(func(c *conntrack.Conn) {
		if c.Proto != packet.TCP || c.Template() || c.InPkts > 2 {
			return
		}
		i, ok := at[c.Server]
		if idle := now - (c.Expires() - c.Timeout); !ok || !idle.Before(recent) {
			return
		}
		switch {
		case c.State == conntrack.TCPSynRecv && c.InPkts == 2:
			out[i].Unanswered++
		case c.State == conntrack.TCPClose && c.InPkts == 1 && c.Flags&conntrack.FlagRefused == 0 && c.Refusals() == 0:
			out[i].Refused++
		}
	})
	return out
}
