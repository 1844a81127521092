package arp

import (
	"slices"
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
	fresh []announcement // due at once, before all others
	again []announcement // repetitions, by due
	slot  time.Duration  // no earlier than this
}

// start makes vips due at once, times each.
func (a *announcer) start(vips []announcement, times int) {
	if times <= 0 {
		return
	}
	for _, v := range vips {
		v.left = times
		a.fresh = append(a.fresh, v)
	}
}

// keep drops those that want refuses.
func (a *announcer) keep(want func(announcement) bool) {
	unwanted := func(v announcement) bool { return !want(v) }
	a.fresh = slices.DeleteFunc(a.fresh, unwanted)
	a.again = slices.DeleteFunc(a.again, unwanted)
}

func (a *announcer) due() time.Duration {
	switch {
	case len(a.fresh) > 0:
		return a.slot
	case len(a.again) > 0:
		return max(a.again[0].due, a.slot)
	}
	return Never
}

// next takes the announcement that is due at now, if any, and books its repetition.
func (a *announcer) next(now time.Duration) (next announcement, ok bool) {
	switch {
	case len(a.fresh) > 0:
		next, a.fresh = a.fresh[0], a.fresh[1:]
	case len(a.again) > 0 && a.again[0].due <= now:
		next, a.again = a.again[0], a.again[1:]
	default:
		return announcement{}, false
	}
	if next.left > 1 {
		repeat := next
		repeat.left--
		repeat.reply = !repeat.reply
		repeat.due = now + AnnounceInterval
		a.again = append(a.again, repeat)
	}
	return next, true
}

// Announce announces all VIPs of all ports again, from the next Step on: after a
// failover, a link that came up, or a Conflict (RFC 5227 section 2.4 lets a host defend
// an address once in 10 s; the caller decides).
func (c *Cache) Announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.announce.fresh, c.announce.again = nil, nil
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
