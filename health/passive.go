package health

import (
	"fmt"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// passive judges a server by clients' own connections, one window of time after the
// other. Its windows are the answers of a check of its own, with the Rise and Fall of the
// server's first check, since a probe's good answers would void its bad ones one by one.
// While it says down no client comes and no window fills: the answers of the first check
// are taken for its own then.
type passive struct {
	trial    trial
	since    time.Time // the window's begin; zero: none
	new, bad int
}

// step takes what the data plane counted since the last call. A window that is over and
// has at least Min new connections is an answer; one with fewer says nothing.
func (p *passive) step(c conf.Passive, now time.Time, new, bad int) (answer, ok bool) {
	if p.since.IsZero() {
		p.since = now // what was counted until now belongs to no window that has a begin
		return false, false
	}
	p.new, p.bad = p.new+new, p.bad+bad
	if now.Sub(p.since) < c.Window {
		return false, false
	}
	answer = p.new > 0 && p.new >= c.Min
	ok = p.bad*100 < p.new*c.Percent
	p.since, p.new, p.bad = now, 0, 0
	return answer, ok
}

func passiveText(bad, new int, window time.Duration) string {
	return fmt.Sprintf("%d of %d connections of clients within %v were not answered or were reset", bad, new, window)
}
