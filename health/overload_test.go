package health

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// echoes answers what it is asked, at once, over TCP, on every address of the loopback
// network.
func echoes(t *testing.T) netip.AddrPort {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// echoed asks an echo for what it answers, in three rounds.
type echoed struct{ to netip.AddrPort }

func (e echoed) Probe(ctx context.Context) Result {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", e.to.String())
	if err == nil {
		defer c.Close()
		_ = c.(*net.TCPConn).SetLinger(0)
		end, _ := ctx.Deadline()
		_ = c.SetDeadline(end)
		var b [1]byte
		for range 3 {
			if _, err = c.Write(b[:]); err == nil {
				_, err = c.Read(b[:])
			}
		}
	}
	if err == nil {
		return Result{OK: true}
	}
	why := WhyLocal
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		why = WhyTimeout
	}
	return Result{Why: why, Text: err.Error()}
}

// A director that has many times more to ask than it can takes no server down that
// answers, and finds a dead one nevertheless: it is late with asking, which is seen, and
// not with hearing. With other work that takes its processors it is late with hearing too,
// and still takes nobody down.
func TestOverloadTakesNobodyDown(t *testing.T) {
	const servers = 3000
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // which cannot ask 30,000 times a second
	port := echoes(t).Port()
	dead, err := net.Listen("tcp4", "127.9.0.1:0") // never accepts: what is sent is not answered
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	m := New(Config{Prober: func(_ conf.Probe, t Target) (Prober, error) {
		return echoed{netip.AddrPortFrom(t.Addr, t.Port)}, nil
	}})
	check := conf.HealthCheck{Interval: 100 * time.Millisecond, Rise: 1, Fall: 2, Probe: conf.Probe{Type: conf.ProbeTCP, Timeout: 500 * time.Millisecond}}
	svc := web(check, 0)
	for i := range servers {
		svc.Servers = append(svc.Servers, conf.Server{Addr: netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), Port: port, Weight: 1})
	}
	gone := netip.MustParseAddrPort(dead.Addr().String())
	svc.Servers = append(svc.Servers, conf.Server{Addr: gone.Addr(), Port: gone.Port(), Weight: 1})
	m.Update([]conf.Service{svc}, nil)

	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	// watch looks on for a while, and says how late hearing was and how many answers were
	// not counted.
	watch := func(lasts time.Duration) (lag time.Duration, discarded uint64) {
		discarded = m.Stats().Discarded
		for begun := time.Now(); time.Since(begun) < lasts; time.Sleep(100 * time.Millisecond) {
			lag = max(lag, m.Stats().Lag)
		}
		return lag, m.Stats().Discarded - discarded
	}
	lag, discarded := watch(3 * time.Second)
	st := m.Stats()
	late, _ := st.Lateness.Quantile(0.5)
	t.Logf("answers %v; half of them asked %v late; heard up to %v late, %d not counted", st.Probes, late, lag, discarded)
	if late < 50*time.Millisecond {
		t.Errorf("this was no overload: half of the probes at most %v late", late)
	}
	for range 4 { // every turn takes ten milliseconds (the runtime's forcePreemptNS)
		all.Go(func() {
			for ctx.Err() == nil {
			}
		})
	}
	lag, discarded = watch(2 * time.Second)
	t.Logf("with other work: heard up to %v late, %d not counted", lag, discarded)
	if lag < 20*time.Millisecond { // two hogs before it on each processor
		t.Errorf("this was no lateness: %v", lag)
	}
	stop()
	all.Wait()
	found, downs := false, 0
	for _, e := range m.History(Filter{Kind: KindDown}) {
		if e.ID.Server.Addr == gone.Addr() {
			found = true
		} else if downs++; downs <= 3 {
			t.Errorf("%v is down: %s", e.ID.Server, e.Text)
		}
	}
	if downs > 0 {
		t.Errorf("%d servers that answer were taken down", downs)
	}
	if !found {
		t.Error("the dead server was not found")
	}
}
