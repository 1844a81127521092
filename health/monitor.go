package health

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// ID names a server within a service.
type ID struct {
	Service conf.ServiceKey
	Server  conf.ServerID
}

// Config is what a Monitor needs. Prober has to be given.
type Config struct {
	// Prober makes the prober of a question. It is called from a probe's own goroutine,
	// and again before the next probe if it failed.
	Prober func(conf.Probe, Target) (Prober, error)
	// Changed is told for which services InForce or a server's being up may say something
	// else than before. Many changes are told together; while it runs others gather.
	Changed func([]conf.ServiceKey)
	// Event is told each event, in order, after Changed. Neither is called with a lock
	// held, both from one goroutine of Run's.
	Event func(Event)
	Log   *slog.Logger

	Concurrency int           // most probes at a time; default 8,192
	Events      int           // most events kept for History; default 10,000
	Stall       time.Duration // the director stood still if it was so much late; default 500 ms
}

// Monitor asks the servers of all services with health checks and says what follows. Its
// methods may be called from any goroutine, before, while and after it runs.
type Monitor struct {
	cfg   Config
	pulse pulse

	mu        sync.Mutex
	services  map[conf.ServiceKey]*service
	questions map[question]*asking
	alarms    alarms    // of questions: to be asked, or overdue; of servers: slow start, end of a hold
	waiting   []*asking // due, but Concurrency were running; first come, first served
	running   int
	started   uint64 // services known so far, for their order
	history   history
	dirty     map[conf.ServiceKey]bool // not yet told to Changed
	events    []Event                  // not yet told to Event
	stats     Stats
	complaint complaint

	answers chan answer
	wake    chan struct{} // an alarm was set from outside
	tell    chan struct{} // dirty or events have grown
}

// New gives a monitor that knows no service.
func New(c Config) *Monitor {
	c.Concurrency = cmp.Or(c.Concurrency, 8192)
	c.Events = cmp.Or(c.Events, 10_000)
	c.Stall = cmp.Or(c.Stall, 500*time.Millisecond)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Monitor{
		cfg: c, pulse: pulse{bound: c.Stall},
		services: map[conf.ServiceKey]*service{}, questions: map[question]*asking{},
		history: history{size: c.Events}, dirty: map[conf.ServiceKey]bool{}, stats: newStats(),
		answers: make(chan answer, c.Concurrency), wake: make(chan struct{}, 1), tell: make(chan struct{}, 1),
	}
}

// Run asks until ctx ends. Then it waits for the probes that are still asking, which end
// with ctx. It runs once.
func (m *Monitor) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { m.pulse.run(ctx, m.stalled) })
	parts.Go(func() { m.tellAll(ctx) })
	err := m.schedule(ctx)
	parts.Wait()
	return err
}

// schedule lets alarms ring and takes answers in.
func (m *Monitor) schedule(ctx context.Context) (err error) {
	var probes sync.WaitGroup
	defer func() { err = m.wait(&probes) }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var first *answer
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		case <-timer.C:
		case a := <-m.answers:
			first = &a
		}
		now := time.Now()
		m.mu.Lock()
		if first != nil {
			m.take(*first, now)
		}
		for range len(m.answers) {
			m.take(<-m.answers, now)
		}
		m.alarms.ring(now)
		for m.running < m.cfg.Concurrency && len(m.waiting) > 0 {
			q := m.waiting[0]
			m.waiting[0], m.waiting = nil, m.waiting[1:]
			if len(q.checks) == 0 { // let go while it waited
				continue
			}
			m.running++
			q.state, q.began = running, now
			m.alarms.set(&q.alarm, now.Add(q.timeout()+overdue))
			probes.Go(func() { m.answers <- q.ask(ctx, m.cfg.Prober, now) })
		}
		if len(m.alarms) > 0 {
			timer.Reset(m.alarms[0].at.Sub(now))
		}
		m.mu.Unlock()
	}
}

// wait waits for the probes that still ask.
func (m *Monitor) wait(probes *sync.WaitGroup) error {
	ended := make(chan struct{})
	go func() {
		probes.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(overdue):
		return fmt.Errorf("health: %d probes do not end", m.Stats().Running-len(m.answers))
	}
}

// tellAll hands changes and events on until ctx ends.
func (m *Monitor) tellAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.tell:
		}
		m.mu.Lock()
		keys := make([]conf.ServiceKey, 0, len(m.dirty))
		for k := range m.dirty {
			keys = append(keys, k)
		}
		clear(m.dirty)
		events := m.events
		m.events = nil
		m.mu.Unlock()
		if len(keys) > 0 && m.cfg.Changed != nil {
			m.cfg.Changed(keys)
		}
		for _, e := range events {
			m.log(&e)
			if m.cfg.Event != nil {
				m.cfg.Event(e)
			}
		}
	}
}

// signal wakes who waits for c, or will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// changed notes that a service's list may be another now.
func (m *Monitor) changed(s *service) {
	m.dirty[s.key] = true
	signal(m.tell)
}

// raise adds an event.
func (m *Monitor) raise(e Event) {
	m.history.add(e)
	m.events = append(m.events, e)
	signal(m.tell)
}
