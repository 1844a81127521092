package via

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

// Dialer makes connections to one server of a service.
type Dialer struct {
	via     *Via
	service conf.ServiceKey
	server  conf.ServerID
}

// portTries is how many source ports are tried for one connection.
const portTries = 64

// Dial connects to the server by the service, whose address and port to is. The network is
// the service's, "tcp" or "udp". An error with health.ErrLocal in it says nothing about
// the server. The connection is one of net's; its Close resets it where it is TCP: ports
// are few, and may not wait out TIME_WAIT.
func (d Dialer) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	c, err := d.dial(ctx, network, to)
	if err != nil {
		return nil, fmt.Errorf("server %v of %v by the service: %w", d.server, d.service, err)
	}
	return c, nil
}

func (d Dialer) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	k := d.service
	switch {
	case d.via == nil || d.via.device == "":
		return nil, local("no port leads from the director to the host (host_port), and none could be made")
	case k.Proto == packet.TCP && network != "tcp", k.Proto == packet.UDP && network != "udp", k.Proto != packet.TCP && k.Proto != packet.UDP:
		return nil, local("%s is not the service's protocol", network)
	case to.Addr() != k.Addr || to.Port() == 0 || k.Port != 0 && to.Port() != k.Port:
		return nil, local("%v is not the service", to)
	}
	server, from, known := d.via.find(k, d.server)
	if !known {
		return nil, local("the server is no more, or no longer asked this way")
	}
	if from.err != nil {
		return nil, from.err
	}
	var err error
	for range portTries {
		n := uint32(Ports.Last-Ports.First) + 1
		src := netip.AddrPortFrom(from.addr, Ports.First+uint16(d.via.turn.Add(1)%n))
		var pin dataplane.Pin
		pin, err = d.via.plane.Pin(k, to.Port(), &server, src)
		if errors.Is(err, dataplane.ErrPinned) {
			continue
		}
		if err != nil {
			break
		}
		var c net.Conn
		if c, err = d.via.connect(ctx, network, src, to, pin); err == nil {
			return c, nil
		}
		d.via.plane.Unpin(pin)
		// The port is another program's, or the host remembers a connection of these ends.
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: from %v, ports %d to %d: %w", health.ErrLocal, from.addr, Ports.First, Ports.Last, err)
}

func local(format string, args ...any) error { return refused(format, args...).err }

// connect makes the socket of a pinned connection.
func (v *Via) connect(ctx context.Context, network string, from, to netip.AddrPort, pin dataplane.Pin) (net.Conn, error) {
	n := net.Dialer{KeepAlive: -1, Control: v.bind}
	n.SetMultipathTCP(false)
	end := sync.OnceFunc(func() { v.plane.Unpin(pin) })
	if network == "udp" {
		n.LocalAddr = net.UDPAddrFromAddrPort(from)
		c, err := n.DialContext(ctx, network, to.String())
		if err != nil {
			return nil, err
		}
		return udpConn{c.(*net.UDPConn), end}, nil
	}
	n.LocalAddr = net.TCPAddrFromAddrPort(from)
	c, err := n.DialContext(ctx, network, to.String())
	if err != nil {
		return nil, err
	}
	return tcpConn{c.(*net.TCPConn), end}, nil
}

// bind ties a socket to the TUN. Connections to other services may have its port too:
// pins alone say which are taken.
func (v *Via) bind(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = errors.Join(os.NewSyscallError("setsockopt SO_BINDTODEVICE "+v.device, unix.BindToDevice(int(fd), v.device)),
			os.NewSyscallError("setsockopt SO_REUSEADDR", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)))
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("%w: %w", health.ErrLocal, err)
	}
	return nil
}

type tcpConn struct {
	*net.TCPConn
	end func()
}

func (c tcpConn) Close() error {
	defer c.end()
	return errors.Join(c.SetLinger(0), c.TCPConn.Close())
}

type udpConn struct {
	*net.UDPConn
	end func()
}

func (c udpConn) Close() error {
	defer c.end()
	return c.UDPConn.Close()
}
