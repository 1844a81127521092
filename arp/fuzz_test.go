package arp

import (
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// FuzzInput gives one arbitrary frame to caches in each state. Whatever it is, there
// is no panic, the answer is small and well formed, nothing is sent as a VIP but
// answers, and no entry appears.
func FuzzInput(f *testing.F) {
	for _, seed := range [][]byte{
		request(macR, real1, vip), garp(macEvil, real1), garp(macEvil, vip), reply(macA, macR, real1, dip), request(macA, dip, real1),
		arpFrame(broadcast, macR, 1, macR, zero4, broadcast, vip),
		solicit(macA, macR, real6, vip6, vip6, macR),
		solicit(macA, macR, zero6, ip("ff02::1:ff00:90"), vip6, noMAC),
		advert(macA, macR, real6, dip6, 0x60, real6, macR),
		advert(allNodeM, macEvil, real6, allNodes, 0x20, real6, macEvil),
		advert(macA, macR, real6, dip6, 0x60, real6, noMAC),
		{}, data("x"),
	} {
		f.Add(seed)
		f.Add(append(seed, make([]byte, 20)...)) // padded
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, prepare := range []func(c *Cache){
			func(c *Cache) {},
			func(c *Cache) { // INCOMPLETE
				c.Resolve(0, 0, real1, data("4"))
				c.Resolve(0, 0, real6, data("6"))
			},
			func(c *Cache) { // REACHABLE
				resolve1(t, c, 0, macR)
			},
			func(c *Cache) { // PROBE, questioned
				resolve1(t, c, 0, macR)
				c.Input(2*sec, 0, garp(macEvil, real1))
			},
			func(c *Cache) { c.SetStatic([]Static{{0, real1, macR}, {0, real6, macR}}) },
		} {
			c := New(Config{Announcements: -1})
			c.SetPorts(twoPorts)
			prepare(c)
			entries, mac, known := len(c.table.index), packet.MAC{}, false
			mac, known = c.Lookup(0, real1)
			before := c.Counters()
			reason, outs := c.Input(3*sec, 0, frame)
			if len(outs) > 3 || int(reason) >= NumReasons || c.Counters()[reason] != before[reason]+1 {
				t.Fatalf("%v with %d frames, counted %d after %d", reason, len(outs), c.Counters()[reason], before[reason])
			}
			for _, o := range outs {
				if o.Frame[12] == 0x08 && o.Frame[13] == 0x00 { // one that waited
					if packet.MAC(o.Frame).Multicast() || packet.MAC(o.Frame) == noMAC {
						t.Fatalf("waiting frame sent to %v", o.Frame[:6])
					}
					continue
				}
				s := decode(t, o)
				if fromVIP := s.src == vip || s.src == vip6; fromVIP != (s.what == "reply" || s.what == "advert") {
					t.Fatalf("%s sent from %v", s.what, s.src)
				}
			}
			if len(c.table.index) != entries {
				t.Fatalf("%v made an entry", reason)
			}
			if now, _ := c.Lookup(0, real1); known && now != mac {
				t.Fatalf("%v replaced a known MAC", reason)
			}
			checkInvariants(t, c)
		}
	})
}

// FuzzConversation plays an arbitrary sequence of calls on a small cache: bounds and
// invariants hold, every frame is well formed, and time always runs out of work.
func FuzzConversation(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0x00, 0x02, 0x13, 0x44, 0x15, 0x43, 0x13, 0x04, 0x24, 0x45, 0x36})
	f.Fuzz(func(t *testing.T, ops []byte) {
		c := New(Config{MaxEntries: 6, QueueFrames: 2, QueueBytes: 64, QueueTotal: 100})
		c.SetPorts(twoPorts)
		neighbours := [...]packet.Addr{real1, real2, ip("10.9.0.13"), ip("10.9.0.14"), real6, ip("fd09::12"), ip("fd09::13"), ip("fe80::14")}
		macs := [...]packet.MAC{macR, macNew, macEvil}
		now := time.Duration(0)
		take := func(outs []Out) {
			for _, o := range outs {
				if o.Frame[12] != 0x08 || o.Frame[13] != 0x00 {
					decode(t, o)
				}
			}
			checkInvariants(t, c)
		}
		for i := 0; i+1 < len(ops) && i < 2000; i += 2 {
			a, m := neighbours[ops[i]>>4&7], macs[int(ops[i+1]>>4)%3]
			switch ops[i] & 15 {
			case 0, 1, 2:
				take(c.Resolve(now, 0, a, data("some data")))
			case 3, 4:
				frame := reply(macA, m, a, dip)
				if !a.Is4() {
					frame = advert(macA, m, a, dip6, 0x60, a, m)
				}
				_, outs := c.Input(now, 0, frame)
				take(outs)
			case 5, 6:
				frame := garp(m, a)
				if !a.Is4() {
					frame = advert(allNodeM, m, a, allNodes, ops[i+1]&0x20, a, m)
				}
				_, outs := c.Input(now, 0, frame)
				take(outs)
			case 7, 8:
				c.Used(now, 0, a)
			case 9:
				c.SetStatic([]Static{{0, a, m}})
			case 10:
				c.SetStatic(nil)
			case 11:
				c.SetPorts(twoPorts[:1+ops[i+1]&1])
			case 12:
				c.Announce()
			case 13:
				now += time.Duration(ops[i+1]) * time.Millisecond
			default:
				now += time.Duration(ops[i+1]) * sec / 2
			}
			take(c.Step(now))
		}
		for n := 0; c.NextStep() != Never; n++ {
			if n > 1000 {
				t.Fatalf("still busy at %v", now)
			}
			now = max(now, c.NextStep())
			take(c.Step(now))
		}
		for e := range c.Entries(now) {
			if e.State != Permanent {
				t.Fatalf("%v is left as %v", e.Addr, e.State)
			}
		}
	})
}
