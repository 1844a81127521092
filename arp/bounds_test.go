package arp

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

func released(outs []Out) string {
	var tags []string
	for _, o := range outs {
		tags = append(tags, string(o.Frame[14:]))
	}
	return strings.Join(tags, " ")
}

func TestQueueDropsTheOldest(t *testing.T) {
	t.Run("frames of one address", func(t *testing.T) {
		c, now := newCache(t, Config{QueueFrames: 3})
		for _, tag := range []string{"a", "b", "c", "d", "e"} {
			c.Resolve(now, 0, real1, data(tag))
		}
		if got := released(input(t, c, now, 0, reply(macA, macR, real1, dip), Learned)); got != "c d e" {
			t.Errorf("released %q", got)
		}
		if n := c.Counters(); n[QueueOverflow] != 2 || n[Queued] != 5 {
			t.Errorf("queued %d, overflow %d", n[Queued], n[QueueOverflow])
		}
	})
	t.Run("bytes of one address", func(t *testing.T) {
		c, now := newCache(t, Config{QueueBytes: 50}) // a frame is 14 and its tag
		c.Resolve(now, 0, real1, data("aaaaaa"))
		c.Resolve(now, 0, real1, data("bbbbbb"))
		c.Resolve(now, 0, real1, data("cccccc"))                // 60: a goes
		c.Resolve(now, 0, real1, data(strings.Repeat("z", 40))) // never fits
		if got := released(input(t, c, now, 0, reply(macA, macR, real1, dip), Learned)); got != "bbbbbb cccccc" {
			t.Errorf("released %q", got)
		}
		if n := c.Counters(); n[QueueOverflow] != 2 {
			t.Errorf("overflow %d", n[QueueOverflow])
		}
	})
	t.Run("bytes of all addresses", func(t *testing.T) {
		c, now := newCache(t, Config{QueueTotal: 60})
		c.Resolve(now, 0, real1, data("a"))
		c.Resolve(now, 0, real2, data("b"))
		c.Resolve(now, 0, real1, data("c"))
		c.Resolve(now, 0, real2, data("d"))
		c.Resolve(now, 0, real2, data("e")) // 75: a goes, the oldest of all
		checkInvariants(t, c)
		if got := released(input(t, c, now, 0, reply(macA, macR, real1, dip), Learned)); got != "c" {
			t.Errorf("released %q", got)
		}
		if got := released(input(t, c, now, 0, reply(macA, macNew, real2, dip), Learned)); got != "b d e" {
			t.Errorf("released %q", got)
		}
	})
}

func TestEvictionTakesTheLongestUnconfirmed(t *testing.T) {
	c, now := newCache(t, Config{MaxEntries: 4})
	addr := func(i int) packet.Addr { return packet.AddrFrom4([4]byte{10, 9, 0, byte(20 + i)}) }
	for i := range 4 {
		c.Resolve(now, 0, addr(i), data("x"))
		input(t, c, now, 0, reply(macA, macR, addr(i), dip), Learned)
		now += sec
	}
	c.Step(now + 30*sec) // all stale
	c.Used(now+30*sec, 0, addr(0))
	now += 35 * sec
	one(t, c.Step(now))
	input(t, c, now, 0, reply(macA, macR, addr(0), dip), Confirmed)
	generation := c.Generation()
	c.Resolve(now, 0, addr(9), data("x"))
	wantState(t, c, addr(1), 0, noMAC)
	if c.Generation() == generation || c.Counters()[Evicted] != 1 {
		t.Error("evicted without a count or a new generation")
	}
	c.Resolve(now, 0, addr(8), data("x")) // evicts the unanswered one, which has its quarter
	wantState(t, c, addr(9), 0, noMAC)
	wantState(t, c, addr(0), Reachable, macR)
	wantState(t, c, addr(2), Stale, macR)
	if n := c.Counters()[QueueDropped]; n != 1 {
		t.Errorf("queue_dropped %d", n)
	}
}

func TestEvictionTakesFailedOnesFirst(t *testing.T) {
	c, now := newCache(t, Config{MaxEntries: 8}) // two unanswered ones
	c.Resolve(now, 0, real1, data("x"))
	c.Step(now + sec)
	c.Step(now + 2*sec)
	c.Resolve(now+2*sec, 0, real2, data("y"))
	c.Resolve(now+2*sec, 0, real1, data("x"))
	now += 3 * sec
	c.Step(now)
	wantState(t, c, real1, Failed, noMAC)
	wantState(t, c, real2, Incomplete, noMAC)
	c.Resolve(now, 0, ip("10.9.0.13"), data("z"))
	wantState(t, c, real1, 0, noMAC)
	wantState(t, c, real2, Incomplete, noMAC)
}

