package control

import (
	"time"

	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/dataplane"
)

// replayClock is the virtual clock with what is due on it.
type replayClock struct {
	now     time.Duration
	at      time.Time     // the same in the capture's time
	zero    time.Duration // of the first frame
	second  time.Duration // when the writer's housekeeping is due
	turn    time.Duration // when the estimators are
	orphans time.Duration // when connections of removed servers are to be ended; 0: there are none
}

// start lets the clock begin early enough for commands before the first frame. It never is
// near zero, so that nothing is compared with a zero instant.
func (r *replay) start() {
	r.now, r.zero = time.Hour, time.Hour
	if len(r.script) > 0 {
		r.zero += max(0, -r.script[0].At)
	}
	r.second, r.turn = r.now+time.Second, r.now+dataplane.EstimatePeriod
}

// quiet is for how long something may still be due without connections: servers' time in
// the trash, the estimators' rates.
const quiet = 5 * time.Minute

// goTo moves the clock to an instant, and what is due on the way happens when it is due.
// The clock never goes back.
func (r *replay) goTo(to time.Duration) error {
	for r.now < to {
		if to-r.now > 2*quiet && r.plane.Conns().Len() == 0 && r.orphans == 0 {
			skip := (to - r.now - quiet).Truncate(dataplane.EstimatePeriod)
			r.now, r.second, r.turn = r.now+skip, r.second+skip, r.turn+skip
		}
		r.now = min(to, r.second, r.turn)
		if r.orphans != 0 {
			r.now = min(r.now, r.orphans)
		}
		r.plane.Conns().Advance(conntrack.TickOf(r.now), 0, 1)
		if r.orphans != 0 && r.now >= r.orphans {
			if r.orphans = 0; r.plane.ExpireOrphans() > 0 {
				r.orphans = r.now + conntrack.TickLen // their parents
			}
		}
		if r.now >= r.turn {
			r.turn += dataplane.EstimatePeriod
			r.director.handOver()
			r.plane.Estimate()
		}
		if r.now >= r.second {
			r.second += time.Second
			r.plane.Housekeep()
		}
		if _, _, err := r.workers[0].Turn(); err != nil {
			return err
		}
	}
	r.at = r.first.Add(r.now - r.zero)
	return nil
}
