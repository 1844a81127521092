package arp

import (
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// announcement is a VIP still to be announced left times, next at due.
type announcement struct {
	port  int
	vip   packet.Addr
	left  int
	reply bool // next one in the reply form
	due   time.Duration
}

// announcer paces announcements: several for each VIP with AnnounceInterval between,
// and no more than AnnounceBurst of all VIPs in AnnounceGap.
type announcer struct {
	pending []announcement // by due
	slot    time.Duration  // no earlier than this
}

// start makes vips due at once, times each, before those already pending.
func (a *announcer) start(vips []announcement, times int) {
	if times <= 0 || len(vips) == 0 {
		return
	}
	for i := range vips {
		vips[i].left = times
	}
	a.pending = append(vips, a.pending...)
}

// keep drops the pending ones that want refuses.
func (a *announcer) keep(want func(announcement) bool) {
	kept := a.pending[:0]
	for _, p := range a.pending {
		if want(p) {
			kept = append(kept, p)
		}
	}
	a.pending = kept
}

func (a *announcer) due() time.Duration {
	if len(a.pending) == 0 {
		return Never
	}
	return max(a.pending[0].due, a.slot)
}

// next takes the announcement that is due at now, if any, and books its repetition.
func (a *announcer) next(now time.Duration) (announcement, bool) {
	if len(a.pending) == 0 || a.pending[0].due > now {
		return announcement{}, false
	}
	first := a.pending[0]
	a.pending = a.pending[1:]
	if first.left > 1 {
		again := first
		again.left--
		again.reply = !again.reply
		again.due = now + AnnounceInterval
		a.pending = append(a.pending, again)
	}
	return first, true
}

// Announce announces all VIPs of all ports again, from the next Step on: after a
// failover, a link that came up, or a Conflict (RFC 5227 section 2.4 lets a host defend
// an address once in 10 s; the caller decides).
func (c *Cache) Announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.announce.pending = nil
	c.announce.start(c.vips(func(int, packet.Addr) bool { return true }), c.cfg.Announcements)
}

// sendAnnouncements appends those due at now, at most a burst.
func (c *Cache) sendAnnouncements(now time.Duration, outs []Out) []Out {
	if now < c.announce.slot {
		return outs
	}
	for range AnnounceBurst {
		a, ok := c.announce.next(now)
		if !ok {
			break
		}
		c.announce.slot = now + AnnounceGap
		c.counters[Announced]++
		outs = append(outs, Out{Port: a.port, Frame: announce(c.ports[a.port].mac, a.vip, a.reply, c.cfg.Router)})
	}
	return outs
}
