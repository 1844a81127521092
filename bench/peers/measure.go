package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// A measure is what is measured of a forwarder, in a network of its own.
type measure struct {
	name string
	run  func(*session) values
	// takes says which forwarders it is for.
	takes func(*forwarder) bool
	// takes about so long; the rest is learnt while the run goes on
	estimate func(times) time.Duration
}

// setup is about what namespaces and processes of a sample take.
const setup = 600 * time.Millisecond

// measures are all, in the order of a round.
func measures() []measure {
	any := func(*forwarder) bool { return true }
	datagrams := func(f *forwarder) bool { return !f.proxy }
	search := func(t times) time.Duration { return setup + 10*(t.step+30*time.Millisecond) + t.hold }
	return []measure{
		{"pps1k", packets(1000, true), datagrams, func(t times) time.Duration { return search(t) + t.trip }},
		{"pps100k", packets(100_000, false), datagrams, func(t times) time.Duration { return search(t) + time.Second }},
		{"trip", trip(unix.SOCK_DGRAM), datagrams, func(t times) time.Duration { return setup + t.trip*3/2 }},
		{"triptcp", trip(unix.SOCK_STREAM), any, func(t times) time.Duration { return setup + t.trip*3/2 }},
		{"bulk1", bulk(1), any, func(t times) time.Duration { return setup + t.bulk }},
		{"bulk8", bulk(8), any, func(t times) time.Duration { return setup + t.bulk }},
		{"conns", connections, any, func(t times) time.Duration { return setup + t.conns }},
		{"flood", flood, func(f *forwarder) bool { return f.name == "dirigo-nat" }, func(t times) time.Duration { return 3*time.Second + t.flood }},
	}
}