func TestStepIsBounded(t *testing.T) {
	c, now := newCache(t, Config{Announcements: 1})
	const asked = 3000
	for i := range asked {
		c.Resolve(now, 0, packet.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)}), data("x"))
	}
	now += sec
	sent := 0
	for c.NextStep() <= now {
		n := len(c.Step(now))
		if n > stepTimers+AnnounceBurst {
			t.Fatalf("%d frames in one Step", n)
		}
		sent += n
	}
	if sent != asked+3 { // and three VIPs
		t.Errorf("%d frames sent", sent)
	}
}

// A flood of a million addresses nobody has: bounded memory, static and answering
// neighbours stay, and a real server is still found.
func TestFloodOfAddresses(t *testing.T) {
	c, now := newCache(t, Config{})
	resolve1(t, c, now, macR)
	c.SetStatic([]Static{{0, ip("fd09::5"), macR}})
	generation := c.Generation()
	frame := make([]byte, 1514)
	flooded := func(i int) packet.Addr {
		a := ip("fd09::1:0:0:0")
		binary.BigEndian.PutUint32(a[12:], uint32(i))
		return a
	}
	const total = 1_000_000
	queries, quarter := 0, uint64(0)
	for i := range total {
		queries += len(c.Resolve(now, 0, flooded(i), frame))
		now += 3 * time.Microsecond
		switch i {
		case total / 4:
			quarter = heap()
		case total / 2:
			one(t, c.Resolve(now, 0, real2, data("wanted")))
		case total/2 + 10000: // 30 ms later it answers
			outs := input(t, c, now, 0, reply(macA, macNew, real2, dip), Learned)
			if released(outs) != "" && released(outs) != "wanted" {
				t.Fatalf("released %q", released(outs))
			}
		}
		if i%1000 == 0 {
			for c.NextStep() <= now {
				if n := len(c.Step(now)); n > stepTimers+AnnounceBurst {
					t.Fatalf("%d frames in one Step", n)
				}
			}
		}
	}
	if queries != total {
		t.Errorf("%d queries", queries)
	}
	end := heap()
	if end > quarter+quarter/10+(1<<20) {
		t.Errorf("heap grew from %d to %d", quarter, end)
	}
	if len(c.table.slab) > c.cfg.MaxEntries/4+3 || c.queues.bytes > c.cfg.QueueTotal {
		t.Errorf("%d places, %d bytes held", len(c.table.slab), c.queues.bytes)
	}
	wantState(t, c, ip("fd09::5"), Permanent, macR)
	wantState(t, c, real1, Reachable, macR)
	wantState(t, c, real2, Reachable, macNew)
	if c.Generation() != generation+1 { // real2
		t.Errorf("generation moved by %d", c.Generation()-generation)
	}
	one(t, c.Resolve(now, 0, ip("10.9.0.13"), data("later")))
	if got := released(input(t, c, now, 0, reply(macA, macR, ip("10.9.0.13"), dip), Learned)); got != "later" {
		t.Errorf("released %q", got)
	}
	t.Logf("heap %d KiB after 250k, %d KiB after 1M addresses; %d places", quarter>>10, end>>10, len(c.table.slab))

	for ; c.NextStep() < now+1000*sec && c.NextStep() != Never; c.Step(c.NextStep()) {
	}
	if n := len(c.table.index); n != 1 { // the static one
		t.Errorf("%d entries left", n)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A flood of answers to addresses really asked for, more than the table holds.
func TestTableOfAnsweringNeighboursIsBounded(t *testing.T) {
	c, now := newCache(t, Config{MaxEntries: 100})
	for i := range 1000 {
		a := packet.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)})
		c.Resolve(now, 0, a, data("x"))
		input(t, c, now, 0, reply(macA, macR, a, dip), Learned)
		if len(c.table.index) > 100 {
			t.Fatalf("%d entries", len(c.table.index))
		}
	}
	if len(c.table.index) != 100 || c.Counters()[Evicted] != 900 {
		t.Errorf("%d entries, %d evicted", len(c.table.index), c.Counters()[Evicted])
	}
}

// The deadline heap against a slow twin that searches all.
func TestTimersAgainstSearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	slab := make([]entry, 64)
	for i := range slab {
		slab[i].timer = -1
	}
	var h timers
	twin := map[ref]time.Duration{}
	for n := range 20000 {
		r := ref(rng.IntN(len(slab)))
		if rng.IntN(3) == 0 {
			h.clear(slab, r)
			delete(twin, r)
		} else {
			due := time.Duration(rng.IntN(1000))
			h.set(slab, r, due)
			twin[r] = due
		}
		soonest := Never
		for _, due := range twin {
			soonest = min(soonest, due)
		}
		if len(h) != len(twin) || len(h) > 0 && (slab[h[0]].due != soonest || twin[h[0]] != soonest) {
			t.Fatalf("step %d: %d deadlines, want %d, soonest wanted %v", n, len(h), len(twin), soonest)
		}
	}
}
