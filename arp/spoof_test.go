package arp

import (
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// Every form in which another MAC can claim a proven neighbour's address leads to
// the same: the proven one is asked, by unicast, and Lookup does not change.
func TestClaimsAgainstAProvenMACAreCheckedFirst(t *testing.T) {
	claims := map[string][]byte{
		"GARP request":                garp(macEvil, real1),
		"GARP request, THA ff":        arpFrame(broadcast, macEvil, 1, macEvil, real1, broadcast, real1),
		"GARP reply":                  arpFrame(broadcast, macEvil, 2, macEvil, real1, macEvil, real1),
		"unsolicited unicast reply":   reply(macA, macEvil, real1, dip),
		"query for somebody else":     request(macEvil, real1, real2),
		"query for the VIP":           request(macEvil, real1, vip),
		"Ethernet source as it was":   arpFrame(broadcast, macR, 1, macEvil, real1, noMAC, real1),
		"unicast query for the DIP":   arpFrame(macA, macEvil, 1, macEvil, real1, noMAC, dip),
		"reply to all, for the asker": arpFrame(broadcast, macEvil, 2, macEvil, real1, macA, dip),
	}
	states := map[State]func(c *Cache){
		Reachable: func(c *Cache) {},
		Stale:     func(c *Cache) { c.Step(1030 * sec) },
		Delay:     func(c *Cache) { c.Step(1030 * sec); c.Used(1030*sec, 0, real1) },
	}
	for name, claim := range claims {
		for state, reach := range states {
			t.Run(name+" "+state.String(), func(t *testing.T) {
				c, now := newCache(t, Config{})
				resolve1(t, c, now, macR)
				reach(c)
				wantState(t, c, real1, state, macR)
				generation := c.Generation()

				now += 32 * sec
				if state == Reachable {
					now -= 20 * sec
				}
				outs := input(t, c, now, 0, claim, SpoofSuspected)
				if name == "query for the VIP" {
					if s := decode(t, outs[0]); s.what != "reply" || s.ethDst != macEvil {
						t.Fatalf("the question got %+v", s)
					}
					outs = outs[1:]
				}
				if s := one(t, outs); s.what != "request" || s.ethDst != macR || s.target != real1 || s.src != dip {
					t.Fatalf("checked with %+v", s)
				}
				nothing(t, input(t, c, now, 0, garp(macNew, real1), SpoofSuspected)) // no second round, no second candidate
				nothing(t, input(t, c, now, 0, reply(macA, macR, real1, dip), Confirmed))
				wantState(t, c, real1, Reachable, macR)
				n := c.Counters()
				if n[SpoofSuspected] != 2 || n[SpoofRejected] != 1 || n[Moved] != 0 || c.Generation() != generation {
					t.Fatalf("suspected %d, rejected %d, moved %d", n[SpoofSuspected], n[SpoofRejected], n[Moved])
				}
				if name == "query for the VIP" && n[Answered] != 1 {
					t.Fatalf("answered %d", n[Answered])
				}
			})
		}
	}
}

// A forged answer during the check comes from the MAC in question and decides nothing.
func TestForgedAnswerDuringTheCheck(t *testing.T) {
	c, now := newCache(t, Config{})
	resolve1(t, c, now, macR)
	now += 10 * sec
	one(t, input(t, c, now, 0, garp(macEvil, real1), SpoofSuspected))
	nothing(t, input(t, c, now, 0, reply(macA, macEvil, real1, dip), SpoofSuspected))
	wantState(t, c, real1, Probe, macR)
}

// A failover: the old MAC is silent, so after three unanswered questions the new one
// is used, and has to prove itself.
func TestSilentMACGivesWay(t *testing.T) {
	for name, answers := range map[string]bool{"new one answers": true, "nobody answers": false} {
		t.Run(name, func(t *testing.T) {
			c, now := newCache(t, Config{})
			resolve1(t, c, now, macR)
			now += 10 * sec
			one(t, input(t, c, now, 0, garp(macNew, real1), SpoofSuspected))
			nothing(t, input(t, c, now, 0, garp(macEvil, real1), SpoofSuspected)) // the first claim is decided first
			generation := c.Generation()
			for range 2 {
				now += VerifyInterval
				if s := one(t, c.Step(now)); s.ethDst != macR {
					t.Fatalf("checked with %+v", s)
				}
				if mac, _ := c.Lookup(0, real1); mac != macR || c.Generation() != generation {
					t.Fatal("gave way too early")
				}
			}
			nothing(t, c.Step(now+VerifyInterval-1))
			now += VerifyInterval
			if s := one(t, c.Step(now)); s.ethDst != macNew {
				t.Fatalf("new MAC asked with %+v", s)
			}
			if mac, ok := c.Lookup(0, real1); mac != macNew || !ok || c.Generation() == generation || c.Counters()[Moved] != 1 {
				t.Fatalf("Lookup %v, moved %d", mac, c.Counters()[Moved])
			}
			if answers {
				nothing(t, input(t, c, now, 0, reply(macA, macNew, real1, dip), Confirmed))
				wantState(t, c, real1, Reachable, macNew)
				return
			}
			for range 2 {
				now += sec
				one(t, c.Step(now))
			}
			nothing(t, c.Step(now+sec))
			wantState(t, c, real1, Failed, noMAC)
		})
	}
}

// A MAC that never answered is no better than the next announcement.
func TestUnprovenMACIsReplacedAtOnce(t *testing.T) {
	c, now := newCache(t, Config{})
	c.Resolve(now, 0, real1, data("x"))
	outs := input(t, c, now, 0, garp(macEvil, real1), Updated) // instead of an answer
	if len(outs) != 1 || packet.MAC(outs[0].Frame) != macEvil {
		t.Fatalf("released %d frames", len(outs))
	}
	wantState(t, c, real1, Delay, macEvil)
	generation := c.Generation()
	nothing(t, input(t, c, now, 0, garp(macR, real1), Updated))
	wantState(t, c, real1, Stale, macR)
	if c.Generation() == generation {
		t.Error("no new generation")
	}
}

// However often it is claimed, a proven MAC is asked at most once in LockTime while
// it answers, and the claim within LockTime is checked in the end.
func TestClaimsAreCheckedOncePerLockTime(t *testing.T) {
	c, now := newCache(t, Config{})
	resolve1(t, c, now, macR)
	nothing(t, input(t, c, now+sec/2, 0, garp(macNew, real1), SpoofSuspected))
	if c.NextStep() != now+sec {
		t.Fatalf("check at %v, want %v", c.NextStep(), now+sec)
	}
	if s := one(t, c.Step(now+sec)); s.ethDst != macR {
		t.Fatalf("checked with %+v", s)
	}
	input(t, c, now+sec, 0, reply(macA, macR, real1, dip), Confirmed)

	probes := c.Counters()[Probes]
	at := now + 2*sec
	for ; at < now+12*sec; at += sec / 100 {
		_, outs := c.Input(at, 0, garp(macEvil, real1))
		for range append(outs, c.Step(at)...) {
			c.Input(at, 0, reply(macA, macR, real1, dip))
		}
	}
	if n := c.Counters()[Probes] - probes; n < 9 || n > 10 {
		t.Errorf("%d probes in 10 s of claims", n)
	}
	wantState(t, c, real1, Reachable, macR)
}

func TestStaticBindingNeverChanges(t *testing.T) {
	c, now := newCache(t, Config{})
	c.SetStatic([]Static{{0, real1, macR}, {0, real6, macR}})
	generation := c.Generation()
	for _, f := range [][]byte{garp(macEvil, real1), reply(macA, macEvil, real1, dip), request(macEvil, real1, real2),
		advert(allNodeM, macEvil, real6, allNodes, 0x20, real6, macEvil)} {
		nothing(t, input(t, c, now, 0, f, StaticRefused))
	}
	nothing(t, input(t, c, now, 0, garp(macR, real1), Unchanged))
	c.Step(now + 1000*sec)
	wantState(t, c, real1, Permanent, macR)
	wantState(t, c, real6, Permanent, macR)
	if c.Generation() != generation || c.Counters()[StaticRefused] != 4 {
		t.Errorf("static_refused %d", c.Counters()[StaticRefused])
	}
}

// RFC 4861 section 7.2.5, with our check before a proven address is replaced.
func TestAdvertisementFlags(t *testing.T) {
	ready := func(t *testing.T) *Cache {
		c, now := newCache(t, Config{})
		c.Resolve(now, 0, real6, data("x"))
		input(t, c, now, 0, advert(macA, macR, real6, dip6, 0x60, real6, macR), Learned)
		return c
	}
	now := 1010 * sec
	t.Run("without override, other address: reachable becomes stale only", func(t *testing.T) {
		c := ready(t)
		nothing(t, input(t, c, now, 0, advert(allNodeM, macEvil, real6, allNodes, 0, real6, macEvil), UnsolicitedIgnored))
		wantState(t, c, real6, Stale, macR)
	})
	t.Run("with override, other address: checked", func(t *testing.T) {
		c := ready(t)
		s := one(t, input(t, c, now, 0, advert(allNodeM, macEvil, real6, allNodes, 0x20, real6, macEvil), SpoofSuspected))
		if s.what != "solicit" || s.ethDst != macR || s.dst != real6 {
			t.Fatalf("checked with %+v", s)
		}
		// The answer to a unicast solicitation may leave the address out, section 4.4.
		nothing(t, input(t, c, now, 0, advert(macA, macR, real6, dip6, 0x60, real6, noMAC), Confirmed))
		wantState(t, c, real6, Reachable, macR)
	})
	t.Run("solicitation with another address: checked", func(t *testing.T) {
		c := ready(t)
		outs := input(t, c, now, 0, solicit(macA, macEvil, real6, vip6, vip6, macEvil), SpoofSuspected)
		if len(outs) != 2 || decode(t, outs[0]).what != "advert" || decode(t, outs[1]).ethDst != macR {
			t.Fatalf("%d frames", len(outs))
		}
	})
	t.Run("no address while incomplete: discarded", func(t *testing.T) {
		c, now := newCache(t, Config{})
		c.Resolve(now, 0, real6, data("x"))
		nothing(t, input(t, c, now, 0, advert(macA, macR, real6, dip6, 0x60, real6, noMAC), UnsolicitedIgnored))
		wantState(t, c, real6, Incomplete, noMAC)
	})
	t.Run("unsolicited while incomplete: stale", func(t *testing.T) {
		c, now := newCache(t, Config{})
		c.Resolve(now, 0, real6, data("x"))
		outs := input(t, c, now, 0, advert(allNodeM, macR, real6, allNodes, 0x20, real6, macR), Updated)
		if len(outs) != 1 || packet.MAC(outs[0].Frame) != macR {
			t.Fatalf("released %d frames", len(outs))
		}
		wantState(t, c, real6, Delay, macR) // stale and at once in use
	})
}

// A claim against a neighbour that is being probed anyway changes what its silence
// means, not how often it is asked.
func TestClaimDuringAnOrdinaryProbe(t *testing.T) {
	c, now := newCache(t, Config{})
	resolve1(t, c, now, macR)
	c.Step(now + 30*sec)
	c.Used(now+30*sec, 0, real1)
	now += 35 * sec
	one(t, c.Step(now))
	now += sec
	one(t, c.Step(now))
	nothing(t, input(t, c, now, 0, garp(macNew, real1), SpoofSuspected))
	if c.NextStep() != now+sec {
		t.Fatalf("next probe at %v, want %v", c.NextStep(), now+sec)
	}
	one(t, c.Step(now+sec)) // the third
	if s := one(t, c.Step(now+sec+VerifyInterval)); s.ethDst != macNew || c.Counters()[Moved] != 1 {
		t.Fatalf("then asked %+v", s)
	}
}

func TestFailedNeighbourIsNotRevivedWithoutAMAC(t *testing.T) {
	c, now := newCache(t, Config{})
	c.Resolve(now, 0, real6, data("x"))
	input(t, c, now, 0, advert(macA, macR, real6, dip6, 0x60, real6, macR), Learned)
	c.Step(now + 30*sec)
	c.Used(now+30*sec, 0, real6)
	for at := now + 35*sec; at <= now+38*sec; at += sec {
		c.Step(at)
	}
	wantState(t, c, real6, Failed, noMAC)
	nothing(t, input(t, c, now+38*sec, 0, advert(macA, macR, real6, dip6, 0x60, real6, noMAC), UnsolicitedIgnored))
	wantState(t, c, real6, Failed, noMAC)
	nothing(t, input(t, c, now+38*sec, 0, advert(allNodeM, macR, real6, allNodes, 0x20, real6, macR), Updated)) // it came back
	wantState(t, c, real6, Stale, macR)
}
