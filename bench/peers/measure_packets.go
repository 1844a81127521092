package main

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// values are what one sample measured, by name. Rates are per second, times microseconds.
type values map[string]float64

// grace is how long after the last frame one may still arrive in time. A longer queue on
// the way would let a rate pass that only filled it.
const grace = 5 * time.Millisecond

// packets finds the highest rate of small datagrams in so many flows that go through
// without loss, and what that costs; with trips also the round trip of a lone packet
// beside half of that rate.
func packets(flows int, trips bool) func(*session) values {
	return func(s *session) values {
		g, k := s.generator(unix.IPPROTO_UDP, portSink, flows), s.sink()
		s.warm(g, k)
		try := func(rate float64) (float64, float64, error) {
			offered, lost := s.offer(g, k, rate, s.times.step)
			return offered, lost, nil
		}
		lossFree, most, err := search(try)
		if err != nil {
			s.tb.Fatal(err)
		}
		v := values{"rate": lossFree, "max": most}
		if lossFree == 0 {
			return v
		}
		before := s.usage()
		offered, _ := s.offer(g, k, lossFree, s.times.hold)
		process, machine, stolen := s.usage().since(before)
		// The reading covers some milliseconds without frames on either side; what they
		// cost is next to nothing, but they are part of the time.
		share := s.usage().at.Sub(before.at).Seconds() / s.times.hold.Seconds()
		v["cpu_us"] = process * share / offered * 1e6
		v["machine_us"] = machine * share / offered * 1e6
		v["stolen"] = stolen
		// What unwraps tunnels takes a copy of every frame: beside a load that is all one
		// would see.
		if trips && !s.forwarder.tunnel {
			s.loadedTrips(g, lossFree/2, v)
		}
		return v
	}
}

// warm waits until a frame arrives and then sends one frame of every flow, so that what
// follows is of established flows.
func (s *session) warm(g *generator, k *sink) {
	first := s.count(k)
	for end := time.Now().Add(readyTime); s.count(k) < first+10; {
		if time.Now().After(end) {
			s.tb.Fatalf("%s: no frame arrives", s.forwarder.title)
		}
		s.send(g, &pace{rate: 1000, during: 20 * time.Millisecond})
	}
	s.send(g, &pace{rate: 100e3, during: 10 * time.Second, frames: int(g.flows)})
	time.Sleep(50 * time.Millisecond) // whatever queue there is runs empty
}

// offer sends at a rate and returns the rate in fact and the share lost, or late.
func (s *session) offer(g *generator, k *sink, rate float64, during time.Duration) (offered, lost float64) {
	before := s.count(k)
	n, took := s.send(g, &pace{rate: rate, during: during})
	time.Sleep(grace)
	arrived := s.count(k) - before
	for last, all := -1, arrived; all != last; all = s.count(k) - before { // late ones are not the next step's
		last = all
		time.Sleep(10 * time.Millisecond)
	}
	if n == 0 { // the generator had no processor
		return 0, 1
	}
	return float64(n) / took.Seconds(), math.Max(0, 1-float64(arrived)/float64(n))
}

func (s *session) send(g *generator, p *pace) (int, time.Duration) {
	n, took, err := g.send(p)
	if err != nil {
		s.tb.Fatal(err)
	}
	return n, took
}

// background sends until stop is called, which returns the rate in fact.
func (s *session) background(g *generator, p *pace) (stop func() float64) {
	done := make(chan float64, 1)
	go func() {
		n, took, err := g.send(p)
		if err != nil {
			s.tb.Error(err)
		}
		done <- float64(n) / took.Seconds()
	}()
	stop = sync.OnceValue(func() float64 {
		p.stop.Store(true)
		return <-done
	})
	s.tb.Cleanup(func() { stop() }) // before the generator's socket is closed
	return stop
}

func (s *session) count(k *sink) int {
	n, err := k.count()
	if err != nil {
		s.tb.Fatal(err)
	}
	return n
}
