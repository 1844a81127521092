package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/health"
)

// Sockets are TCP sockets that ask one server after the other. Of what a short
// conversation costs, a good part is to make a socket, to tell the poller of it and to take
// both back; Linux lets one that is connected be dissolved instead, by a reset, and
// connect again (connect(2), AF_UNSPEC). They are for conversations that one goroutine
// leads and that may end by a reset. The nil Sockets have none.
//
// They wait on a poller of their own, an epoll descriptor that the runtime waits for in
// turn: the runtime's keeps an error of the last connection and takes it for the next one's.
type Sockets struct {
	poll *os.File
	raw  syscall.RawConn // of poll

	mu   sync.Mutex
	open bool
	all  map[int32]*socket // by descriptor
	idle map[int][]*socket // by family, to be used again

	kept     map[*httpProbe]*socket // connected, for the next question
	sweeping *time.Timer            // while some are
}

// maxIdle is how many sockets of a family wait for the next question. More are in use at a
// time only while servers are slow to answer.
const maxIdle = 256

// socket is one of them. Between connect and end it is of one goroutine.
type socket struct {
	of       *Sockets
	fd       int
	family   int
	readable chan struct{} // there may be something to read; or it is news of the connection before
	writable chan struct{} // likewise

	ctx   context.Context // of the attempt
	heard bool            // something has come, or could have
	since time.Time       // of one that is kept
}

// NewSockets has no sockets yet. They are the caller's to Close when no probe runs any more.
func NewSockets() (*Sockets, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("sockets of health checks: %w", os.NewSyscallError("epoll_create1", err))
	}
	unix.SetNonblock(fd, true) // for NewFile: the runtime is to wait for it
	s := &Sockets{poll: os.NewFile(uintptr(fd), "epoll"), open: true,
		all: map[int32]*socket{}, idle: map[int][]*socket{}, kept: map[*httpProbe]*socket{}}
	if s.raw, err = s.poll.SyscallConn(); err != nil {
		s.poll.Close()
		return nil, fmt.Errorf("sockets of health checks: %w", err)
	}
	go s.listen()
	return s, nil
}

// Close closes the sockets that wait; those in use are closed at their end. It is safe to
// call twice.
func (s *Sockets) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	was := s.open
	for _, idle := range s.idle {
		for _, c := range idle {
			s.drop(c)
		}
	}
	for _, c := range s.kept {
		s.drop(c)
	}
	s.idle, s.kept, s.open = nil, nil, false
	s.mu.Unlock()
	if !was {
		return nil
	}
	return s.poll.Close() // not with the lock, for it waits for listen
}

// listen wakes who waits for a socket, until Close.
func (s *Sockets) listen() {
	var events [128]unix.EpollEvent
	s.raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events[:], 0)
			if err == unix.EINTR {
				continue
			}
			s.wake(events[:max(0, n)])
			if n < len(events) {
				return false // the rest comes with the next edge
			}
		}
	})
}

func (s *Sockets) wake(events []unix.EpollEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range events {
		c, what := s.all[events[i].Fd], events[i].Events
		if c == nil {
			continue
		}
		if what != unix.EPOLLOUT {
			signal(c.readable)
		}
		if what != unix.EPOLLIN {
			signal(c.writable)
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func forget(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// connect begins a connection, which the caller has to end. What becomes of it the first
// Write says.
func (s *Sockets) connect(ctx context.Context, to netip.AddrPort) (*socket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(to.Port()), Addr: [4]byte(to.Addr().AsSlice())})
	if to.Addr().Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	c, err := s.take(family)
	if err != nil {
		return nil, err
	}
	forget(c.readable)
	forget(c.writable)
	c.ctx, c.heard = ctx, false
	if err := unix.Connect(c.fd, sa); err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		c.end()
		return nil, os.NewSyscallError("connect", err)
	}
	return c, nil
}

// take gives a socket that is not connected.
func (s *Sockets) take(family int) (*socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if idle := s.idle[family]; len(idle) > 0 {
		c := idle[len(idle)-1]
		s.idle[family] = idle[:len(idle)-1]
		return c, nil
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// On a socket that connects it has the handshake's last segment wait for the request:
	// tcp_rcv_synsent_state_process of the kernel. One packet less for both sides, and the
	// server finds the question when it accepts. It is of no matter if it cannot be set.
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET, Fd: int32(fd)}
	var added error
	err = s.raw.Control(func(poll uintptr) { added = unix.EpollCtl(int(poll), unix.EPOLL_CTL_ADD, fd, &e) })
	if err = errors.Join(err, os.NewSyscallError("epoll_ctl", added)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%w: %w", health.ErrLocal, err)
	}
	c := &socket{of: s, fd: fd, family: family, readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
	s.all[e.Fd] = c
	return c, nil
}

// end ends the connection by a reset, if there is one, and gives the socket back.
func (c *socket) end() {
	_, _, failed := unix.Syscall(unix.SYS_CONNECT, uintptr(c.fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	s := c.of
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ctx = nil
	if failed == 0 && s.open && len(s.idle[c.family]) < maxIdle {
		s.idle[c.family] = append(s.idle[c.family], c)
		return
	}
	s.drop(c)
}

// drop closes a socket. The caller holds s.mu.
func (s *Sockets) drop(c *socket) {
	delete(s.all, int32(c.fd))
	unix.Close(c.fd)
}

// unspecified is the address whose family is AF_UNSPEC.
var unspecified unix.RawSockaddr

// Read implements io.Reader. An error is of the connection, or the context's. The first
// call does not look before it waits: what comes on a new connection is news for certain.
func (c *socket) Read(b []byte) (int, error) {
	for {
		if !c.heard {
			if err := c.wait(c.readable); err != nil {
				return 0, err
			}
			c.heard = true
		}
		n, err := unix.Read(c.fd, b)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == unix.EAGAIN:
			c.heard = false
		case err != unix.EINTR:
			return 0, os.NewSyscallError("read", err)
		}
	}
}

// Write implements io.Writer. It waits until the socket is connected, if it has to.
func (c *socket) Write(b []byte) (done int, err error) {
	for done < len(b) {
		n, err := unix.Write(c.fd, b[done:])
		done += max(0, n)
		switch err {
		case nil, unix.EINTR:
		case unix.EAGAIN:
			if err := c.wait(c.writable); err != nil {
				return done, err
			}
		default:
			return done, os.NewSyscallError("write", err)
		}
	}
	return done, nil
}

// wait waits for news of the socket.
func (c *socket) wait(news chan struct{}) error {
	select {
	case <-news:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}
