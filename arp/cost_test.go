package arp

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

func TestQuietCallsDoNotAllocate(t *testing.T) {
	c, now := newCache(t, Config{})
	resolve1(t, c, now, macR)
	ask, claim := request(macR, real1, real2), garp(macR, real1)
	for name, call := range map[string]func(){
		"Lookup, known":    func() { c.Lookup(0, real1) },
		"Lookup, unknown":  func() { c.Lookup(1, real2) },
		"Generation":       func() { c.Generation() },
		"Used":             func() { c.Used(now, 0, real1) },
		"NextStep":         func() { c.NextStep() },
		"Step, idle":       func() { c.Step(now) },
		"Input, not ours":  func() { c.Input(now, 0, ask) },
		"Input, unchanged": func() { c.Input(now, 0, claim) },
	} {
		if n := testing.AllocsPerRun(1000, call); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Workers look up, resolve and hear frames while one steps and one reloads; the race
// detector watches, and what a worker keeps by Generation is never out of date.
func TestConcurrentUse(t *testing.T) {
	c, _ := newCache(t, Config{MaxEntries: 256})
	var wg sync.WaitGroup
	addr := func(i int) packet.Addr { return packet.AddrFrom4([4]byte{10, 9, 1, byte(i)}) }
	const rounds = 3000
	for w := range 4 {
		wg.Go(func() {
			kept, keptAt := packet.MAC{}, uint64(0)
			for i := range rounds {
				now := time.Duration(i) * sec / 100
				if g := c.Generation(); g != keptAt || i == 0 {
					kept, _ = c.Lookup(0, addr(7))
					keptAt = g
				} else if mac, _ := c.Lookup(0, addr(7)); mac != kept && c.Generation() == g {
					t.Errorf("answer changed within generation %d", g)
				}
				c.Used(now, 0, addr(7))
				c.Resolve(now, 0, addr(i+w), data("x"))
				c.Input(now, 0, reply(macA, packet.MAC{2, 0, 0, 0, 1, byte(i)}, addr(i+w), dip))
				c.Input(now, 0, garp(macEvil, addr(i)))
			}
		})
	}
	wg.Go(func() {
		for i := range rounds {
			c.Step(time.Duration(i) * sec / 100)
			c.NextStep()
		}
	})
	wg.Go(func() {
		for i := range rounds / 10 {
			c.SetPorts(twoPorts)
			c.SetStatic([]Static{{0, addr(i), macR}})
			c.Announce()
			for e := range c.Entries(0) {
				c.Lookup(e.Port, e.Addr)
			}
		}
	})
	wg.Wait()
	if n := c.Counters(); n[Learned] == 0 || n[SpoofSuspected] == 0 {
		t.Errorf("learned %d, suspected %d: nothing happened", n[Learned], n[SpoofSuspected])
	}
}

func BenchmarkLookup(b *testing.B) {
	c, now := newCache(b, Config{})
	var addrs [4096]packet.Addr
	for i := range addrs {
		addrs[i] = packet.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)})
		c.Resolve(now, 0, addrs[i], data("x"))
		c.Input(now, 0, reply(macA, macR, addrs[i], dip))
	}
	for i := 0; b.Loop(); i++ {
		c.Lookup(0, addrs[i%len(addrs)])
	}
}

func BenchmarkGeneration(b *testing.B) {
	c, _ := newCache(b, Config{})
	for b.Loop() {
		c.Generation()
	}
}

func BenchmarkInputNotOurs(b *testing.B) {
	c, now := newCache(b, Config{})
	ask := request(macR, real1, real2)
	for b.Loop() {
		c.Input(now, 0, ask)
	}
}

func BenchmarkAnswer(b *testing.B) {
	c, now := newCache(b, Config{})
	ask := request(macR, real1, vip)
	for b.Loop() {
		c.Input(now, 0, ask)
	}
}

func BenchmarkResolveFlood(b *testing.B) {
	c, now := newCache(b, Config{})
	frame, a := make([]byte, 64), real6
	for i := 0; b.Loop(); i++ {
		binary.BigEndian.PutUint32(a[8:], uint32(i))
		c.Resolve(now, 0, a, frame)
	}
}
