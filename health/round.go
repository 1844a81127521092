package health

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// check is a question asked on behalf of one server.
type check struct {
	conf   conf.HealthCheck
	server *server
	trial  trial
	q      *asking
	place  int // in q.checks
	warned time.Time

	weighs bool // the last good answer asked for a weight
	weight int
}

// unchecked reports whether c has had no answer that counts yet, or could not be asked the
// last time: a server stays what it was while the director itself is the trouble, but that
// nobody looks should be seen.
func (c *check) unchecked() bool { return !c.trial.asked || c.q.last.Why == WhyLocal }

// enter lets a check take part in the question it asks; the first to ask it sets when.
func (m *Monitor) enter(c *check, q question, now time.Time) {
	a := m.questions[q]
	if a == nil {
		a = &asking{question: q}
		a.alarm.rings = func(now time.Time) { m.due(a, now) }
		m.questions[q] = a
	}
	c.q, c.place = a, len(a.checks)
	a.checks = append(a.checks, c)
	first := now
	if c.conf.Warmup > 0 {
		first = now.Add(rand.N(c.conf.Warmup))
	}
	m.sooner(a, first)
}

// sooner has a question asked at an instant, if it is not asked before anyway.
func (m *Monitor) sooner(q *asking, at time.Time) {
	if q.state == idle && (q.alarm.place == 0 || at.Before(q.alarm.at)) {
		m.alarms.set(&q.alarm, at)
		signal(m.wake)
	}
}

// leave takes a check out of its question. A question without checks is given up; a
// probe that still runs then ends without consequence.
func (m *Monitor) leave(c *check) {
	q, last := c.q, len(c.q.checks)-1
	q.checks[c.place] = q.checks[last]
	q.checks[c.place].place = c.place
	q.checks[last] = nil
	q.checks = q.checks[:last]
	if last == 0 {
		if q.state == idle {
			m.alarms.stop(&q.alarm)
		}
		q.release()
		delete(m.questions, q.question)
	}
}

// due is a question's alarm.
func (m *Monitor) due(q *asking, now time.Time) {
	if q.state == idle {
		q.state, q.due = queued, q.alarm.at
		m.waiting = append(m.waiting, q)
		return
	}
	// A prober that does not end: its target is judged, and its goroutine waited for.
	if len(q.checks) == 0 {
		return
	}
	q.late = true
	r := Result{At: q.began, Took: now.Sub(q.began), Why: WhyTimeout, Text: "the probe does not end"}
	if m.pulse.lag(q.began, now, now) <= m.cfg.Stall {
		m.believe(q, &r, now)
	}
	m.alarms.set(&q.alarm, q.next(now, now))
}

// take takes an answer in.
func (m *Monitor) take(a answer, now time.Time) {
	q := a.q
	m.running--
	m.alarms.stop(&q.alarm)
	late := q.late
	q.state, q.late, q.prober = idle, false, a.prober
	m.stats.answered(&a, q)
	if len(q.checks) > 0 {
		switch r := &a.result; {
		case late: // it has been judged for not ending
			q.last = *r
		case r.OK:
			q.discarded = 0
			m.believe(q, r, now)
		case r.Why == WhyLocal:
			m.discard(q, &a, now)
		case q.discarded < maxDiscarded && m.unheard(&a, now):
			q.discarded++
			m.discard(q, &a, now)
		default:
			q.discarded = 0
			m.believe(q, r, now)
		}
		m.alarms.set(&q.alarm, q.next(a.start, now))
	}
	q.release()
}

// hops is how often a probe has to wait for the director itself, at most: for its first
// turn, the connection, two rounds of TLS and the pieces of the answer.
const hops = 10

// unheard reports whether a bad answer may be due to the director's own lateness, and
// notes it there: so late that the hops alone would use the timeout up, or so late that
// no answer of that time is worth anything.
func (m *Monitor) unheard(a *answer, now time.Time) bool {
	lag := max(a.late, m.pulse.lag(a.start, a.end, now))
	if lag <= m.cfg.Stall && (a.result.Why.certain() || lag <= a.q.timeout()/hops) {
		return false
	}
	a.result.Text += fmt.Sprintf(" (not counted: the director itself was %v late)", lag.Round(time.Millisecond))
	return true
}

// discard keeps an answer that says nothing of the target.
func (m *Monitor) discard(q *asking, a *answer, now time.Time) {
	q.last = a.result
	m.stats.Discarded++
	m.complaint.discarded(m.cfg.Log, a, now)
}

// believe gives an answer to all that wait for it.
func (m *Monitor) believe(q *asking, r *Result, now time.Time) {
	q.last = *r
	for _, c := range q.checks {
		m.answer(c, r, now)
	}
}

// next is when a question is asked again: at the earliest time that one of its checks
// wants, so the strictest interval is kept for all.
func (q *asking) next(start, end time.Time) time.Time {
	var first time.Time
	for _, c := range q.checks {
		var at time.Time
		if d := c.conf.RetryDelay; d > 0 && (!c.trial.settled() || !q.last.OK && c.trial.up) {
			at = end.Add(jitter(d, c.conf.Jitter))
		} else {
			at = start.Add(jitter(c.conf.Interval, c.conf.Jitter))
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if first.Before(end) { // the probe took longer than its interval
		return end
	}
	return first
}

// jitter gives d or up to percent of it more or less. Without an interval it is that of
// keepalived's delay_loop, and never less than a millisecond: a mistake does not become
// a flood.
func jitter(d time.Duration, percent int) time.Duration {
	if d <= 0 {
		d = time.Minute
	}
	if spread := d * time.Duration(percent) / 100; spread > 0 {
		d += rand.N(2*spread+1) - spread
	}
	return max(d, time.Millisecond)
}
