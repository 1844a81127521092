package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/control/api"
)

const (
	floodConns = 100_000 // max_connections of the director
	floodUsers = 1000    // established HTTP connections
	// floodPause is what a user waits between an answer and the next request.
	floodPause = time.Second
)

// flood sends SYNs from ever new clients as fast as the machine can while users go on
// with requests on connections they had before. It is about the director: it restarts it
// with a bounded table.
func flood(s *session) values {
	s.stop()
	var socket string
	s.process, socket = startDirector(s.env, s.network, directorConfig("nat", "", fmt.Sprintf("[conntrack]\nmax_connections = %d\n", floodConns)))
	s.sink() // the server sees no SYN of the flood: it is not the one under test
	s.webServer()
	s.awaitTCP(portHTTP)
	u := s.users(floodUsers)
	defer u.close()
	u.start()
	time.Sleep(floodPause) // everybody has asked once
	calm := u.take()

	v := values{"rss_before": s.rss(), "control_failed": 0}
	g := s.generator(unix.IPPROTO_TCP, portHTTP, maxFlows)
	before, start := s.usage(), time.Now()
	stop := s.background(g, &pace{rate: math.Inf(1), during: time.Minute, yields: true})
	client := api.NewClient(socket)
	for time.Since(start) < s.times.flood {
		time.Sleep(250 * time.Millisecond)
		asked := time.Now()
		var st api.Status
		if err := client.Get("/v1/status", &st); err != nil {
			v["control_failed"]++
		}
		v["control_ms"] = max(v["control_ms"], time.Since(asked).Seconds()*1e3)
		v["connections"] = max(v["connections"], float64(st.Connections))
		v["rss_after"] = max(v["rss_after"], s.rss())
	}
	process, _, _ := s.usage().since(before)
	v["syns"] = stop()
	v["cpus"] = process
	// Who waits for an answer when the flood ends has his time to get it.
	u.finish(20 * time.Second)
	f := u.take()
	v["requests"], v["failed"], v["calm_failed"] = float64(len(f.times)), float64(f.failed), float64(calm.failed)
	tripValues(v, "request_", f.times, f.failed)
	v["request_max"] = float64(percentile(f.times, 1)) / 1e3
	return v
}

// rss is the resident memory of the forwarder's process in MiB.
func (s *session) rss() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.process.PID()))
	f := strings.Fields(string(b))
	if err != nil || len(f) < 2 {
		s.tb.Fatalf("memory of process %d: %v %q", s.process.PID(), err, b)
	}
	pages, err := strconv.Atoi(f[1])
	if err != nil {
		s.tb.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

// users are HTTP clients that keep their connections. One thread serves them all by
// turns, so that a thousand of them are no load.
type users struct {
	fds     []int
	asked   []time.Time // zero: has its answer
	due     []time.Time // of the next request
	times   []time.Duration
	failed  int
	lock    chan struct{} // holds a token while nobody uses what is above
	closing atomic.Bool
	ending  atomic.Bool
	done    chan struct{}
}

// requestWait is when a request counts as lost.
const requestWait = 15 * time.Second

func (s *session) users(n int) *users {
	u := &users{asked: make([]time.Time, n), due: make([]time.Time, n), lock: make(chan struct{}, 1), done: make(chan struct{})}
	to := &unix.SockaddrInet4{Port: portHTTP, Addr: s.target.As4()}
	now := time.Now()
	for i := range n {
		fd := socket(s.tb, s.client, unix.SOCK_STREAM, readyTime)
		if err := unix.Connect(fd, to); err != nil {
			s.tb.Fatalf("user %d: connect: %v", i, err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			s.tb.Fatal(err)
		}
		u.fds = append(u.fds, fd)
		u.due[i] = now.Add(floodPause * time.Duration(i) / time.Duration(n))
	}
	u.lock <- struct{}{}
	return u
}

func (u *users) start() {
	go func() {
		defer close(u.done)
		for !u.closing.Load() {
			<-u.lock
			now := time.Now()
			for i := range u.fds {
				u.turn(i, now)
			}
			u.lock <- struct{}{}
			time.Sleep(2 * time.Millisecond)
		}
	}()
}

const httpRequest = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"

// turn lets user i ask, or look for the answer.
func (u *users) turn(i int, now time.Time) {
	fd := u.fds[i]
	if fd < 0 {
		return
	}
	if u.asked[i].IsZero() {
		if now.Before(u.due[i]) || u.ending.Load() {
			return
		}
		if n, err := unix.Write(fd, []byte(httpRequest)); n != len(httpRequest) || err != nil {
			u.lose(i)
			return
		}
		u.asked[i] = now
		return
	}
	var buf [1024]byte
	n, err := unix.Read(fd, buf[:])
	switch {
	case n > 0 && strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200"):
		u.times = append(u.times, now.Sub(u.asked[i]))
		u.asked[i], u.due[i] = time.Time{}, now.Add(floodPause)
	case n < 0 && (err == unix.EAGAIN || err == unix.EINTR):
		if now.Sub(u.asked[i]) > requestWait {
			u.lose(i)
		}
	default: // reset, closed, or no answer
		u.lose(i)
	}
}

// lose ends user i.
func (u *users) lose(i int) {
	u.failed++
	u.fds[i] = -1 // the descriptor is the session's
	u.asked[i] = time.Time{}
}

// answers are what happened since the last look.
type answers struct {
	times  []time.Duration // sorted
	failed int
}

func (u *users) take() answers {
	<-u.lock
	defer func() { u.lock <- struct{}{} }()
	a := answers{u.times, u.failed}
	slices.Sort(a.times)
	u.times, u.failed = nil, 0
	return a
}

// finish lets nobody ask any more and waits for the answers that are due.
func (u *users) finish(within time.Duration) {
	u.ending.Store(true)
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		<-u.lock
		waiting := slices.ContainsFunc(u.asked, func(t time.Time) bool { return !t.IsZero() })
		u.lock <- struct{}{}
		if !waiting {
			return
		}
	}
}

func (u *users) close() {
	u.closing.Store(true)
	<-u.done
}
