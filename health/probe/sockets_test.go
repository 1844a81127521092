package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// wantIdle fails the test unless so many sockets wait, all there are.
func wantIdle(t *testing.T, s *Sockets, family, want int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := len(s.idle[family]); got != want || len(s.all) != want {
		t.Errorf("%d sockets wait of %d, want %d", got, len(s.all), want)
	}
}

const page200 = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"

// answer is a server that reads a request and answers with a page.
func answer(c net.Conn, body string) {
	if _, err := c.Read(make([]byte, 4096)); err == nil {
		fmt.Fprintf(c, page200, len(body), body)
	}
}

// The same socket asks again and again, from another port each time, and ends each
// connection by a reset.
func TestSocketIsUsedAgain(t *testing.T) {
	noLeaks(t)
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports := make(chan netip.AddrPort, 100)
		ends := make(chan error, 100)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				answer(c, "hello")
				_, err = c.Read(make([]byte, 1))
				ports <- c.RemoteAddr().(*net.TCPAddr).AddrPort()
				ends <- err
				c.Close()
			}
		}()
		s := newSockets(t)
		to := l.Addr().(*net.TCPAddr).AddrPort()
		x, err := New(conf.Probe{Type: conf.ProbeHTTP, Body: "^hello$"}, health.Target{Addr: to.Addr(), Port: to.Port()}, Plain{Sockets: s})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[netip.AddrPort]bool{}
		for range 20 {
			wantGood(t, once(t, x, enough))
			seen[<-ports] = true
			if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server reads %v at the end, want a reset", err)
			}
		}
		family := unix.AF_INET
		if to.Addr().Is6() {
			family = unix.AF_INET6
		}
		wantIdle(t, s, family, 1)
		if len(seen) < 2 {
			t.Errorf("20 connections came from %v", seen)
		}
	}
}

// Whatever a server did to a connection, the next one of the same socket is none the worse
// for it, and has none of its bytes.
func TestSocketAfterEveryBadServer(t *testing.T) {
	noLeaks(t)
	s := newSockets(t)
	good := serve(t, func(c net.Conn) { answer(c, "hello") })
	wantGood(t, askBy(t, conf.Probe{Type: conf.ProbeHTTP, Body: "^hello$"}, good, enough, Plain{Sockets: s}))
	bad := []badServer{
		{"answers before it is asked", func(c net.Conn) { fmt.Fprintf(c, page200, 5, "early"); held(c) }, enough, health.WhyNone},
		{"says more than it should", func(c net.Conn) { flood(c, fmt.Sprintf(page200, 5, "hello"), fmt.Sprintf(page200, 5, "more!")) }, enough, health.WhyNone},
		{"says no", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 503 no\r\n\r\n"); held(c) }, enough, health.WhyStatus},
	}
	for _, p := range tcpProtocols {
		if p.name == "http" || p.name == "http header" {
			bad = append(bad, badServers(p)...)
		}
	}
	for _, b := range bad {
		r := askBy(t, conf.Probe{Type: conf.ProbeHTTP}, serve(t, b.handle), b.timeout, Plain{Sockets: s})
		if r.Why != b.want {
			t.Errorf("%s: %q: %s; want %q", b.name, r.Why, r.Text, b.want)
		}
		r = askBy(t, conf.Probe{Type: conf.ProbeHTTP, Body: "^hello$"}, good, enough, Plain{Sockets: s})
		if !r.OK {
			t.Errorf("after a server that %s: %s: %s", b.name, r.Why, r.Text)
		}
	}
	for range 3 {
		wantBad(t, askBy(t, conf.Probe{Type: conf.ProbeHTTP}, freePort(t), enough, Plain{Sockets: s}), health.WhyRefused)
		wantGood(t, askBy(t, conf.Probe{Type: conf.ProbeHTTP, Body: "^hello$"}, good, enough, Plain{Sockets: s}))
	}
	wantIdle(t, s, unix.AF_INET, 1)
}

// deaf is a listener whose queue is full: what knocks hears nothing.
func deaf(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
	c, err := net.Dial("tcp", at.String()) // takes the one place
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return at
}

// An attempt that is not connected yet ends with its time, or when it is called off, and
// its socket is as good as new.
func TestSocketGivesUpConnecting(t *testing.T) {
	noLeaks(t)
	s := newSockets(t)
	at, good := deaf(t), serve(t, func(c net.Conn) { answer(c, "hello") })
	for range 3 {
		wantBad(t, askBy(t, conf.Probe{Type: conf.ProbeHTTP}, at, short, Plain{Sockets: s}), health.WhyTimeout)
		wantGood(t, askBy(t, conf.Probe{Type: conf.ProbeHTTP, Body: "^hello$"}, good, enough, Plain{Sockets: s}))
	}
	x, err := New(conf.Probe{Type: conf.ProbeHTTP}, health.Target{Addr: at.Addr(), Port: at.Port()}, Plain{Sockets: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	time.AfterFunc(50*time.Millisecond, cancel)
	wantBad(t, x.Probe(ctx), health.WhyLocal)
	wantBad(t, x.Probe(ctx), health.WhyLocal) // called off before it begins
	wantGood(t, askBy(t, conf.Probe{Type: conf.ProbeHTTP, Body: "^hello$"}, good, enough, Plain{Sockets: s}))
	wantIdle(t, s, unix.AF_INET, 1)
}

// Many at a time have each the answer to their own question, and no more sockets stay
// than may wait.
func TestSocketsTogether(t *testing.T) {
	noLeaks(t)
	s := newSockets(t)
	const together = maxIdle + 20
	var asked atomic.Int32
	all := make(chan struct{})
	at := serve(t, func(c net.Conn) {
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if asked.Add(1) == together {
			close(all)
		}
		<-all // so that all are open at once
		path, _, _ := strings.Cut(strings.TrimPrefix(string(b[:n]), "GET /"), " ")
		fmt.Fprintf(c, page200, len(path), path)
	})
	var probes sync.WaitGroup
	for i := range together {
		probes.Go(func() {
			own := fmt.Sprintf("%d.%s", i, bytes.Repeat([]byte("x"), i))
			for range 5 {
				wantGood(t, askBy(t, conf.Probe{Type: conf.ProbeHTTP, Path: "/" + own, Body: "^" + own + "$"}, at, enough, Plain{Sockets: s}))
			}
		})
	}
	probes.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) > maxIdle || len(s.all) != len(s.idle[unix.AF_INET]) {
		t.Errorf("%d sockets, %d of them wait; want at most %d", len(s.all), len(s.idle[unix.AF_INET]), maxIdle)
	}
}

// After Close nothing is asked, and a socket that was in use is closed at its end.
func TestSocketsClose(t *testing.T) {
	noLeaks(t)
	s, err := NewSockets()
	if err != nil {
		t.Fatal(err)
	}
	at := serve(t, held)
	c, err := s.connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	c.end()
	wantIdle(t, s, unix.AF_INET, 0)
	wantBad(t, askBy(t, conf.Probe{Type: conf.ProbeHTTP}, at, enough, Plain{Sockets: s}), health.WhyLocal)
}
