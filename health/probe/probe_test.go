package probe

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// enough is a timeout for answers that come: generous, since others use the machine too.
const enough = 10 * time.Second

// ask makes a prober and asks once.
func ask(t testing.TB, p conf.Probe, at netip.AddrPort, timeout time.Duration) health.Result {
	t.Helper()
	return askBy(t, p, at, timeout, Plain{})
}

func askBy(t testing.TB, p conf.Probe, at netip.AddrPort, timeout time.Duration, d Dialer) health.Result {
	t.Helper()
	x, err := New(p, health.Target{Addr: at.Addr(), Port: at.Port()}, d)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return once(t, x, timeout)
}

func newSockets(t testing.TB) *Sockets {
	t.Helper()
	s, err := NewSockets()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// once asks, and fails the test if the probe does not end soon after its time.
func once(t testing.TB, x health.Prober, timeout time.Duration) health.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	start := time.Now()
	r := x.Probe(ctx)
	if took := time.Since(start); took > timeout+5*time.Second {
		t.Errorf("the probe of %v took %v: %+v", timeout, took, r)
	}
	if r.OK != (r.Why == health.WhyNone) || r.OK == (r.Text != "") || r.At.Before(start) || r.Took <= 0 {
		t.Errorf("a result that contradicts itself: %+v", r)
	}
	return r
}

func wantGood(t testing.TB, r health.Result) {
	t.Helper()
	if !r.OK {
		t.Errorf("bad: %s: %s", r.Why, r.Text)
	}
}

func wantBad(t testing.TB, r health.Result, why health.Why) {
	t.Helper()
	if r.OK || r.Why != why {
		t.Errorf("got %q: %s (after %v); want %q", r.Why, r.Text, r.Took.Round(time.Millisecond), why)
	}
}

// serve runs a fake server on loopback: handle has each connection until it returns.
func serve(t testing.TB, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// serveUDP answers each datagram with those that answer gives.
func serveUDP(t testing.TB, answer func(question []byte, reply func([]byte))) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			answer(buf[:n], func(b []byte) { c.WriteTo(b, from) })
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// held waits until the other side has gone.
func held(c net.Conn) {
	b := make([]byte, 4096)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// noLeaks has the test fail if it leaves descriptors or goroutines behind. Only for tests
// beside which no other runs.
func noLeaks(t *testing.T) {
	t.Helper()
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	percent := debug.SetGCPercent(-1) // the collector closes what nobody refers to
	fds, goroutines := descriptors(), runtime.NumGoroutine()
	t.Cleanup(func() {
		defer debug.SetGCPercent(percent)
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			f, g := descriptors(), runtime.NumGoroutine()
			if f <= fds && g <= goroutines {
				return
			}
			if time.Now().After(end) {
				buf := make([]byte, 1<<20)
				t.Errorf("descriptors %d, were %d; goroutines %d, were %d:\n%s", f, fds, g, goroutines, buf[:runtime.Stack(buf, true)])
				return
			}
		}
	})
}
