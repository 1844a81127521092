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
	once  bool // a run, not a round
	// takes about so long; the rest is learnt while the run goes on
	estimate func(times) time.Duration
}

// setup is about what namespaces and processes of a sample take.
const setup = 600 * time.Millisecond

// measures are all, in the order of a round.
func measures() []measure {
	nat := func(f *forwarder) bool { return f.name == "dirigo-nat" }
	any := func(f *forwarder) bool { return !f.setting }
	fresh := func(f *forwarder) bool { return !f.setting && !f.established && !f.rates }
	datagrams := func(f *forwarder) bool { return !f.proxy && !f.setting }
	trips := func(f *forwarder) bool { return !f.proxy }
	alone := func(f *forwarder) bool { return !f.proxy && !f.rates }
	stream := func(f *forwarder) bool { return !f.setting && !f.rates }
	search := func(t times) time.Duration { return setup + 9*(t.step+30*time.Millisecond) + t.hold }
	return []measure{
		{name: "pps1k", run: packets(1000, true), takes: trips, estimate: func(t times) time.Duration { return search(t) + t.trip }},
		{name: "pps100k", run: packets(100_000, false), takes: datagrams, estimate: func(t times) time.Duration { return search(t) + time.Second }},
		{name: "trip", run: trip(unix.SOCK_DGRAM), takes: alone, estimate: func(t times) time.Duration { return setup + t.trip*3/2 }},
		{name: "triptcp", run: trip(unix.SOCK_STREAM), takes: stream, estimate: func(t times) time.Duration { return setup + t.trip*3/2 }},
		{name: "bulk1", run: bulk(1), takes: any, estimate: func(t times) time.Duration { return setup + t.bulk }},
		{name: "bulk8", run: bulk(8), takes: stream, estimate: func(t times) time.Duration { return setup + t.bulk }},
		{name: "conns", run: connections, takes: fresh, estimate: func(t times) time.Duration { return setup + t.conns }},
		{name: "flood", run: flood, takes: nat, estimate: func(t times) time.Duration { return 3*time.Second + t.flood }},
		{name: "profile", run: profile, takes: nat, once: true, estimate: func(t times) time.Duration { return 5*time.Second + 2*t.profile }},
	}
}
