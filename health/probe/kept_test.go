package probe

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// talker is a server that answers question after question on each connection: answer gets
// the number of the question on its connection, from 0, and says whether to go on.
func talker(t *testing.T, answer func(c net.Conn, n int) bool) (at netip.AddrPort, connections, questions *atomic.Int32) {
	connections, questions = new(atomic.Int32), new(atomic.Int32)
	at = serve(t, func(c net.Conn) {
		connections.Add(1)
		b := make([]byte, 4096)
		for n := 0; ; n++ {
			if _, err := c.Read(b); err != nil {
				return
			}
			questions.Add(1)
			if !answer(c, n) {
				return
			}
		}
	})
	return at, connections, questions
}

func hello(c net.Conn, _ int) bool {
	fmt.Fprintf(c, page200, 5, "hello")
	return true
}

// keeper asks at by connections that are kept.
func keeper(t *testing.T, s *Sockets, at netip.AddrPort) health.Prober {
	t.Helper()
	x, err := New(conf.Probe{Type: conf.ProbeHTTP, Body: "^hello$", Connection: "kept"}, health.Target{Addr: at.Addr(), Port: at.Port()}, Plain{Sockets: s})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// wantKept fails the test unless so many connections wait for a question.
func wantKept(t *testing.T, s *Sockets, want int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) != want {
		t.Errorf("%d connections are kept, want %d", len(s.kept), want)
	}
}

// A connection is asked by again, and every tenth question goes by a new one.
func TestKeptConnection(t *testing.T) {
	noLeaks(t)
	at, connections, questions := talker(t, hello)
	s := newSockets(t) // closed first
	x := keeper(t, s, at)
	for range 25 {
		wantGood(t, once(t, x, enough))
	}
	if c, q := connections.Load(), questions.Load(); c != 3 || q != 25 {
		t.Errorf("%d connections for %d questions, want 3 for 25", c, q)
	}
	wantKept(t, s, 1)
	// Without the word nothing is kept.
	for range 2 {
		wantGood(t, askBy(t, conf.Probe{Type: conf.ProbeHTTP}, at, enough, Plain{Sockets: s}))
	}
	if c := connections.Load(); c != 5 {
		t.Errorf("%d connections, want two more", c)
	}
	wantKept(t, s, 1)
}

// What makes a connection unfit for another question: its next one goes by a new connection,
// and is none the worse for it.
func TestConnectionsThatAreNotKept(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(c net.Conn, n int) bool
		kept   int  // after an answer, by the answer's own word
		news   bool // comes from the server then
	}{
		{"ended by its word", func(c net.Conn, _ int) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
			return false
		}, 0, false},
		{"of HTTP 1.0", func(c net.Conn, _ int) bool {
			io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
			return false
		}, 0, false},
		{"with a body until its end", func(c net.Conn, _ int) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nhello")
			return false
		}, 0, false},
		{"with more than the answer", func(c net.Conn, _ int) bool {
			fmt.Fprintf(c, page200+"HTTP/1.1 500 no\r\n", 5, "hello")
			return true
		}, 0, false},
		{"ended without a word", func(c net.Conn, n int) bool {
			hello(c, n)
			return false
		}, 1, true},
		{"ended when asked again", func(c net.Conn, n int) bool { return n == 0 && hello(c, n) }, 1, false},
		{"with more a while later", func(c net.Conn, n int) bool {
			hello(c, n)
			time.Sleep(20 * time.Millisecond)
			io.WriteString(c, "HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n")
			return true
		}, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			at, connections, _ := talker(t, c.answer)
			s := newSockets(t)
			x := keeper(t, s, at)
			for n := range int32(5) {
				wantGood(t, once(t, x, enough))
				wantKept(t, s, c.kept)
				if c.news {
					awaitNews(t, s)
				}
				if got := connections.Load(); got != n+1 {
					t.Errorf("question %d: %d connections", n, got)
				}
			}
		})
	}
}

// awaitNews waits until something has come on the connection that is kept.
func awaitNews(t *testing.T, s *Sockets) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.kept {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN | unix.POLLRDHUP}}, int(enough/time.Millisecond))
		if n != 1 || err != nil {
			t.Errorf("nothing has come: %d, %v", n, err)
		}
	}
}

// A bad answer, or none, is what it is on a kept connection too, and ends it.
func TestKeptConnectionThatTurnsBad(t *testing.T) {
	noLeaks(t)
	for why, answer := range map[health.Why]func(c net.Conn){
		health.WhyStatus:  func(c net.Conn) { io.WriteString(c, "HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n") },
		health.WhyContent: func(c net.Conn) { fmt.Fprintf(c, page200, 3, "bye") },
		health.WhyTimeout: func(net.Conn) {},
	} {
		at, connections, questions := talker(t, func(c net.Conn, n int) bool {
			if n == 0 {
				return hello(c, n)
			}
			answer(c)
			return true
		})
		s := newSockets(t)
		x := keeper(t, s, at)
		wantGood(t, once(t, x, enough))
		wantBad(t, once(t, x, short), why)
		wantKept(t, s, 0)
		if c, q := connections.Load(), questions.Load(); c != 1 || q != 2 {
			t.Errorf("%s: %d connections, %d questions, want 1 and 2", why, c, q)
		}
	}
}

// Connections that nobody asks by any more end, and so do all with Close.
func TestKeptConnectionsEnd(t *testing.T) {
	noLeaks(t)
	at, _, _ := talker(t, hello)
	s := newSockets(t)
	first, second := keeper(t, s, at), keeper(t, s, at)
	wantGood(t, once(t, first, enough))
	wantGood(t, once(t, second, enough))
	s.sweep()
	wantKept(t, s, 2)
	s.mu.Lock()
	s.kept[first.(prober).asker.(*httpProbe)].since = time.Now().Add(-keptFor)
	s.mu.Unlock()
	s.sweep()
	wantKept(t, s, 1)
	wantGood(t, once(t, second, enough))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wantKept(t, s, 0)
	wantIdle(t, s, unix.AF_INET, 0)
}
