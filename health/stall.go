package health

import (
	"context"
	"sync"
	"time"
)

// pulse finds out how late the director itself is: stopped, starved of CPU, in a long
// collection, or with more goroutines to run than it has processors for. Then answers lie
// unread while their timeouts run out, which says nothing of who gave them. Its goroutine
// does nothing but beat, and each beat goes the way that answers go.
type pulse struct {
	bound time.Duration // later than this is a stall

	mu    sync.Mutex
	due   time.Time  // the next beat
	beats [1200]beat // a ring of the last ones: of a minute at least
	next  int
}

// beat is when a beat was due, and when it came.
type beat struct{ due, came time.Time }

func (b beat) late() time.Duration { return b.came.Sub(b.due) }

// period is the time between two beats. Twenty in a second cost nothing that one could
// measure.
const period = 50 * time.Millisecond

// run beats until ctx ends and tells of each stall.
func (p *pulse) run(ctx context.Context, l *lane, stalled func(beat)) {
	t := time.NewTimer(period)
	defer t.Stop()
	p.step(time.Now())
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		l.pass(ctx)
		if b, stall := p.step(time.Now()); stall {
			stalled(b)
		}
		t.Reset(period)
	}
}

// step takes one beat.
func (p *pulse) step(now time.Time) (b beat, stall bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b = beat{p.due, now}
	p.due = now.Add(period)
	if b.due.IsZero() {
		return b, false
	}
	p.beats[p.next] = b
	p.next = (p.next + 1) % len(p.beats)
	return b, b.late() > p.bound
}

// lag is how late the latest beat was of those between from and to: how long an answer
// could lie unread then. A beat that is overdue by now counts as it is, since the pulse's
// own goroutine may not have heard yet.
func (p *pulse) lag(from, to, now time.Time) (lag time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.due.IsZero() && p.due.Before(to) {
		lag = now.Sub(p.due)
	}
	for i := range p.beats {
		b := p.beats[(p.next+len(p.beats)-1-i)%len(p.beats)]
		if !b.came.After(from) { // so are all before it
			break
		}
		if b.due.Before(to) {
			lag = max(lag, b.late())
		}
	}
	return max(0, lag)
}
