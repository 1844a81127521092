package health

import (
	"context"
	"sync"
	"time"
)

// pulse finds out that the director itself stood still: stopped, starved of CPU, or in
// a long collection. Then answers lay unread while their timeouts ran out, which says
// nothing of who gave them. It has a goroutine of its own that waits for nothing but
// time, so that it is late only if everything else is.
type pulse struct {
	bound time.Duration // later than this is a stall

	mu     sync.Mutex
	beat   time.Time // the last one
	stalls [16]span  // a ring of the last ones
	next   int
	count  uint64
}

// span is a time in which the director stood still.
type span struct{ from, to time.Time }

// period is the time between two beats. Twenty in a second cost nothing that one could
// measure.
const period = 50 * time.Millisecond

// run beats until ctx ends and tells of each stall.
func (p *pulse) run(ctx context.Context, stalled func(span)) {
	t := time.NewTicker(period)
	defer t.Stop()
	p.step(time.Now())
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if s, late := p.step(time.Now()); late {
				stalled(s)
			}
		}
	}
}

// step takes one beat.
func (p *pulse) step(now time.Time) (s span, late bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s = span{p.beat, now}
	p.beat = now
	if s.from.IsZero() || now.Sub(s.from) <= period+p.bound {
		return s, false
	}
	p.stalls[p.next] = s
	p.next = (p.next + 1) % len(p.stalls)
	p.count++
	return s, true
}

// during reports whether the director stood still at any time between from and to. A
// beat that is overdue by now is a stall too, of which the pulse's own goroutine has not
// heard yet.
func (p *pulse) during(from, to, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.beat.IsZero() && now.Sub(p.beat) > period+p.bound && to.After(p.beat) {
		return true
	}
	for _, s := range p.stalls {
		if s.from.Before(to) && s.to.After(from) {
			return true
		}
	}
	return false
}
