package probe

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// A kept connection asks again: no handshake and no accept, a third less work here.
// What it cannot see is a server that still answers those it has and takes no new ones, so
// some questions go by a new connection all the same.
const (
	freshEach = 10          // every so manieth question of a check
	keptFor   = time.Minute // how long a connection waits for its next question, at most twice that
	maxKept   = 16 << 10    // of all checks
)

// keep has the connection wait for the check's next question, after an answer that was read to
// its end. A check has one; any other ends.
func (c *socket) keep(check *httpProbe) {
	s := c.of
	s.mu.Lock()
	fits := s.open && s.kept[check] == nil && len(s.kept) < maxKept
	if fits {
		c.ctx, c.since = nil, time.Now()
		s.kept[check] = c
		if s.sweeping == nil {
			s.sweeping = time.AfterFunc(keptFor, s.sweep)
		}
	}
	s.mu.Unlock()
	if !fits {
		c.end()
	}
}

// again is the connection that was kept for a check, if nothing has become of it since; nil
// if there is none. The caller has to end or keep it.
func (s *Sockets) again(ctx context.Context, check *httpProbe) *socket {
	s.mu.Lock()
	c := s.kept[check]
	delete(s.kept, check)
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	if !c.quiet() {
		c.end()
		return nil
	}
	c.ctx, c.heard = ctx, false
	return c
}

// quiet says that nothing has come since the last answer, not even the connection's end.
func (c *socket) quiet() bool {
	forget(c.readable)
	forget(c.writable)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN | unix.POLLRDHUP}}, 0)
	return n == 0 && err == nil
}

// sweep ends the connections that nobody has asked by for long.
func (s *Sockets) sweep() {
	s.mu.Lock()
	var over []*socket
	for check, c := range s.kept {
		if time.Since(c.since) >= keptFor {
			delete(s.kept, check)
			over = append(over, c)
		}
	}
	if s.sweeping = nil; len(s.kept) > 0 {
		s.sweeping = time.AfterFunc(keptFor, s.sweep)
	}
	s.mu.Unlock()
	for _, c := range over {
		c.end()
	}
}
