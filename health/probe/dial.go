package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/health"
)

// A Dialer makes the connections of probes: here alone is decided which way they take.
type Dialer interface {
	// Dial connects to the target within ctx. The network is "tcp", "udp", "icmp" or
	// "ipv6-icmp"; of the last two the port is 0, and the connection is a raw socket that
	// hears of the target only. The connection has to be a syscall.Conn as net's are, for
	// the options that probes set.
	Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
}

// Plain dials straight to the target.
type Plain struct {
	Local   netip.AddrPort                                         // source; zero: the kernel's choice. Of ICMP the address only
	Control func(network, address string, c syscall.RawConn) error // called before connect, as net.Dialer's; nil: nothing
}

// Dial implements Dialer.
func (d Plain) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	n := net.Dialer{Control: d.Control, KeepAlive: -1}
	local := d.Local.Addr().IsValid()
	switch network {
	case "tcp":
		if local {
			n.LocalAddr = net.TCPAddrFromAddrPort(d.Local)
		}
		return n.DialContext(ctx, network, to.String())
	case "udp":
		if local {
			n.LocalAddr = net.UDPAddrFromAddrPort(d.Local)
		}
		return n.DialContext(ctx, network, to.String())
	}
	if local {
		n.LocalAddr = &net.IPAddr{IP: d.Local.Addr().AsSlice(), Zone: d.Local.Addr().Zone()}
	}
	family := "ip4:"
	if to.Addr().Is6() {
		family = "ip6:"
	}
	return n.DialContext(ctx, family+network, to.Addr().String())
}

const (
	maxAnswer = 1 << 20       // what of one answer is looked at
	maxRead   = 1<<20 + 1<<16 // what one connection may send: an answer and its framing
)

// conn is one attempt's connection. It ends with the attempt's context, takes no more
// than maxRead bytes, and remembers the first trouble it had, since some libraries hide
// it.
type conn struct {
	net.Conn
	left  int                   // bytes that may still come
	first atomic.Pointer[error] // the first trouble
	abort bool                  // close by reset: leave no TIME_WAIT here
	stop  func() bool           // of the context's hook
}

// connect makes the attempt's connection; it is the caller's to Close.
func (t target) connect(ctx context.Context, network string) (*conn, error) {
	if !t.addr.IsValid() {
		return nil, fail(health.WhyResolve, "the target has no address")
	}
	if t.port == 0 && (network == "tcp" || network == "udp") {
		return nil, fail(health.WhyLocal, "the target has no port")
	}
	c, err := t.dial.Dial(ctx, network, netip.AddrPortFrom(t.addr.Unmap(), t.port))
	if err != nil {
		return nil, err
	}
	if network != "tcp" {
		if err := hearErrors(c, t.addr.Unmap().Is6()); err != nil {
			c.Close()
			return nil, err
		}
	}
	// The deadline wakes a blocked read or write; a cancelled context too.
	end, _ := ctx.Deadline()
	c.SetDeadline(end)
	return &conn{Conn: c, left: maxRead, stop: context.AfterFunc(ctx, func() { c.SetDeadline(past) })}, nil
}

// hearErrors has a socket without connections report every ICMP error of its target: by
// itself Linux tells a UDP socket of port unreachable, but not of host unreachable (ip(7)).
func hearErrors(c net.Conn, v6 bool) error {
	s, ok := c.(syscall.Conn)
	if !ok {
		return fail(health.WhyLocal, "%T has no socket options", c)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, os.NewSyscallError("setsockopt", set))
}

var past = time.Unix(1, 0)

func (c *conn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.remember(errTooLong)
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, c.remember(err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.remember(err)
}

func (c *conn) remember(err error) error {
	if err != nil {
		c.first.CompareAndSwap(nil, &err)
	}
	return err
}

// cause is the connection's own trouble in place of what a library's parser made of it.
func (c *conn) cause(ctx context.Context, err error) error {
	if _, known := errors.AsType[*failure](err); known || err == nil {
		return err
	}
	first := c.first.Load()
	if why, _ := reason(ctx, err); why == health.WhyProtocol && first != nil {
		return *first
	}
	return err
}

// Close ends the connection. Ten thousand probes a second that close first would leave
// 600,000 sockets in TIME_WAIT on the director: where nothing is left to be said, abort
// has it end by reset.
func (c *conn) Close() error {
	c.stop()
	if t, ok := c.Conn.(interface{ SetLinger(int) error }); ok && c.abort {
		t.SetLinger(0)
	}
	return c.Conn.Close()
}
