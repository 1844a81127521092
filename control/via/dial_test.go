package via

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

// pinned is a data plane that only remembers pins, which it lets go at once. The device is
// lo, where services and servers are one.
type pinned struct {
	mu    sync.Mutex
	made  []netip.AddrPort
	live  int
	err   error // of the next Pins
	taken map[uint16]bool
}

func (p *pinned) Pin(_ conf.ServiceKey, _ uint16, _ *conf.Server, client netip.AddrPort) (pin dataplane.Pin, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return pin, p.err
	}
	if p.taken[client.Port()] {
		return pin, dataplane.ErrPinned
	}
	p.made = append(p.made, client)
	p.live++
	return pin, nil
}

func (p *pinned) Unpin(dataplane.Pin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live--
}

func (p *pinned) Serves(netip.Addr) bool { return false }

var theServer = conf.Server{Addr: ip("10.0.0.11"), Port: 80, Forward: conf.NAT}

// onLoopback is a Via for one service at 127.0.0.1, asked from 127.0.0.9.
func onLoopback(proto uint8, port uint16) (*Via, *pinned, Dialer) {
	p := &pinned{taken: map[uint16]bool{}}
	v := New(p, "lo")
	place := Place{Local: []netip.Addr{ip("127.0.0.9")}}
	place.Ports = []dataplane.PortEnv{{Addresses: []netip.Prefix{pre("127.0.0.9/8")}, Guarded: true}}
	v.Move(place)
	k := conf.ServiceKey{Proto: proto, Addr: ip("127.0.0.1"), Port: port}
	v.Update([]conf.Service{asked(k, theServer)}, nil)
	v.Ready()
	return v, p, v.To(health.Target{Service: k, Server: theServer.ID()})
}

// asked is a service whose servers are asked by it.
func asked(k conf.ServiceKey, servers ...conf.Server) conf.Service {
	return conf.Service{Key: k, Servers: servers, Health: &conf.Health{Checks: []conf.HealthCheck{{}, {Probe: conf.Probe{Via: conf.ViaService}}}}}
}

func listener(t *testing.T) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener), l.Addr().(*net.TCPAddr).AddrPort()
}

func dialTime(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A connection is pinned while it lives, comes from one of Ports, leaves no TIME_WAIT,
// and passes over ports that are taken, by a pin or by another program.
func TestDialTCP(t *testing.T) {
	l, to := listener(t)
	v, p, d := onLoopback(packet.TCP, to.Port())
	next := func(n uint32) uint16 { return Ports.First + uint16((v.turn.Load()+n)%4096) }
	p.taken[next(1)] = true
	other, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip("127.0.0.9"), next(2))))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	want := netip.AddrPortFrom(ip("127.0.0.9"), next(3))
	for i := range 3 {
		v.turn.Store(0)
		c, err := d.Dial(dialTime(t), "tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := c.(syscall.Conn); !ok {
			t.Errorf("%T has no socket options", c)
		}
		served, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		if got := served.RemoteAddr().(*net.TCPAddr).AddrPort(); got != want || p.live != 1 {
			t.Errorf("connection %d comes from %v with %d pins; want %v with one", i, got, p.live, want)
		}
		if i == 0 { // who ends first keeps the ends in mind: they must be free again all the same
			served.Close()
			io.ReadAll(c)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if i > 0 {
			if _, err := served.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("after Close the server reads %v, want a reset", err)
			}
			served.Close()
		}
		if c.Close(); p.live != 0 {
			t.Errorf("after Close twice there are %d pins", p.live)
		}
	}
}

