package dataplane

import (
	"math/rand/v2"

	"github.com/dirigo-lb/dirigo/conntrack"
)

// dropShare is the part of the table that the drop_entry defence looks at each second:
// one chain in 32 (ip_vs_random_dropentry).
const dropShare = 32

// defend takes the defences against running out of memory one second further: it
// switches the automatic ones on and off and drops entries. p.mu is held.
func (p *Plane) defend() {
	m := conntrack.Modes{DropEntry: p.sysctl.DropEntry, DropPacket: p.sysctl.DropPacket, SecureTCP: p.sysctl.SecureTCP}
	if m == (conntrack.Modes{}) && !p.defence.SecureTCP {
		p.defence.Step(1, 0, 1, m)
		return
	}
	avail := 1 << 30
	if p.available != nil {
		avail = p.available()
	}
	m = p.defence.Step(avail, p.sysctl.Amemthresh, p.sysctl.AmDroprate, m)
	p.sysctl.DropEntry, p.sysctl.DropPacket, p.sysctl.SecureTCP = m.DropEntry, m.DropPacket, m.SecureTCP
	if p.timeouts.Secure != p.defence.SecureTCP {
		p.timeouts.Secure = p.defence.SecureTCP
		p.publish()
	}
	if p.defence.DropEntry {
		draw := p.random
		if draw == nil {
			draw = rand.Uint64N
		}
		now := conntrack.TickOf(p.clock())
		p.conns.Sample(now, dropShare, draw, func(c *conntrack.Conn) bool { return p.dropper.Try(c, now) })
	}
}
