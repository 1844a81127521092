package health

import "github.com/dirigo-lb/dirigo/conf"

// trial is what one check believes of its server, and what speaks against it.
//
// What has never been asked is believed at its first answer: a bad one takes a server
// down whatever Fall says, as in keepalived, whose checkers start with their retries
// used up. A check with Alpha is down from the start instead and needs Rise good
// answers, as any server that is down; so keepalived's retry = N is Fall = N+1, and
// ldirectord's failurecount = N, which assumes nothing of a server before its first
// pass, is Fall = N with Alpha.
type trial struct {
	up        bool
	asked     bool // had its first answer
	good, bad int  // answers in a row
	window    window
}

// step takes one answer and says whether it changed the belief. Any good answer makes
// the bad ones before it void, but for those in the window.
func (t *trial) step(c *conf.HealthCheck, ok bool) (changed bool) {
	first := !t.asked
	t.asked = true
	if ok {
		t.good, t.bad = t.good+1, 0
	} else {
		t.good, t.bad = 0, t.bad+1
	}
	if c.Window.Of > 0 {
		t.window.add(c.Window.Of, !ok)
	}
	switch {
	case !t.up:
		changed = ok && t.good >= max(1, c.Rise)
	case first:
		changed = !ok
	case c.Window.Of > 0:
		changed = t.window.bad >= max(1, c.Window.Bad)
	default:
		changed = t.bad >= max(1, c.Fall)
	}
	if changed {
		t.up = !t.up
		t.window = window{} // what a server did before it came up is not held against it
	}
	return changed
}

// settled reports whether the last answer agrees with the belief. While it does not, the
// check asks again after RetryDelay.
func (t *trial) settled() bool {
	if t.up {
		return t.bad == 0
	}
	return t.good == 0
}