func TestDialUDP(t *testing.T) {
	l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := l.LocalAddr().(*net.UDPAddr).AddrPort()
	_, p, d := onLoopback(packet.UDP, to.Port())
	c, err := d.Dial(dialTime(t), "udp", to)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.(syscall.Conn); !ok || p.live != 1 {
		t.Errorf("%T with %d pins", c, p.live)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, from, err := l.ReadFromUDPAddrPort(make([]byte, 9)); err != nil || from.Port() < Ports.First || from.Port() > Ports.Last {
		t.Errorf("from %v: %v", from, err)
	}
	if err := c.Close(); err != nil || p.live != 0 {
		t.Errorf("Close: %v; %d pins", err, p.live)
	}
}

// What says nothing about the server says so; what the server said is passed on.
func TestDialErrors(t *testing.T) {
	l, to := listener(t)
	l.Close()
	_, p, d := onLoopback(packet.TCP, to.Port())
	if _, err := d.Dial(dialTime(t), "tcp", to); !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, health.ErrLocal) || p.live != 0 {
		t.Errorf("refused: %v, %d pins", err, p.live)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.Dial(gone, "tcp", to); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") || p.live != 0 {
		t.Errorf("canceled: %v, %d pins", err, p.live)
	}
	for _, c := range []struct {
		what    string
		change  func(*Via, *pinned, *Dialer)
		network string
		to      netip.AddrPort
		want    string
	}{
		{"another protocol", nil, "udp", to, "udp is not the service's protocol"},
		{"ping", nil, "icmp", to, "icmp is not the service's protocol"},
		{"another port", nil, "tcp", netip.AddrPortFrom(to.Addr(), 1), "127.0.0.1:1 is not the service"},
		{"no host port", func(v *Via, _ *pinned, _ *Dialer) { v.device = "" }, "tcp", to, "host_port"},
		{"no Via", func(_ *Via, _ *pinned, d *Dialer) { d.via = nil }, "tcp", to, "host_port"},
		{"the device is gone", func(v *Via, _ *pinned, _ *Dialer) { v.device = "nosuch0" }, "tcp", to, "SO_BINDTODEVICE nosuch0"},
		{"all pinned", func(_ *Via, p *pinned, _ *Dialer) { p.err = dataplane.ErrPinned }, "tcp", to, "from 127.0.0.9, ports 61000 to 65095"},
		{"too many pins", func(_ *Via, p *pinned, _ *Dialer) { p.err = dataplane.ErrPins }, "tcp", to, "too many pinned"},
		{"before the way is ready", func(v *Via, _ *pinned, d *Dialer) { v.Update([]conf.Service{asked(d.service, theServer)}, nil) }, "tcp", to, "not ready yet"},
		{"a server that is no more", func(v *Via, _ *pinned, d *Dialer) { v.Update(nil, []conf.ServiceKey{d.service}) }, "tcp", to, "is no more"},
		{"another server", func(_ *Via, _ *pinned, d *Dialer) { d.server.Port++ }, "tcp", to, "is no more"},
		{"another place", func(v *Via, _ *pinned, _ *Dialer) { v.Move(Place{}) }, "tcp", to, "no guarded port"},
	} {
		v, p, d := onLoopback(packet.TCP, to.Port())
		if c.change != nil {
			c.change(v, p, &d)
		}
		_, err := d.Dial(dialTime(t), c.network, c.to)
		if !errors.Is(err, health.ErrLocal) || !strings.Contains(err.Error(), c.want) || p.live != 0 {
			t.Errorf("%s: %v, %d pins; want one of the director's own with %q", c.what, err, p.live, c.want)
		}
	}
}

// Only servers with a check by the service are known, and changes are followed.
func TestUpdate(t *testing.T) {
	v := New(&pinned{}, "lo")
	k4 := conf.ServiceKey{Proto: packet.TCP, Addr: ip("192.0.2.1"), Port: 80}
	k6 := conf.ServiceKey{Proto: packet.TCP, Addr: ip("2001:db8::1"), Port: 80}
	other := theServer
	other.Port, other.Checks = 81, []conf.HealthCheck{{}} // its own, plain
	plain := conf.Service{Key: k4, Servers: []conf.Server{theServer}, Health: &conf.Health{Checks: []conf.HealthCheck{{}}}}
	check := func(what string, k conf.ServiceKey, d *conf.Server, want bool) {
		t.Helper()
		if _, _, known := v.find(k, d.ID()); known != want {
			t.Errorf("%s: known %v, want %v", what, known, want)
		}
	}
	v.Update([]conf.Service{asked(k4, theServer, other), asked(k6, theServer)}, nil)
	v.Ready()
	check("asked", k4, &theServer, true)
	check("with plain checks of its own", k4, &other, false)
	if v4, v6 := v.Used(); !v4 || !v6 {
		t.Errorf("used %v %v, want both", v4, v6)
	}
	v.Update([]conf.Service{plain}, []conf.ServiceKey{k6})
	check("plain now", k4, &theServer, false)
	check("gone", k6, &theServer, false)
	if v4, v6 := v.Used(); v4 || v6 || len(v.sources) != 0 {
		t.Errorf("used %v %v, sources %v, want none", v4, v6, v.sources)
	}
}
