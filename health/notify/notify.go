// Package notify tells people and programs what happened to servers and services: by
// command, by webhook and by mail. It knows how to tell; it must not know how health is
// judged, and nobody waits for it.
package notify

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// Config may be zero.
type Config struct {
	Log      *slog.Logger
	Queue    int           // most events that wait to be told, each counted once for each way; default 10,000
	Parallel int           // most commands, webhooks and mails at a time; default 16
	Timeout  time.Duration // of a command, and of one attempt of a webhook; default 30 s
}

// Stats count what was to be told, once for each way of telling.
type Stats struct {
	Told    uint64
	Failed  uint64 // after the last attempt
	Dropped uint64 // the queue was full
	Queued  int    // now
}

// Notifier tells events in the order in which they come, for each service and each way:
// a slow webhook holds up neither commands nor other services.
type Notifier struct {
	cfg    Config
	client *http.Client
	tell   func(context.Context, way, []health.Event) error // one of mail gets many, others one

	mu     sync.Mutex
	lanes  map[address]*lane
	ready  []*lane // with something to tell now and nobody who does
	busy   int
	stats  Stats
	warned time.Time // of the last word about a full queue

	wake chan struct{}
}

// way is how something is told.
type way uint8

const (
	byCommand way = iota
	byWebhook
	byMail
)

// address is whose turn it is to be told something: the events of one address are told
// one after the other. Those by mail are gathered for the same people from all services.
type address struct {
	way     way
	service conf.ServiceKey
	mail    string
}

// lane is what waits for one address. It is in Notifier.lanes while there is something,
// one of mail also until its next mail may be sent.
type lane struct {
	address address
	events  []health.Event
	running bool // in ready, being told, or waiting for its time
	next    time.Time
}

// New gives a notifier.
func New(c Config) *Notifier {
	c.Queue = cmp.Or(c.Queue, 10_000)
	c.Parallel = cmp.Or(c.Parallel, 16)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{cfg: c, client: newClient(), lanes: map[address]*lane{}, wake: make(chan struct{}, 1)}
	n.tell = n.tellOutside
	return n
}

// Tell takes an event for everybody its service names. It never waits: what does not
// find room is counted and logged.
func (n *Notifier) Tell(e health.Event) {
	to := e.Notify
	if to == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(commands(&e)) > 0 {
		n.add(address{way: byCommand, service: e.ID.Service}, e)
	}
	if to.Webhook != "" {
		n.add(address{way: byWebhook, service: e.ID.Service}, e)
	}
	if len(to.Mail) > 0 && to.MailServer != "" {
		n.add(address{way: byMail, mail: strings.Join(append([]string{to.MailServer, to.MailFrom}, to.Mail...), "\x00")}, e)
	}
}

func (n *Notifier) add(to address, e health.Event) {
	if n.stats.Queued >= n.cfg.Queue {
		n.stats.Dropped++
		if now := time.Now(); now.Sub(n.warned) >= 10*time.Second {
			n.warned = now
			n.cfg.Log.Error("notifications are lost: too many wait", "lost", n.stats.Dropped)
		}
		return
	}
	l := n.lanes[to]
	if l == nil {
		l = &lane{address: to}
		n.lanes[to] = l
	}
	l.events = append(l.events, e)
	n.stats.Queued++
	if !l.running {
		n.schedule(l)
	}
}

// schedule gives a lane its turn; one of mail not before its time.
func (n *Notifier) schedule(l *lane) {
	l.running = true
	if l.address.way == byMail {
		time.AfterFunc(max(gather, time.Until(l.next)), func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.turn(l)
		})
		return
	}
	n.turn(l)
}

func (n *Notifier) turn(l *lane) {
	n.ready = append(n.ready, l)
	n.signal()
}

func (n *Notifier) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run tells until ctx ends. Commands that run then are killed, and what still waits is
// not told.
func (n *Notifier) Run(ctx context.Context) error {
	defer n.client.CloseIdleConnections()
	var tellers sync.WaitGroup
	defer tellers.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
		}
		n.mu.Lock()
		for n.busy < n.cfg.Parallel && len(n.ready) > 0 {
			l := n.ready[0]
			n.ready = n.ready[1:]
			n.busy++
			events := l.take()
			tellers.Go(func() { n.done(l, events, n.tell(ctx, l.address.way, events)) })
		}
		n.mu.Unlock()
	}
}

// take takes out what is told at once: all that is to go by mail, else the first.
func (l *lane) take() (events []health.Event) {
	if l.address.way == byMail {
		events, l.events = l.events, nil
		return events
	}
	events, l.events = l.events[:1:1], l.events[1:]
	return events
}

func (n *Notifier) tellOutside(ctx context.Context, w way, events []health.Event) error {
	switch w {
	case byCommand:
		return n.command(ctx, &events[0])
	case byWebhook:
		return n.webhook(ctx, &events[0])
	default:
		return n.mail(ctx, events)
	}
}

// done counts what was told and gives the lane its next turn.
func (n *Notifier) done(l *lane, events []health.Event, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy--
	n.stats.Queued -= len(events)
	if err != nil {
		n.stats.Failed += uint64(len(events))
		e := &events[0]
		n.cfg.Log.Warn("notification failed", "vip", e.ID.Service.String(), "event", e.Kind, "err", err)
	} else {
		n.stats.Told += uint64(len(events))
	}
	if l.address.way == byMail {
		l.next = time.Now().Add(events[0].Notify.MailEvery)
	}
	switch {
	case len(l.events) > 0:
		n.schedule(l)
	case l.address.way == byMail: // kept for its next
		l.running = false
	default:
		delete(n.lanes, l.address)
	}
	n.signal() // there is room for another
}

// Stats gives the counts so far.
func (n *Notifier) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// attempts is how often a webhook or a mail is tried, with pauses of 1, 4, … seconds.
const attempts = 3

// retry tries until it works, it makes no sense, or it was tried often enough.
func retry(ctx context.Context, try func() (again bool, err error)) error {
	pause := time.Second
	for i := 1; ; i++ {
		again, err := try()
		if err == nil || !again || i == attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		pause *= 4
	}
}
