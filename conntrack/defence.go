package conntrack

import (
	"sync/atomic"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// Modes of a defence: the sysctls drop_entry, drop_packet and secure_tcp. The automatic
// ones become each other as memory runs out and comes back.
const (
	DefenceOff    = 0
	DefenceReady  = 1 // automatic, not acting
	DefenceActing = 2 // automatic, acting
	DefenceAlways = 3
)

// Modes are the three defences' modes, each a Defence… constant.
type Modes struct{ DropEntry, DropPacket, SecureTCP int }

// Defence says what is done against running out of memory: update_defense_level in
// ip_vs_ctl.c as a step function. The zero Defence does nothing. DropEntry and SecureTCP
// belong to the caller of Step; Packets is for every worker.
type Defence struct {
	DropEntry bool     // a Dropper is to walk over random entries this second
	SecureTCP bool     // Timeouts.Secure
	Packets   DropRate // asked for every packet that would make a connection
}

// Step is called each second, and at once when a mode is set. avail is free and buffer
// memory, not negative, and threshold the sysctl amemthresh, both in pages of 4 KiB; rate
// is am_droprate. It returns the modes as the sysctls show them afterwards.
func (d *Defence) Step(avail, threshold, rate int, m Modes) Modes {
	nomem := avail < threshold // never with a threshold of 0 or below
	d.DropEntry, m.DropEntry = acts(m.DropEntry, nomem)
	d.SecureTCP, m.SecureTCP = acts(m.SecureTCP, nomem)
	var drop bool
	drop, m.DropPacket = acts(m.DropPacket, nomem)
	switch {
	case !drop:
		d.Packets.rate.Store(0)
	case m.DropPacket == DefenceAlways: // counting goes on across seconds
		d.Packets.rate.Store(int32(rate))
	default: // the scarcer memory, the more are dropped; counting begins anew
		rate = threshold / (threshold - avail)
		d.Packets.rate.Store(int32(rate))
		d.Packets.left.Store(int32(rate))
	}
	return m
}

// acts reports whether a defence in this mode acts, and the mode it is in from now on.
func acts(mode int, nomem bool) (bool, int) {
	switch mode {
	case DefenceReady, DefenceActing:
		if nomem {
			return true, DefenceActing
		}
		return false, DefenceReady
	}
	return mode == DefenceAlways, mode
}

// DropRate drops one of so many new connections (ip_vs_todrop). The zero DropRate drops
// none; Defence.Step sets it. It is safe for concurrent use.
type DropRate struct {
	rate atomic.Int32 // one of rate packets is dropped; 0: none
	left atomic.Int32 // the packet that brings it to 0 is dropped
}

// Drop counts one packet that would make a connection, after its service was found, and
// reports whether it is to be dropped.
func (d *DropRate) Drop() bool {
	rate := d.rate.Load()
	if rate == 0 {
		return false
	}
	for {
		left := d.left.Load()
		next, drop := left-1, left <= 1
		if drop {
			next = rate
		}
		if d.left.CompareAndSwap(left, next) {
			return drop
		}
	}
}

const (
	// dropIdle is how long the last packet must be ago: 60*HZ in todrop_entry.
	dropIdle = Tick(60 * time.Second / TickLen)
	// dropPkts is the most packets of an entry that may be dropped; of those with n
	// packets every n-th is (todrop_rate).
	dropPkts = 8
)

// Dropper chooses the entries that the drop_entry defence sacrifices: half-open ones,
// templates that nobody answered, and a part of those that are idle and had few packets
// (ip_vs_random_dropentry). One goroutine uses it; the zero Dropper is ready.
type Dropper struct {
	// OnePacket reports whether a server's service is a one-packet one, whose templates
	// never get assured. nil: none is.
	OnePacket func(server uint32) bool

	left [dropPkts + 1]uint8 // by packets of an entry: the candidate that brings it to 0 is dropped
}

// Try reports whether c, an entry met on the walk, is to be ended. c's shard is locked.
// It changes only the Dropper's own countdowns.
func (d *Dropper) Try(c *Conn, now Tick) bool {
	if c.Children() > 0 {
		return false
	}
	switch {
	case c.Template():
		if c.Server != NoServer && d.OnePacket != nil && d.OnePacket(c.Server) {
			return d.candidate(c, now)
		}
		return !c.Assured()
	case c.Proto == packet.TCP:
		switch c.State {
		case TCPSynRecv, TCPSynAck:
			return true
		case TCPEstablished:
			return d.candidate(c, now)
		}
		return false
	case c.Proto == packet.SCTP:
		switch c.State {
		case SCTPInit1, SCTPInit:
			return true
		case SCTPEstablished:
			return d.candidate(c, now)
		}
		return false
	}
	return d.candidate(c, now)
}

// candidate is todrop_entry: whether c is idle, had few packets, and its turn has come.
func (d *Dropper) candidate(c *Conn, now Tick) bool {
	lastPacket := c.expires - c.Timeout
	if now.Before(lastPacket + dropIdle) {
		return false
	}
	n := c.InPkts
	if n == 0 || n > dropPkts {
		return false
	}
	if d.left[n] > 1 {
		d.left[n]--
		return false
	}
	d.left[n] = uint8(n)
	return true
}
