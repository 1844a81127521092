package main

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tripPause between two packets lets everything on the way go to sleep. In a virtual
	// machine it is then the host that has to wake a CPU, so this is told apart.
	tripPause = time.Millisecond
	// tripLoadPause keeps the prober from taking the CPU that the generator is on.
	tripLoadPause = 200 * time.Microsecond
	tripWait      = 200 * time.Millisecond // then it is lost
	tripSize      = 18                     // 64 bytes of frame, as the generator's
)

// trip measures the round trip of lone packets: datagrams, or segments of one TCP
// connection, which proxies carry too.
func trip(kind int) func(*session) values {
	return func(s *session) values {
		p := s.prober(kind)
		p.run(50*time.Millisecond, 0)
		v := values{}
		times, lost := p.run(s.times.trip, 0)
		tripValues(v, "", times, lost)
		times, lost = p.run(s.times.trip/2, tripPause)
		return tripValues(v, "idle_", times, lost)
	}
}

// loadedTrips adds the round trips beside a generator that sends at rate.
func (s *session) loadedTrips(g *generator, rate float64, v values) {
	p := s.prober(unix.SOCK_DGRAM)
	// The generator shares its CPU with the ends, and gives way to them: what is measured
	// is the forwarder.
	stop := s.background(g, &pace{rate: rate, during: time.Minute, yields: true})
	time.Sleep(100 * time.Millisecond)
	times, lost := p.run(s.times.trip, tripLoadPause)
	v["load"] = stop()
	tripValues(v, "load_", times, lost)
}

// tripValues puts percentiles, in microseconds, and the share lost under names with a
// prefix.
func tripValues(v values, prefix string, times []time.Duration, lost int) values {
	slices.Sort(times)
	for name, q := range map[string]float64{"p50": 0.5, "p99": 0.99, "p999": 0.999} {
		v[prefix+name] = float64(percentile(times, q)) / 1e3
	}
	v[prefix+"lost"] = float64(lost)
	v[prefix+"trips"] = float64(len(times))
	return v
}

// prober is a client's connected socket, with a server that echoes.
type prober struct {
	fd  int
	seq uint64
}

// prober starts an echo in the server's namespace and connects to it.
func (s *session) prober(kind int) *prober {
	s.unwrap()
	listen := socket(s.tb, s.server, kind, tripWait)
	at := &unix.SockaddrInet4{Port: portEcho}
	if s.forwarder.past { // the answer must come from the VIP
		at.Addr = vip.As4()
	}
	if err := unix.Bind(listen, at); err != nil {
		s.tb.Fatalf("echo: %v", err)
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.Listen(listen, 16); err != nil {
			s.tb.Fatalf("echo: %v", err)
		}
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			if kind == unix.SOCK_DGRAM {
				echoDatagram(listen)
			} else if c, _, err := unix.Accept(listen); err == nil {
				echoStream(c, &stop)
			}
		}
	}()
	s.tb.Cleanup(func() {
		stop.Store(true)
		<-done
	})
	p := &prober{fd: socket(s.tb, s.client, kind, tripWait)}
	to := &unix.SockaddrInet4{Port: portEcho, Addr: s.target.As4()}
	if kind == unix.SOCK_STREAM {
		s.awaitTCP(portEcho)
	}
	if err := unix.Connect(p.fd, to); err != nil {
		s.tb.Fatalf("connect to the echo at %v: %v", s.target, err)
	}
	// The first answers: neighbours, flows and the connection of a proxy are there.
	for end := time.Now().Add(readyTime); ; {
		if times, _ := p.run(time.Millisecond, 0); len(times) > 0 {
			return p
		}
		if time.Now().After(end) {
			s.tb.Fatalf("%s: no echo", s.forwarder.title)
		}
	}
}

func echoDatagram(fd int) {
	var buf [2048]byte
	if n, from, err := unix.Recvfrom(fd, buf[:], 0); err == nil {
		_ = unix.Sendto(fd, buf[:n], 0, from) // a lost echo is the client's to count
	}
}

// echoStream echoes until the client has gone.
func echoStream(fd int, stop *atomic.Bool) {
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	tv := unix.NsecToTimeval(tripWait.Nanoseconds())
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	var buf [2048]byte
	for !stop.Load() {
		n, err := unix.Read(fd, buf[:])
		switch {
		case n > 0:
			if _, err := unix.Write(fd, buf[:n]); err != nil {
				return
			}
		case err == unix.EAGAIN || err == unix.EINTR:
		default:
			return
		}
	}
}

// run sends one packet after the other, each when the one before is back and a pause is
// over, and returns how long each took, and how many did not come back.
func (p *prober) run(during, pause time.Duration) (times []time.Duration, lost int) {
	times = make([]time.Duration, 0, 1+during/(10*time.Microsecond))
	var out, in [tripSize]byte
	for start := time.Now(); time.Since(start) < during || len(times)+lost == 0; {
		p.seq++
		binary.BigEndian.PutUint64(out[:], p.seq)
		sent := time.Now()
		if _, err := unix.Write(p.fd, out[:]); err != nil {
			lost++
			time.Sleep(time.Millisecond)
			continue
		}
		for {
			n, err := unix.Read(p.fd, in[:])
			if took := time.Since(sent); err == nil && n == tripSize && binary.BigEndian.Uint64(in[:]) == p.seq {
				times = append(times, took)
				break
			} else if took > tripWait || err != nil && err != unix.EINTR {
				lost++
				break
			}
		}
		if pause > 0 {
			ts := unix.NsecToTimespec(pause.Nanoseconds())
			_ = unix.Nanosleep(&ts, nil)
		}
	}
	return times, lost
}
