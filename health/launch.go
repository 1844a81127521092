package health

import (
	"context"
	"sync"
	"time"
)

// batch is how many probes begin between two passes along the lane.
const batch = 32

// launch begins the probes that wait, a batch at a time, until ctx ends. The next batch
// has to wait until a pass along the lane is over, and with it all that the system and
// the runtime had to do for probes when it was begun. So a director that has more to ask
// than it can begins no more probes than it can hear out: they are late, which is
// counted, all alike, and the answers to those that run are heard in time. Probes that
// only wait for a silent server are in nobody's way.
func (m *Monitor) launch(ctx context.Context, l *lane, probes *sync.WaitGroup) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.begin:
		}
		m.launchBatch(ctx, probes)
		l.pass(ctx)
	}
}

// launchBatch begins the first of the probes that wait.
func (m *Monitor) launchBatch(ctx context.Context, probes *sync.WaitGroup) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := 0; n < batch && m.running < m.cfg.Concurrency && len(m.waiting) > 0; {
		q := m.waiting[0]
		m.waiting[0], m.waiting = nil, m.waiting[1:]
		if len(q.checks) == 0 { // let go while it waited
			continue
		}
		n++
		m.running++
		q.state, q.began = running, now
		m.alarms.set(&q.alarm, now.Add(q.timeout()+overdue))
		probes.Go(func() { m.answers <- q.ask(ctx, m.cfg.Prober, now) })
	}
	signal(m.wake) // for the alarms, and for the rest
}
