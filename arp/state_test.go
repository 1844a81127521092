package arp

import (
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// The names and times of the kernel's documentation (ip-sysctl, neigh/default/*).
func TestConstantsAreTheKernelsDefaults(t *testing.T) {
	got := [...]time.Duration{ReachableTime, DelayFirstProbe, Retrans, GCStale, LockTime, McastSolicit, UcastSolicit}
	want := [...]time.Duration{30 * sec, 5 * sec, sec, 60 * sec, sec, 3, 3}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, FAILED: one neighbour through all of
// them, each change at its instant and not before.
func TestNeighbourWalksTheStates(t *testing.T) {
	for _, family := range []struct {
		name                   string
		addr, own              packet.Addr
		answer                 []byte
		query, probe           string
		queryDst               packet.MAC
		queryDstIP, probeDstIP packet.Addr
	}{
		{"ipv4", real1, dip, reply(macA, macR, real1, dip), "request", "request", broadcast, packet.Addr{}, packet.Addr{}},
		// RFC 4291 section 2.7.1, RFC 2464 section 7: fd09::11 is asked for at ff02::1:ff00:11, 33:33:ff:00:00:11.
		{"ipv6", real6, dip6, advert(macA, macR, real6, dip6, 0x60, real6, macR), "solicit", "solicit",
			packet.MAC{0x33, 0x33, 0xff, 0, 0, 0x11}, ip("ff02::1:ff00:11"), real6},
	} {
		t.Run(family.name, func(t *testing.T) {
			c, now := newCache(t, Config{})
			addr := family.addr
			isQuery := func(outs []Out) {
				t.Helper()
				s := one(t, outs)
				if s.what != family.query || s.ethDst != family.queryDst || s.src != family.own || s.target != addr || s.dst != family.queryDstIP || s.tha != noMAC {
					t.Fatalf("query is %+v", s)
				}
			}
			isProbe := func(outs []Out) {
				t.Helper()
				s := one(t, outs)
				if s.what != family.probe || s.ethDst != macR || s.src != family.own || s.target != addr || s.dst != family.probeDstIP || s.tha != noMAC {
					t.Fatalf("probe is %+v", s)
				}
			}
			next := func(want time.Duration) {
				t.Helper()
				if got := c.NextStep(); got != want {
					t.Fatalf("NextStep %v, want %v", got, want)
				}
				nothing(t, c.Step(want-1))
				now = want
			}
			if _, ok := c.Lookup(0, addr); ok || c.NextStep() != Never {
				t.Fatal("an empty cache knows or wants something")
			}

			isQuery(c.Resolve(now, 0, addr, data("one")))
			wantState(t, c, addr, Incomplete, noMAC)
			nothing(t, c.Resolve(now, 0, addr, data("two"))) // asked already
			next(now + sec)
			isQuery(c.Step(now))
			now += sec / 2
			outs := input(t, c, now, 0, family.answer, Learned)
			if len(outs) != 2 || string(outs[0].Frame[14:]) != "one" || string(outs[1].Frame[14:]) != "two" {
				t.Fatalf("released %d frames; want one and two", len(outs))
			}
			for _, o := range outs {
				if packet.MAC(o.Frame) != macR || packet.MAC(o.Frame[6:]) != macA || o.Port != 0 {
					t.Fatalf("released frame %x on port %d", o.Frame, o.Port)
				}
			}
			wantState(t, c, addr, Reachable, macR)
			if mac, ok := c.Lookup(0, addr); !ok || mac != macR {
				t.Fatalf("Lookup %v, %v", mac, ok)
			}

			next(now + 30*sec)
			nothing(t, c.Step(now))
			wantState(t, c, addr, Stale, macR)
			if _, ok := c.Lookup(0, addr); !ok {
				t.Fatal("a stale neighbour is not used")
			}
			now += 10 * sec
			c.Used(now, 0, addr)
			wantState(t, c, addr, Delay, macR)
			c.Used(now+sec, 0, addr) // does not put the probe off
			next(now + 5*sec)
			isProbe(c.Step(now))
			wantState(t, c, addr, Probe, macR)
			next(now + sec)
			isProbe(c.Step(now))
			nothing(t, input(t, c, now, 0, family.answer, Confirmed))
			wantState(t, c, addr, Reachable, macR)

			c.Used(now+27*sec, 0, addr) // in use when it turns stale: delay at once
			next(now + 30*sec)
			nothing(t, c.Step(now))
			wantState(t, c, addr, Delay, macR)
			next(now + 5*sec)
			for range 3 {
				isProbe(c.Step(now))
				if _, ok := c.Lookup(0, addr); !ok {
					t.Fatal("a neighbour being probed is not used")
				}
				next(now + sec)
			}
			generation := c.Generation()
			nothing(t, c.Step(now))
			wantState(t, c, addr, Failed, noMAC)
			if _, ok := c.Lookup(0, addr); ok || c.Generation() == generation {
				t.Fatal("a failed neighbour is still known, or nobody was told")
			}

			isQuery(c.Resolve(now, 0, addr, data("three"))) // asked anew
			for range 2 {
				next(now + sec)
				isQuery(c.Step(now))
			}
			next(now + sec)
			nothing(t, c.Step(now))
			wantState(t, c, addr, Failed, noMAC)
			next(now + 60*sec)
			nothing(t, c.Step(now))
			wantState(t, c, addr, 0, noMAC)
			n := c.Counters()
			got := [...]uint64{n[Queries], n[Probes], n[Learned], n[Confirmed], n[Unreachable], n[Unresolved], n[Expired], n[QueueDropped], n[Queued]}
			if want := [...]uint64{5, 5, 1, 1, 1, 1, 1, 1, 3}; got != want {
				t.Errorf("counters %v, want %v", got, want)
			}
		})
	}
}

func TestUnusedStaleNeighbourExpiresAUsedOneDoesNot(t *testing.T) {
	c, now := newCache(t, Config{})
	resolve1(t, c, now, macR)
	c.Step(now + 30*sec)
	nothing(t, c.Step(now+89*sec))
	wantState(t, c, real1, Stale, macR)
	generation := c.Generation()
	nothing(t, c.Step(now+90*sec))
	wantState(t, c, real1, 0, noMAC)
	if c.Generation() == generation {
		t.Error("an answer was forgotten without a new generation")
	}

	now += 100 * sec
	resolve1(t, c, now, macR)
	end := now + 600*sec
	for ; now < end; now += sec / 4 { // the neighbour answers, the worker says Used
		c.Used(now, 0, real1)
		for range c.Step(now) {
			input(t, c, now, 0, reply(macA, macR, real1, dip), Confirmed)
		}
		if _, ok := c.Lookup(0, real1); !ok {
			t.Fatalf("lost at %v", now)
		}
	}
	if n := c.Counters()[Probes]; n != 600/35 { // one probe every 30+5 s
		t.Errorf("%d probes in 600 s", n)
	}
}

func TestGenerationStaysWhenNoAnswerChanges(t *testing.T) {
	c, now := newCache(t, Config{})
	resolve1(t, c, now, macR)
	c.SetStatic([]Static{{0, real2, macNew}})
	generation := c.Generation()
	same := func(what string) {
		t.Helper()
		if c.Generation() != generation {
			t.Fatalf("generation changed by %s", what)
		}
	}
	c.SetStatic([]Static{{0, real2, macNew}})
	same("the same static bindings")
	c.SetPorts(twoPorts)
	same("the same ports")
	c.Resolve(now, 0, ip("10.9.0.77"), data("x"))
	same("a query")
	c.Step(now + 3*sec)
	same("a failure to resolve")
	input(t, c, now, 0, garp(macR, real1), Unchanged)
	same("an announcement of what is known")
	c.Step(now + 30*sec)
	c.Used(now+30*sec, 0, real1)
	c.Step(now + 35*sec)
	same("growing stale")
	input(t, c, now+35*sec, 0, reply(macA, macR, real1, dip), Confirmed)
	same("a confirmation")
	c.SetStatic([]Static{{0, real2, macNew}, {0, real1, macR}})
	same("a binding to the MAC already known")
}

func TestStaticBindingReleasesWaitingFramesAndStays(t *testing.T) {
	c, now := newCache(t, Config{})
	c.Resolve(now, 0, real1, data("waits"))
	c.SetStatic([]Static{{0, real1, macR}})
	if c.NextStep() > now {
		t.Fatalf("NextStep %v", c.NextStep())
	}
	outs := c.Step(now)
	if len(outs) != 1 || packet.MAC(outs[0].Frame) != macR || string(outs[0].Frame[14:]) != "waits" {
		t.Fatalf("%d frames released", len(outs))
	}
	for at := now; at < now+1000*sec; at += 10 * sec {
		nothing(t, c.Step(at))
	}
	wantState(t, c, real1, Permanent, macR)
	if outs := c.Resolve(now, 0, real1, data("y")); len(outs) != 1 || packet.MAC(outs[0].Frame) != macR {
		t.Fatal("Resolve of a known address does not return the frame")
	}
	generation := c.Generation()
	c.SetStatic(nil)
	if wantState(t, c, real1, 0, noMAC); c.Generation() == generation {
		t.Error("removing a binding did not change the generation")
	}
}

func TestResolveCopiesTheFrameAndKeepsItsOffloadState(t *testing.T) {
	c, now := newCache(t, Config{})
	lent := data("original")
	vnet := packet.Vnet{Flags: packet.VnetNeedsCsum, GSOType: packet.VnetGSOTCPv4, GSOSize: 1448}
	c.ResolveVnet(now, 0, real1, lent, vnet)
	copy(lent[14:], "OVERWROT")
	outs := input(t, c, now, 0, reply(macA, macR, real1, dip), Learned)
	if len(outs) != 1 || string(outs[0].Frame[14:]) != "original" || outs[0].Vnet != vnet {
		t.Fatalf("got %+v", outs)
	}
	known := c.ResolveVnet(now, 0, real1, lent, vnet)
	if len(known) != 1 || &known[0].Frame[0] == &lent[0] || known[0].Vnet != vnet {
		t.Fatal("a known address does not return a copy with its offload state")
	}
}

// arp_announce=2, and RFC 6724 rule 2 in spirit: the source fits the target, and is
// never a VIP, even when the host carries the VIP among its addresses.
func TestQuerySourceFitsTheTargetAndIsNoVIP(t *testing.T) {
	configs := []PortConfig{{MAC: macA, VIPs: []packet.Addr{vip, vip6, ip("10.9.0.2")}, Addresses: prefixes(
		"10.9.0.90/32", "10.9.0.2/24", "172.16.0.1/16", "10.9.0.1/24", "10.9.0.129/25", "fd09::90/128", "fd09::1/64", "fe80::1/64")}}
	for _, tc := range []struct{ target, want string }{
		{"10.9.0.11", "10.9.0.1"},
		{"10.9.0.200", "10.9.0.129"}, // the longer prefix
		{"172.16.9.9", "172.16.0.1"},
		{"203.0.113.5", "172.16.0.1"}, // the first that is no VIP
		{"fd09::11", "fd09::1"},
		{"fe80::77", "fe80::1"},
		{"2001:db8::1", "fe80::1"},
	} {
		c := New(Config{})
		c.SetPorts(configs)
		if s := one(t, c.Resolve(0, 0, ip(tc.target), data("x"))); s.src != ip(tc.want) {
			t.Errorf("asks for %s as %v, want %s", tc.target, s.src, tc.want)
		}
	}
}

func TestPortWithoutOwnAddress(t *testing.T) {
	c := New(Config{})
	c.SetPorts([]PortConfig{{MAC: macA, VIPs: []packet.Addr{vip, vip6}}})
	if s := one(t, c.Resolve(0, 0, real1, data("x"))); s.src != zero4 {
		t.Errorf("asks as %v, want 0.0.0.0", s.src)
	}
	input(t, c, 0, 0, reply(macA, macR, real1, zero4), Learned)
	nothing(t, c.Resolve(0, 0, real6, data("x")))
	if n := c.Counters(); n[NoSource] != 1 {
		t.Errorf("no_source %d, want 1", n[NoSource])
	}
}

func TestAddressesThatAreNoNeighbours(t *testing.T) {
	c, now := newCache(t, Config{})
	bad := []string{"10.9.0.1", "10.9.0.90", "0.0.0.0", "127.0.0.1", "224.0.0.18", "255.255.255.255", "10.9.0.255", "10.9.0.0",
		"fd09::1", "fd09::90", "::", "::1", "ff02::1"}
	for _, a := range bad {
		nothing(t, c.Resolve(now, 0, ip(a), data("x")))
	}
	nothing(t, c.Resolve(now, 0, real1, make([]byte, 13)))
	nothing(t, c.Resolve(now, 2, real1, data("x")))
	nothing(t, c.Resolve(now, -1, real1, data("x")))
	if n := c.Counters(); n[BadTarget] != uint64(len(bad))+1 || n[NoPort] != 2 || len(c.table.index) != 0 {
		t.Errorf("bad_target %d, no_port %d, %d entries", n[BadTarget], n[NoPort], len(c.table.index))
	}
}

func TestReasonNamesAreCompleteAndDistinct(t *testing.T) {
	names := map[string]bool{}
	for r := range NumReasons {
		names[Reason(r).String()] = true
	}
	if len(names) != NumReasons || names[""] || names["unknown"] || Reason(NumReasons).String() != "unknown" {
		t.Errorf("%d names for %d reasons", len(names), NumReasons)
	}
}
