package health

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// fake is a prober whose target a test plays.
type fake struct {
	mu    sync.Mutex
	play  func(ctx context.Context) Result
	asked []time.Time
}

func (f *fake) Probe(ctx context.Context) Result {
	f.mu.Lock()
	play := f.play
	f.asked = append(f.asked, time.Now())
	f.mu.Unlock()
	return play(ctx)
}

func (f *fake) set(play func(ctx context.Context) Result) {
	f.mu.Lock()
	f.play = play
	f.mu.Unlock()
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

// good answers at once; bad refuses; silent says nothing until the timeout.
func good(context.Context) Result { return Result{OK: true} }
func bad(context.Context) Result {
	return Result{Why: WhyRefused, Text: "connection refused"}
}
func silent(ctx context.Context) Result {
	<-ctx.Done()
	return Result{Why: WhyTimeout, Text: "no answer"}
}

// site is a monitor with fake targets, in a synctest bubble.
type site struct {
	*Monitor
	t       *testing.T
	targets map[Target]*fake
	mu      sync.Mutex
	changed []conf.ServiceKey
	told    []Event
	stop    context.CancelFunc
	ended   chan error
}

func newSite(t *testing.T, c Config) *site {
	s := &site{t: t, targets: map[Target]*fake{}, ended: make(chan error, 1)}
	c.Prober = func(_ conf.Probe, t Target) (Prober, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.target(t), nil
	}
	c.Changed = func(keys []conf.ServiceKey) {
		s.mu.Lock()
		s.changed = append(s.changed, keys...)
		s.mu.Unlock()
	}
	c.Event = func(e Event) {
		s.mu.Lock()
		s.told = append(s.told, e)
		s.mu.Unlock()
	}
	c.Stepped = true
	s.Monitor = New(c)
	return s
}

// target is the fake of a target; it answers well until told otherwise. s.mu is held.
func (s *site) target(t Target) *fake {
	f := s.targets[t]
	if f == nil {
		f = &fake{play: good}
		s.targets[t] = f
	}
	return f
}

// run starts the monitor; it ends with the test.
func (s *site) run() {
	ctx, stop := context.WithCancel(s.t.Context())
	s.stop = stop
	go func() { s.ended <- s.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		if err := <-s.ended; err != nil {
			s.t.Error(err)
		}
	})
}

// at is the fake of the server 10.0.0.n.
func (s *site) at(n int) *fake {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.target(Target{Addr: ip(n), Port: 80})
}

// kinds are the events told so far, as "kind server", and forgets them.
func (s *site) kinds() (list []string) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.told {
		if e.OfService {
			list = append(list, e.Kind)
		} else {
			list = append(list, fmt.Sprintf("%s %d", e.Kind, e.ID.Server.Addr.As4()[3]))
		}
	}
	s.told = nil
	return list
}

// list is what InForce says, as "last byte of the address:weight".
func (s *site) list(svc conf.Service) (out string) {
	synctest.Wait()
	servers, sorry := s.InForce(&svc)
	for i, srv := range servers {
		if i > 0 {
			out += " "
		}
		out += fmt.Sprintf("%d:%d", srv.Addr.As4()[3], srv.Weight)
	}
	if sorry {
		out += " sorry"
	}
	return out
}

func ip(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

// web is a service with n servers of weight 1 at 10.0.0.1 and on, asked by one check.
func web(c conf.HealthCheck, n int) conf.Service {
	if c.Probe.Type == "" {
		c.Probe = conf.Probe{Type: conf.ProbeTCP, Timeout: time.Second}
	}
	s := conf.Service{
		Key:    conf.ServiceKey{Proto: packet.TCP, Addr: netip.MustParseAddr("192.0.2.1"), Port: 80},
		Health: &conf.Health{Checks: []conf.HealthCheck{c}, Quorum: 1},
	}
	for i := range n {
		s.Servers = append(s.Servers, conf.Server{Addr: ip(i + 1), Port: 80, Weight: 1})
	}
	return s
}

func (s *site) want(svc conf.Service, list string) {
	s.t.Helper()
	if got := s.list(svc); got != list {
		s.t.Errorf("in force %q, want %q", got, list)
	}
}

// keepalived section 4.2: an up server needs retry + 1 consecutive failures; after the
// first the next probe is after delay_before_retry; a down one is asked every delay_loop
// and comes up with the first good answer.
func TestServerGoesDownAfterItsRetriesAndComesBackWithOneGoodAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(conf.HealthCheck{Interval: 10 * time.Second, RetryDelay: time.Second, Rise: 1, Fall: 3}, 2)
		s.Update([]conf.Service{svc}, nil)
		s.run()
		time.Sleep(time.Second) // asked at 0 s, good
		s.want(svc, "1:1 2:1")
		s.at(1).set(bad)
		time.Sleep(9 * time.Second) // asked at 10 s: bad
		s.want(svc, "1:1 2:1")
		time.Sleep(1500 * time.Millisecond) // 11 s
		s.want(svc, "1:1 2:1")
		time.Sleep(time.Second) // 12 s
		s.want(svc, "2:1")
		s.at(1).set(good)
		time.Sleep(9 * time.Second) // next at 22 s
		s.want(svc, "2:1")
		time.Sleep(time.Second)
		s.want(svc, "1:1 2:1")
		if got := fmt.Sprint(s.kinds()); got != "[quorum_up down 1 up 1]" {
			t.Errorf("told %v", got)
		}
	})
}
