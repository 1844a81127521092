package conntrack

import (
	"slices"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// However much is due, a turn of the sweep and a Lock end a bounded number of entries, and
// none of those that are over is found meanwhile.
func TestExpiryNeverBursts(t *testing.T) {
	const entries, budget = 100_000, 256
	end := &ended{}
	tab := newTable(t, entries, end)
	at := func(i int) *Conn { return conn(ip4(10, byte(i>>16), byte(i>>8), byte(i)), uint16(i), 1000) }
	for i := range entries {
		insert(t, tab, at(i), 0, 0)
	}
	sweep := Sweep{Step: 1}
	for !sweep.Turn(tab, 999, budget) { // down the rings
	}
	if end.n != 0 {
		t.Fatalf("%d ended a tick too early", end.n)
	}
	turns := 0
	for done := false; !done; turns++ {
		before := end.n
		done = sweep.Turn(tab, 1000, budget)
		if n := end.n - before; n > budget {
			t.Fatalf("%d ended in one turn, want at most %d", n, budget)
		}
		for i := turns; i < entries; i += entries / 50 {
			before := end.n
			if find(tab, at(i), 1000) != 0 {
				t.Fatalf("entry %d was found after its time", i)
			}
			if n := end.n - before; n > lockBudget+1 {
				t.Fatalf("%d ended in one lookup, want at most %d", n, lockBudget+1)
			}
		}
	}
	if end.n != entries || tab.Len() != 0 {
		t.Errorf("%d ended, %d left; want all of %d", end.n, tab.Len(), entries)
	}
	if turns < entries/budget/8 {
		t.Errorf("only %d turns: nothing was spread", turns)
	}
}

// A sweep that takes many turns sees what becomes due meanwhile.
func TestSweepGoesOn(t *testing.T) {
	tab := newTable(t, 10_000, nil)
	for i := range 3000 {
		insert(t, tab, conn(ip4(10, 0, byte(i>>8), byte(i)), uint16(i), Tick(100+i%10)), 0, 0)
	}
	sweep := Sweep{Step: 1}
	now, turns := Tick(100), 0
	for !sweep.Turn(tab, now, 50) || now < 110 {
		now++
		if turns++; turns > 1000 {
			t.Fatalf("not done after %d turns; %d entries left", turns, tab.Len())
		}
	}
	if tab.Len() != 0 {
		t.Errorf("%d entries left when the sweep said it was done", tab.Len())
	}
}

// synAt is client i's entry, which waits for the third packet of the handshake.
func synAt(t *testing.T, tab *Table, i int, now Tick) Ref {
	t.Helper()
	to := DefaultTimeouts()
	return synWith(t, tab, i, now, &to)
}

func synWith(t *testing.T, tab *Table, i int, now Tick, to *Timeouts) Ref {
	t.Helper()
	c := conn(ip4(10, 2, byte(i>>8), byte(i)), uint16(i), Initial)
	s, h := tab.Lock(c.Proto, &c.Client, c.ClientPort, now)
	defer s.Unlock()
	r, err := s.Insert(h, c, 0, now)
	if err != nil {
		t.Fatalf("client %d: %v", i, err)
	}
	s.At(r).Advance(Input, packet.SYN, to)
	s.Touch(r, now)
	return r
}

// establish is that third packet.
func establish(tab *Table, i int, now Tick) bool {
	c := conn(ip4(10, 2, byte(i>>8), byte(i)), uint16(i), 0)
	s, h := tab.Lock(c.Proto, &c.Client, c.ClientPort, now)
	defer s.Unlock()
	r := s.In(h, inKey(c))
	if r != 0 {
		to := DefaultTimeouts()
		s.At(r).Advance(Input, packet.ACK, &to)
		s.Touch(r, now)
	}
	return r != 0
}

// In a full shard the half-open entry whose last packet is longest ago makes room; not one
// that has a child, not one that was answered, no template; and with none left nothing does.
func TestOldestHalfOpenMakesRoom(t *testing.T) {
	end := &ended{}
	tab := newTable(t, 6, end)
	tab.seed = [2]uint64{} // all in one shard: the hash is of nothing but the seed
	p := conn(ip4(10, 9, 0, 0), 0, 1000)
	p.Flags |= FlagTemplate
	insert(t, tab, p, 0, 0)
	a := synAt(t, tab, 1, 1)
	synAt(t, tab, 2, 2)
	synAt(t, tab, 3, 3)
	synAt(t, tab, 4, 4)
	synAt(t, tab, 5, 5)
	tab.Hold(a)
	establish(tab, 2, 6)
	c := conn(ip4(10, 2, 0, 3), 3, 0) // a second SYN: younger than 4 and 5
	s, h := tab.Lock(c.Proto, &c.Client, 3, 7)
	to := DefaultTimeouts()
	r := s.In(h, inKey(c))
	s.At(r).Advance(Input, packet.SYN, &to)
	s.Touch(r, 7)
	s.Unlock()
	alive := func() (list []int) {
		for i := 1; i < 10; i++ {
			if find(tab, conn(ip4(10, 2, 0, byte(i)), uint16(i), 0), 10) != 0 {
				list = append(list, i)
			}
		}
		return list
	}
	for _, step := range []struct {
		client int
		want   []int
	}{{6, []int{1, 2, 3, 5, 6}}, {7, []int{1, 2, 3, 6, 7}}, {8, []int{1, 2, 6, 7, 8}}, {9, []int{1, 2, 7, 8, 9}}} {
		synAt(t, tab, step.client, 10)
		if got := alive(); !slices.Equal(got, step.want) {
			t.Fatalf("after client %d: %v, want %v", step.client, got, step.want)
		}
	}
	for i := 7; i < 10; i++ {
		establish(tab, i, 11)
	}
	s, h = tab.Lock(c.Proto, &c.Client, 3, 12)
	_, err := s.Insert(h, c, 0, 12)
	s.Unlock()
	if err != ErrFull {
		t.Errorf("%v with nobody half open, want ErrFull", err)
	}
	if tab.Evicted() != 4 || end.n != 4 || tab.Len() != 6 {
		t.Errorf("%d evicted, %d ended, %d entries; want 4, 4, 6", tab.Evicted(), end.n, tab.Len())
	}
}

// A flood that comes after SYN_RECV's timeout was shortened ends its own oldest entries
// too, not the newest: those that wait for their client the shortest. They end no later than
// the longer timeout wants, and by the shorter one once the old entries are gone; expiry
// less timeout is the last packet's instant all the time.
func TestShorterTimeoutOfHalfOpen(t *testing.T) {
	const max = 200
	tab := newTable(t, max, nil)
	tab.seed = [2]uint64{} // all in one shard
	to := DefaultTimeouts()
	long := to.TCP[TCPSynRecv]
	synWith(t, tab, 0, 1, &to)
	to.TCP[TCPSynRecv] = 500
	for i := 1; i < 2*max; i++ {
		r := synWith(t, tab, i, 2, &to)
		if c := tab.At(r); c.Expires() < 502 || c.Expires() > 1+long || c.Expires()-c.Timeout != 2 {
			t.Fatalf("client %d: expires at %d, timeout %d; want 502 to %d, and 2 as the difference", i, c.Expires(), c.Timeout, 1+long)
		}
	}
	for i := range 2 * max {
		r := find(tab, conn(ip4(10, 2, byte(i>>8), byte(i)), uint16(i), 0), 3)
		if want := i >= max; (r != 0) != want {
			t.Fatalf("client %d is there: %v, want %v", i, r != 0, want)
		}
	}
	tab.Advance(1+long, 0, 1)
	if tab.Len() != 0 || tab.Evicted() != max {
		t.Errorf("%d entries left, %d evicted; want 0, %d", tab.Len(), tab.Evicted(), max)
	}
	synWith(t, tab, 0, 2+long, &to)
	tab.Advance(2+long+499, 0, 1)
	left := tab.Len()
	tab.Advance(2+long+500, 0, 1)
	if left != 1 || tab.Len() != 0 {
		t.Errorf("by the shorter timeout: %d entries just before, %d at its end; want 1, 0", left, tab.Len())
	}
}

// A half-open entry's timer is as exact as any other's: it fires at the end of its state's
// timeout after the last SYN, and after the handshake at that of ESTABLISHED.
func TestHalfOpenTimers(t *testing.T) {
	tab := newTable(t, 1000, nil)
	to := DefaultTimeouts()
	synAt(t, tab, 1, 0)
	synAt(t, tab, 2, 0)
	synAt(t, tab, 3, 10)
	establish(tab, 2, 20)
	left := func(now Tick) int {
		tab.Advance(now, 0, 1)
		return tab.Len()
	}
	syn, est := to.TCP[TCPSynRecv], to.TCP[TCPEstablished]
	for _, step := range []struct {
		now  Tick
		want int
	}{{syn - 1, 3}, {syn, 2}, {syn + 9, 2}, {syn + 10, 1}, {20 + est - 1, 1}, {20 + est, 0}} {
		if got := left(step.now); got != step.want {
			t.Errorf("tick %d: %d entries, want %d", step.now, got, step.want)
		}
	}
}
