package conntrack

import (
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

func newTable(t testing.TB, max int, owner Owner) *Table {
	t.Helper()
	tab, err := New(Config{Max: max, Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tab.Close)
	return tab
}

func ip4(a, b, c, d byte) packet.Addr { return packet.AddrFrom4([4]byte{a, b, c, d}) }

func conn(client packet.Addr, port uint16, timeout Tick) *Conn {
	return &Conn{Client: client, ClientPort: port, Virtual: ip4(10, 0, 0, 1), VirtualPort: 80,
		Dest: ip4(10, 1, 0, 1), DestPort: 8080, Proto: packet.TCP, Server: NoServer, Timeout: timeout}
}

func inKey(c *Conn) *Key {
	return &Key{Client: c.Client, ClientPort: c.ClientPort, Other: c.Virtual, OtherPort: c.VirtualPort, Proto: c.Proto}
}

func insert(t testing.TB, tab *Table, c *Conn, parent Ref, now Tick) Ref {
	t.Helper()
	s, h := tab.Lock(c.Proto, &c.Client, c.ClientPort, now)
	defer s.Unlock()
	r, err := s.Insert(h, c, parent, now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func find(tab *Table, c *Conn, now Tick) Ref {
	s, h := tab.Lock(c.Proto, &c.Client, c.ClientPort, now)
	defer s.Unlock()
	return s.In(h, inKey(c))
}

// Both directions of a NAT connection are found, and only by their own ends.
func TestLookupBothDirections(t *testing.T) {
	tab := newTable(t, 100, nil)
	c := conn(ip4(192, 0, 2, 7), 40000, 1000)
	r := insert(t, tab, c, 0, 0)
	s, h := tab.Lock(packet.TCP, &c.Client, c.ClientPort, 0)
	defer s.Unlock()
	out := Key{Client: c.Client, ClientPort: c.ClientPort, Other: c.Dest, OtherPort: c.DestPort, Proto: packet.TCP}
	if got := s.Out(h, &out); got != r {
		t.Errorf("Out by the server's end: %d, want %d", got, r)
	}
	virtual := out
	virtual.Other, virtual.OtherPort = c.Virtual, c.VirtualPort
	if got := s.Out(h, &virtual); got != 0 {
		t.Errorf("a NAT entry was found by an answer from the virtual service's own address")
	}
	s.At(r).Flags |= 3 // DR: answers carry the virtual service's address
	if s.Out(h, &virtual) != r || s.Out(h, &out) != 0 {
		t.Errorf("a DR entry must be found by the virtual end only")
	}
	if got := s.In(h, &out); got != 0 {
		t.Errorf("In found the entry by the server's end")
	}
	six := *inKey(c)
	six.V6 = true
	if s.In(h, &six) != 0 {
		t.Errorf("an IPv4 entry was found for an IPv6 packet")
	}
}

// Of two entries with one key the newer is found, also after the shard has grown.
func TestNewestFirst(t *testing.T) {
	tab := newTable(t, 10000, nil)
	c := conn(ip4(192, 0, 2, 7), 40000, 1000)
	insert(t, tab, c, 0, 0)
	newer := insert(t, tab, c, 0, 0)
	for i := range 8000 {
		insert(t, tab, conn(ip4(198, 51, 100, byte(i)), uint16(i), 1000), 0, 0)
	}
	if got := find(tab, c, 0); got != newer {
		t.Errorf("found %d, want the newer %d", got, newer)
	}
}

type ended struct {
	mu sync.Mutex
	n  int
}

func (e *ended) Ended(Ref, *Conn) { e.mu.Lock(); e.n++; e.mu.Unlock() }

// A million random operations against a plain map with exact timers: what is in the
// table, and when it ends, agree at every step.
func TestAgainstMap(t *testing.T) {
	const clients = 3000
	rng := rand.New(rand.NewPCG(1, 2))
	end := &ended{}
	tab := newTable(t, clients, end)
	expires := map[uint16]Tick{} // the slow twin: client port -> instant
	timeouts := map[uint16]Tick{}
	now := Tick(1<<32 - 5000) // so that ticks wrap on the way
	inserted, gone := 0, 0
	sweep := func() {
		for p, at := range expires {
			if !now.Before(at) {
				delete(expires, p)
				gone++
			}
		}
	}
	const longHalf = 15000 // the longer timeout of half-open entries
	lengths := []Tick{1, 2, 63, 64, 65, 500, 4095, 4096, 4097, 70000, 225000, 300000}
	for range 300000 {
		p := uint16(1 + rng.IntN(clients)) // port 0 means "not known yet"
		c := conn(ip4(192, 0, 2, 7), p, lengths[rng.IntN(len(lengths))])
		s, h := tab.Lock(packet.TCP, &c.Client, p, now)
		r := s.In(h, inKey(c))
		_, has := expires[p]
		if (r != 0) != has {
			t.Fatalf("tick %d: port %d found %v, want %v", now, p, r != 0, has)
		}
		switch {
		case r == 0:
			if _, err := s.Insert(h, c, 0, now); err != nil {
				t.Fatal(err)
			}
			expires[p], timeouts[p] = now+c.Timeout, c.Timeout
			inserted++
		case rng.IntN(3) == 0: // another state, another timeout
			s.At(r).State = TCPEstablished
			if rng.IntN(3) == 0 { // half open; a part of them with another timeout than the rest
				s.At(r).State, c.Timeout = TCPSynRecv, longHalf
				if rng.IntN(50) == 0 {
					c.Timeout = 500
				}
			}
			s.At(r).Timeout = c.Timeout
			timeouts[p] = c.Timeout
			fallthrough
		default:
			s.Touch(r, now)
			if s.At(r).State == TCPSynRecv && timeouts[p] < longHalf {
				// One with the longer timeout may be before it in the queue, and hold it up for as
				// long as an entry lives that is put there now. Which one is the table's affair.
				raised := s.At(r).Timeout
				if raised < timeouts[p] || raised > longHalf {
					t.Fatalf("tick %d: a half-open entry's timeout of %d became %d", now, timeouts[p], raised)
				}
				timeouts[p] = raised
			}
			expires[p] = now + timeouts[p]
			if got := s.At(r).Expires(); got != expires[p] {
				t.Fatalf("tick %d: port %d expires at %d, want %d", now, p, got, expires[p])
			}
		}
		s.Unlock()
		switch rng.IntN(40) {
		case 0:
			now += Tick(rng.IntN(5000))
			tab.Advance(now, 0, 1)
			sweep()
			if tab.Len() != len(expires) || end.n != gone {
				t.Fatalf("tick %d: %d entries, %d ended; want %d, %d", now, tab.Len(), end.n, len(expires), gone)
			}
		case 4: // the table does not hear of it: lookups alone see what is over
			now += Tick(rng.IntN(3000))
			sweep()
		case 1, 2, 3:
			now++
			sweep()
			tab.Advance(now, 0, 1)
		}
	}
	now += 400000
	tab.Advance(now, 0, 1)
	if tab.Len() != 0 || end.n != inserted {
		t.Errorf("%d entries left, %d of %d ended", tab.Len(), end.n, inserted)
	}
	if inserted < 1000 {
		t.Errorf("only %d insertions: the test did not test", inserted)
	}
}

// ip_vs_conn_expire: a parent whose timer fires while it has children gets 60 s more,
// and those become its timeout for good.
func TestParentOutlivesChildren(t *testing.T) {
	tab := newTable(t, 100, nil)
	sec := Ticks(time.Second)
	p := conn(ip4(192, 0, 2, 0), 0, 10*sec)
	p.Flags |= FlagTemplate
	parent := insert(t, tab, p, 0, 0)
	insert(t, tab, conn(ip4(192, 0, 2, 7), 40000, 65*sec), parent, 0)
	alive := func() bool {
		s, h := tab.Lock(packet.TCP, &p.Client, 0, 0)
		defer s.Unlock()
		return s.Template(h, inKey(p)) != 0
	}
	tab.Advance(10*sec, 0, 1)
	if !alive() || tab.At(parent).Timeout != ReArm || tab.At(parent).Expires() != 70*sec {
		t.Fatalf("template alive %v, timeout %v, expires %v; want 60 s more", alive(), tab.At(parent).Timeout, tab.At(parent).Expires())
	}
	tab.Advance(65*sec, 0, 1) // the child ends
	if n := tab.At(parent).Children(); n != 0 || tab.Len() != 1 {
		t.Fatalf("%d children, %d entries; want 0, 1", n, tab.Len())
	}
	tab.Advance(70*sec-1, 0, 1)
	if !alive() {
		t.Fatal("the template ended early")
	}
	tab.Advance(70*sec, 0, 1)
	if alive() || tab.Len() != 0 {
		t.Errorf("the template lives on")
	}
}

// An expired entry is gone at the next tick; one with children stays.
func TestExpireNow(t *testing.T) {
	tab := newTable(t, 100, nil)
	c := conn(ip4(192, 0, 2, 7), 40000, 1000)
	r := insert(t, tab, c, 0, 5)
	s, _ := tab.Lock(packet.TCP, &c.Client, c.ClientPort, 5)
	s.Expire(r, 5)
	s.Unlock()
	tab.Advance(6, 0, 1)
	if tab.Len() != 0 {
		t.Errorf("%d entries after Expire, want none", tab.Len())
	}
}

func TestBound(t *testing.T) {
	tab := newTable(t, 1000, nil)
	for i := range 1000 {
		insert(t, tab, conn(ip4(192, 0, byte(i>>8), byte(i)), uint16(i), 100), 0, 0)
	}
	c := conn(ip4(203, 0, 113, 1), 1, 100)
	s, h := tab.Lock(packet.TCP, &c.Client, 1, 0)
	_, err := s.Insert(h, c, 0, 0)
	s.Unlock()
	if err != ErrFull {
		t.Fatalf("entry 1001 of 1000: %v, want ErrFull", err)
	}
	tab.Advance(100, 0, 1)
	insert(t, tab, c, 0, 100) // freed entries are used again
	if tab.Len() != 1 {
		t.Errorf("%d entries, want 1", tab.Len())
	}
}

// Workers on all shards at once; the race detector watches.
func TestConcurrent(t *testing.T) {
	tab := newTable(t, 20000, &ended{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 7))
			for i := range 20000 {
				now := Tick(i / 10)
				c := conn(ip4(192, 0, 2, byte(rng.IntN(8))), uint16(1+rng.IntN(2000)), Tick(1+rng.IntN(300)))
				s, h := tab.Lock(packet.TCP, &c.Client, c.ClientPort, now)
				if r := s.In(h, inKey(c)); r != 0 {
					s.Touch(r, now)
				} else if _, err := s.Insert(h, c, 0, now); err != nil {
					t.Error(err)
				}
				s.Unlock()
				if i%100 == 0 {
					tab.Advance(now, g, 8)
				}
			}
		})
	}
	wg.Wait()
	tab.Advance(4000, 0, 1)
	if tab.Len() != 0 {
		t.Errorf("%d entries left", tab.Len())
	}
}

func TestNoAllocations(t *testing.T) {
	tab := newTable(t, 10000, nil)
	c := conn(ip4(192, 0, 2, 7), 40000, 1000)
	insert(t, tab, c, 0, 0)
	now := Tick(0)
	if n := testing.AllocsPerRun(1000, func() {
		now++
		s, h := tab.Lock(packet.TCP, &c.Client, c.ClientPort, now)
		s.Touch(s.In(h, inKey(c)), now)
		s.Unlock()
	}); n != 0 {
		t.Errorf("%v allocations for a packet of an existing connection", n)
	}
}

// A million connections cost the collector nothing and not more than 140 bytes each: an
// entry, its part of a bucket, and what huge pages and shards round up.
func TestMillion(t *testing.T) {
	var before, after runtime.MemStats
	debug.FreeOSMemory()
	runtime.ReadMemStats(&before)
	rss := resident(t)
	tab := newTable(t, 1_000_000, nil)
	for i := range 1_000_000 {
		insert(t, tab, conn(ip4(10, byte(i>>16), byte(i>>8), byte(i)), uint16(i*7), 1000), 0, 0)
	}
	runtime.ReadMemStats(&after)
	each := float64(resident(t)-rss) / 1e6
	best := time.Hour
	for range 5 {
		start := time.Now()
		runtime.GC()
		best = min(best, time.Since(start))
	}
	t.Logf("1 M connections: %.0f bytes each resident, of them %.0f on the heap; forced garbage collection %v",
		each, float64(after.HeapAlloc-before.HeapAlloc)/1e6, best)
	if raceEnabled {
		return // the detector keeps its own books beside ours
	}
	if each > 140 {
		t.Errorf("%.0f bytes for a connection, want at most 140", each)
	}
	if best > 20*time.Millisecond {
		t.Errorf("garbage collection took %v, want at most 20 ms", best)
	}
	runtime.KeepAlive(tab)
}

// An entry that waits for its client's port takes that of the first packet, and is found
// by both directions then, its timer unchanged.
func TestPortless(t *testing.T) {
	tab := newTable(t, 100, nil)
	c := conn(ip4(192, 0, 2, 7), 0, 1000)
	c.Flags |= FlagNoCPort
	insert(t, tab, c, 0, 0)
	k := inKey(c)
	k.ClientPort = 50000
	if find(tab, conn(c.Client, 50000, 0), 0) != 0 {
		t.Fatal("found before its port is known")
	}
	other := *k
	other.OtherPort = 81
	if tab.FindPortless(&other, 10) {
		t.Error("taken by a packet to another port")
	}
	if !tab.FindPortless(k, 10) || tab.WaitsForPort() {
		t.Fatal("not taken by its client's packet")
	}
	if find(tab, conn(c.Client, 50000, 0), 10) == 0 {
		t.Error("not found by its port")
	}
	tab.Advance(999, 0, 1)
	if tab.Len() != 1 {
		t.Error("ended early")
	}
	tab.Advance(1000, 0, 1)
	if tab.Len() != 0 {
		t.Error("lives on")
	}
}
