package notify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

var (
	web  = conf.ServiceKey{Proto: packet.TCP, Addr: netip.MustParseAddr("192.0.2.1"), Port: 80}
	mark = conf.ServiceKey{Fwmark: 3}
	one  = conf.ServerID{Addr: netip.MustParseAddr("10.0.0.1"), Port: 8080}
	noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
)

// event is one of a server, or with kinds of services of a service.
func event(kind string, k conf.ServiceKey, to *conf.Notify) health.Event {
	e := health.Event{At: noon, ID: health.ID{Service: k, Server: one}, ServiceName: "web", ServerName: "a", Kind: kind, Notify: to}
	if strings.HasPrefix(kind, "quorum") {
		e.OfService, e.ID.Server, e.ServerName = true, conf.ServerID{}, ""
	}
	if kind == health.KindDown {
		e.Why, e.Text = health.WhyRefused, "http: connection refused"
	}
	e.Up = strings.HasSuffix(kind, "up")
	return e
}

// told records what is told in place of telling it.
type told struct {
	mu   sync.Mutex
	list []string
}

func (r *told) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, fmt.Sprintf(format, args...))
}

func (r *told) take() string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := strings.Join(r.list, ", ")
	r.list = nil
	return s
}

// Events of one service are told in order even if the first takes long; other services
// and other ways do not wait for it.
func TestOrderIsKeptForEachServiceAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := New(Config{}), &told{}
		n.tell = func(_ context.Context, w way, events []health.Event) error {
			if w == byWebhook && events[0].ID.Service == web {
				time.Sleep(10 * time.Second)
			}
			r.add("%d %v %s", w, events[0].ID.Service.Fwmark, events[0].Kind)
			return nil
		}
		go n.Run(t.Context())
		to := &conf.Notify{Any: "any", Webhook: "http://x"}
		for _, kind := range []string{"down", "quorum_down", "up"} {
			n.Tell(event(kind, web, to))
		}
		n.Tell(event("down", mark, to))
		time.Sleep(time.Second)
		got := r.take()
		for _, want := range []string{"0 0 down, 0 0 quorum_down, 0 0 up", "0 3 down", "1 3 down"} {
			for _, w := range strings.Split(want, ", ") {
				at := strings.Index(got, w)
				if at < 0 {
					t.Errorf("told %q, without %q in its order", got, want)
					break
				}
			}
		}
		if strings.Index(got, "0 0 down") > strings.Index(got, "0 0 quorum_down") || strings.Index(got, "0 0 quorum_down") > strings.Index(got, "0 0 up") {
			t.Errorf("out of order: %q", got)
		}
		time.Sleep(30 * time.Second)
		if got := r.take(); got != "1 0 down, 1 0 quorum_down, 1 0 up" {
			t.Errorf("then told %q", got)
		}
		if st := n.Stats(); st != (Stats{Told: 8}) || len(n.lanes) != 0 {
			t.Errorf("%+v, %d lanes left", st, len(n.lanes))
		}
	})
}

// No more than Parallel at a time, and each service gets its turn.
func TestParallelIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{Parallel: 2})
		var mu sync.Mutex
		now, most := 0, 0
		n.tell = func(context.Context, way, []health.Event) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
		go n.Run(t.Context())
		for i := range 10 {
			n.Tell(event("up", conf.ServiceKey{Fwmark: uint32(i + 1)}, &conf.Notify{Any: "any"}))
		}
		time.Sleep(5500 * time.Millisecond)
		if st := n.Stats(); most != 2 || st.Told != 10 {
			t.Errorf("%d at a time, %d told", most, st.Told)
		}
	})
}

// What does not find room is counted; the rest is told.
func TestFullQueueIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{Queue: 5})
		release := make(chan struct{})
		n.tell = func(context.Context, way, []health.Event) error { <-release; return errors.New("no") }
		go n.Run(t.Context())
		for range 8 {
			n.Tell(event("up", web, &conf.Notify{Any: "any", Up: "up"}))
		}
		synctest.Wait()
		if st := n.Stats(); st.Dropped != 3 || st.Queued != 5 {
			t.Errorf("%+v", st)
		}
		close(release)
		synctest.Wait()
		if st := n.Stats(); st != (Stats{Failed: 5, Dropped: 3}) {
			t.Errorf("%+v", st)
		}
	})
}

// The first mail goes after a moment in which others join, the next not before MailEvery,
// with all that happened meanwhile. Services that name the same people share mails.
func TestMailsAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := New(Config{}), &told{}
		start := time.Now()
		n.tell = func(_ context.Context, w way, events []health.Event) error {
			var kinds []string
			for _, e := range events {
				kinds = append(kinds, e.Kind)
			}
			r.add("%v: %s", time.Since(start), strings.Join(kinds, "+"))
			return nil
		}
		go n.Run(t.Context())
		to := &conf.Notify{Mail: []string{"ops@example.org"}, MailServer: "mx", MailEvery: time.Minute}
		others := &conf.Notify{Mail: []string{"dev@example.org"}, MailServer: "mx", MailEvery: time.Minute}
		n.Tell(event("down", web, to))
		time.Sleep(500 * time.Millisecond)
		n.Tell(event("hold", web, to))
		n.Tell(event("down", mark, to))
		time.Sleep(9500 * time.Millisecond)
		n.Tell(event("up", web, to))
		time.Sleep(10 * time.Second)
		n.Tell(event("weight", web, others))
		n.Tell(event("up", mark, to))
		time.Sleep(280 * time.Second)
		n.Tell(event("quorum_down", web, to))
		time.Sleep(time.Minute)
		if got := r.take(); got != "1s: down+hold+down, 21s: weight, 1m1s: up+up, 5m1s: quorum_down" {
			t.Errorf("mails: %s", got)
		}
	})
}

// Nobody is told who is not named, and of what only some are told.
func TestWhoIsTold(t *testing.T) {
	n := New(Config{})
	n.Tell(event("up", web, nil))
	n.Tell(event("up", web, &conf.Notify{}))
	n.Tell(event("up", web, &conf.Notify{Down: "x", Mail: []string{"a@b"}})) // no mail server
	n.Tell(event("hold", web, &conf.Notify{Any: "x"}))                       // not one of keepalived's
	if st := n.Stats(); st.Queued != 0 {
		t.Errorf("%d wait", st.Queued)
	}
	n.Tell(event("hold", web, &conf.Notify{Webhook: "http://x"}))
	n.Tell(event("sorry_on", web, &conf.Notify{Mail: []string{"a@b"}, MailServer: "x"}))
	if st := n.Stats(); st.Queued != 2 {
		t.Errorf("%d wait, want 2", st.Queued)
	}
}

func TestRetryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, tries := time.Now(), 0
		err := retry(t.Context(), func() (bool, error) { tries++; return true, errors.New("no") })
		if err == nil || tries != attempts || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %d tries and %v", err, tries, time.Since(start))
		}
		tries = 0
		if err := retry(t.Context(), func() (bool, error) { tries++; return tries < 2, nil }); err != nil || tries != 1 {
			t.Errorf("%v after %d tries", err, tries)
		}
		tries = 0
		if err := retry(t.Context(), func() (bool, error) { tries++; return false, errors.New("for good") }); err == nil || tries != 1 {
			t.Errorf("%v after %d tries", err, tries)
		}
	})
}
