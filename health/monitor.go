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
	Stepped     bool          // for tests on a clock of their own: nothing waits for a descriptor
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
	waiting   []*asking // due; first come, first served
	running   int
	started   uint64 // services known so far, for their order
	history   history
	dirty     map[conf.ServiceKey]bool // not yet told to Changed
	events    []Event                  // not yet told to Event
	stats     Stats
	complaint complaint

	answers chan answer
	wake    chan struct{} // an alarm was set from outside
	begin   chan struct{} // probes wait that may run
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
		answers: make(chan answer, c.Concurrency), wake: make(chan struct{}, 1), begin: make(chan struct{}, 1), tell: make(chan struct{}, 1),
	}
}

// Run asks until ctx ends. Then it waits for the probes that are still asking, which end
// with ctx. It runs once.
func (m *Monitor) Run(ctx context.Context) error {
	var lanes [2]*lane
	for i := range lanes {
		if m.cfg.Stepped {
			break
		}
		l, err := newLane()
		if err != nil {
			return err
		}
		lanes[i] = l
		defer l.close()
	}
	var parts, probes sync.WaitGroup
	parts.Go(func() { m.pulse.run(ctx, lanes[0], m.stalled) })
	parts.Go(func() { m.launch(ctx, lanes[1], &probes) })
	parts.Go(func() { m.tellAll(ctx) })
	m.schedule(ctx)
	parts.Wait()
	return m.wait(&probes)
}

// schedule lets alarms ring and takes answers in.
func (m *Monitor) schedule(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var first *answer
		select {
		case <-ctx.Done():
			return
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
		if len(m.waiting) > 0 && m.running < m.cfg.Concurrency {
			signal(m.begin)
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

// maxUntold is how many events wait for Event at most, while it or Changed takes its time:
// two for each of the servers that a director is made for.
const maxUntold = 200_000

// raise adds an event.
func (m *Monitor) raise(e Event) {
	m.history.add(e)
	if len(m.events) >= maxUntold {
		m.stats.Untold++
		return
	}
	m.events = append(m.events, e)
	signal(m.tell)
}
