package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// steady is a crowd of clients that together begin so many requests a second, each on a
// connection of its own, and note when each began and what became of it.
type steady struct {
	c      *cluster
	to     string
	first  int // last byte of its first source address
	begun  time.Time
	cancel context.CancelFunc
	done   sync.WaitGroup
	next   atomic.Int64 // number of the next request

	mu       sync.Mutex
	requests []request
}

type request struct {
	began  time.Time
	server string // who answered; "" for nobody
	err    error
}

// steadyPorts is how many ports of an address are used: none is used twice, for the
// director remembers closed connections for two minutes.
const steadyPorts = 60_000

// firstSource is the last byte of the first source address in a cluster.
const firstSource = 100

// startSteady begins with the VIP's page /. Source addresses are made as they are needed.
func startSteady(c *cluster, rate, clients int, longest time.Duration) *steady {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &steady{c: c, first: c.sources, to: netip.AddrPortFrom(c.vip, 80).String(), begun: time.Now(), cancel: cancel}
	for range 1 + int(longest.Seconds())*rate/steadyPorts {
		c.client.IP(fmt.Sprintf("addr add 198.18.0.%d/24 dev c0", firstSource+c.sources))
		c.sources++
	}
	for range clients {
		s.done.Go(func() {
			for {
				n := s.next.Add(1) - 1
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Until(s.begun.Add(time.Duration(n) * time.Second / time.Duration(rate)))):
				}
				r := request{began: time.Now()}
				r.server, r.err = s.ask(c.client, n)
				s.mu.Lock()
				s.requests = append(s.requests, r)
				s.mu.Unlock()
			}
		})
	}
	c.t.Cleanup(func() { s.end() })
	return s
}

// ask makes one request.
func (s *steady) ask(ns *lab.NS, n int64) (string, error) {
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, byte(firstSource + s.first + int(n/steadyPorts))}), uint16(1025+n%steadyPorts))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	conn, err := ns.Dial(ctx, "tcp", s.to, from)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	_, body, found := bytes.Cut(b, []byte("\r\n\r\n"))
	if !found || !bytes.HasPrefix(b, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(b, []byte("HTTP/1.0 200")) {
		return "", fmt.Errorf("answer %q", b)
	}
	return string(bytes.TrimSpace(body)), nil
}

// end lets the clients finish and returns all requests.
func (s *steady) end() []request {
	s.cancel()
	s.done.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// since are the requests that ended so far and began after an instant.
func (s *steady) since(t time.Time) (list []request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.began.After(t) {
			list = append(list, r)
		}
	}
	return list
}

// answeredBy waits until so many requests that began from now on have been answered by the
// servers alone.
func (s *steady) answeredBy(n int, servers ...string) {
	s.c.t.Helper()
	from := time.Now()
	lab.Until(s.c.t, 15*time.Second, func() (bool, string) {
		count, others := tally(s.since(from), servers...)
		if others > 0 { // what was on its way when we began to look
			from = time.Now()
		}
		return count >= n, fmt.Sprintf("%d answers by %v, %d by others", count, servers, others)
	})
}

// tally counts answers of the servers, and of others.
func tally(list []request, servers ...string) (count, others int) {
	for _, r := range list {
		switch {
		case r.err != nil:
		case len(servers) == 0 || contains(servers, r.server):
			count++
		default:
			others++
		}
	}
	return count, others
}

func contains(list []string, s string) bool {
	for _, o := range list {
		if o == s {
			return true
		}
	}
	return false
}

// wantFailures checks that requests failed only if they began between two instants, and
// returns how many did.
func (s *steady) wantFailures(what string, list []request, from, to time.Time) (n int) {
	s.c.t.Helper()
	wrong := 0
	for _, r := range list {
		if r.err == nil {
			continue
		}
		if n++; r.began.Before(from) || r.began.After(to) {
			if wrong++; wrong <= 5 {
				s.c.t.Errorf("%s: a request that began %v after the first instant and %v after the last failed: %v (refused: %v)", what,
					r.began.Sub(from), r.began.Sub(to), r.err, errors.Is(r.err, syscall.ECONNREFUSED))
			}
		}
	}
	if wrong > 5 {
		s.c.t.Errorf("%s: %d such requests", what, wrong)
	}
	return n
}
