package probe

import (
	"context"
	"errors"
	"io"
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
	Sockets *Sockets                                               // for what can do with one of them; nil: a new socket for each
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

// bounded takes no more than maxRead bytes of one attempt's connection, and remembers the
// first trouble it had, since some libraries hide it.
type bounded struct {
	rw    io.ReadWriter
	left  int                   // bytes that may still come
	first atomic.Pointer[error] // the first trouble
}

// conn is one attempt's connection, which ends with the attempt's context.
type conn struct {
	net.Conn
	bounded
	abort bool        // close by reset: leave no TIME_WAIT here
	stop  func() bool // of the context's hook
}

// Both halves have these two; the bounded one's are meant.
func (c *conn) Read(b []byte) (int, error)  { return c.bounded.Read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.bounded.Write(b) }

// connect makes the attempt's connection; it is the caller's to Close.
func (t target) connect(ctx context.Context, network string) (*conn, error) {
	to, err := t.endpoint(network)
	if err != nil {
		return nil, err
	}
	c, err := t.dial.Dial(ctx, network, to)
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
	return &conn{Conn: c, bounded: bounded{rw: c, left: maxRead}, stop: context.AfterFunc(ctx, func() { c.SetDeadline(past) })}, nil
}

// endpoint is where connections of the network go.
func (t target) endpoint(network string) (netip.AddrPort, error) {
	to := netip.AddrPortFrom(t.addr.Unmap(), t.port)
	switch {
	case !t.addr.IsValid():
		return to, fail(health.WhyResolve, "the target has no address")
	case t.port == 0 && (network == "tcp" || network == "udp"):
		return to, fail(health.WhyLocal, "the target has no port")
	}
	return to, nil
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

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, b.remember(errTooLong)
	}
	n, err := b.rw.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, b.remember(err)
}

func (b *bounded) Write(p []byte) (int, error) {
	n, err := b.rw.Write(p)
	return n, b.remember(err)
}

func (b *bounded) remember(err error) error {
	if err != nil {
		b.first.CompareAndSwap(nil, &err)
	}
	return err
}

// cause is the connection's own trouble in place of what a library's parser made of it.
func (b *bounded) cause(ctx context.Context, err error) error {
	if _, known := errors.AsType[*failure](err); known || err == nil {
		return err
	}
	first := b.first.Load()
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
