package main

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// times says how long things are measured.
type times struct {
	step    time.Duration // one rate of the search
	hold    time.Duration // the rate found, for CPU time
	trip    time.Duration // round trips
	bulk    time.Duration // a transfer; iperf3 wants whole seconds
	conns   time.Duration // new connections
	flood   time.Duration // SYNs
	profile time.Duration // with profilers on
}

var (
	fullTimes = times{
		step: 300 * time.Millisecond, hold: 500 * time.Millisecond, trip: time.Second, bulk: 2 * time.Second,
		conns: 2 * time.Second, flood: 5 * time.Second, profile: 5 * time.Second,
	}
	quickTimes = times{
		step: 200 * time.Millisecond, hold: 300 * time.Millisecond, trip: 500 * time.Millisecond, bulk: time.Second,
		conns: time.Second, flood: 3 * time.Second, profile: 2 * time.Second,
	}
)

// A session is one forwarder at work in a network of its own: what a measure measures.
// Nothing of a sample before, no connection in TIME_WAIT above all, is in its way.
type session struct {
	*network
	*env
	forwarder *forwarder
	process   *lab.Proc // nil: the kernel
	unwraps   bool      // the server is ready for tunnels
}

// open builds the network and starts the forwarder.
func open(tb testing.TB, e *env, f *forwarder) *session {
	s := &session{network: newNetwork(tb), env: e, forwarder: f}
	s.process = f.start(e, s.network)
	return s
}

// generator sends datagrams for the sink, or SYNs, from the clients' side.
func (s *session) generator(proto byte, port uint16, flows int) *generator {
	g, err := newGenerator(s.client, "c0", s.director.MAC("d0"), netip.AddrPortFrom(s.target, port), proto, flows)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(g.close)
	return g
}

func (s *session) sink() *sink {
	k, err := newSink(s.server, "s0")
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(k.close)
	return k
}

// usage reads the CPU clocks.
func (s *session) usage() usage {
	s.alive()
	u, err := readUsage(s.process)
	if err != nil {
		s.tb.Fatal(err)
	}
	return u
}

// stop ends the forwarder's process as its operator would, for another to take its place.
func (s *session) stop() {
	s.process.Signal(syscall.SIGTERM)
	if err := s.process.Wait(readyTime); err != nil {
		s.tb.Fatalf("%s: stop: %v: %s", s.forwarder.title, err, s.process.Out)
	}
}

// alive fails if the forwarder has ended.
func (s *session) alive() {
	if s.process != nil && s.process.Ended() {
		s.tb.Fatalf("%s has ended: %v: %s", s.forwarder.title, s.process.Wait(time.Second), s.process.Out)
	}
}

// unwrap starts what takes the tunnel's header off, for measures that need an answer from
// the server. It listens to every frame there, so others are better without it.
func (s *session) unwrap() {
	if s.forwarder.tunnel && !s.unwraps {
		s.unwraps = true
		s.realServer(s.env, "--decap")
	}
}

// awaitTCP waits until a client gets a connection to a port.
func (s *session) awaitTCP(port uint16) {
	s.unwrap()
	lab.Until(s.tb, readyTime, func() (bool, string) {
		s.alive()
		var c net.Conn
		var err error
		s.client.Do(func() { c, err = net.DialTimeout("tcp", s.address(port), time.Second) })
		if err == nil {
			c.Close()
		}
		return err == nil, fmt.Sprint(err)
	})
}

func (s *session) address(port uint16) string {
	return netip.AddrPortFrom(s.target, port).String()
}

// socket opens a blocking socket in a namespace: the Go runtime's poller would be part of
// what is timed. A wait ends after wait.
func socket(tb testing.TB, ns *lab.NS, kind int, wait time.Duration) (fd int) {
	var err error
	ns.Do(func() { fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	tv := unix.NsecToTimeval(wait.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return fd
}
