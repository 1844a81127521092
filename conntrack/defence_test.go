package conntrack

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

func seconds(n int) Tick { return Ticks(time.Duration(n) * time.Second) }

// idleConn is an entry whose last packet was idle ago at instant now.
func idleConn(proto, state uint8, pkts uint32, idle, now Tick) *Conn {
	c := conn(ip4(192, 0, 2, 7), 40000, seconds(300))
	c.Proto, c.State, c.InPkts = proto, state, pkts
	c.expires = now - idle + c.Timeout
	return c
}

// What the walk does with each kind of entry. "Tried" are dropped here because their
// turn comes at once (one packet: each candidate is dropped).
func TestDropperByProtocolAndState(t *testing.T) {
	const now = 1000000
	minute := seconds(60)
	for _, c := range []struct {
		name         string
		proto        uint8
		states       []uint8
		always, idle bool // dropped when its packet was just now, when a minute ago
	}{
		{"half-open TCP", packet.TCP, []uint8{TCPSynRecv, TCPSynAck}, true, true},
		{"established TCP", packet.TCP, []uint8{TCPEstablished}, false, true},
		{"other TCP", packet.TCP, []uint8{TCPNone, TCPSynSent, TCPFinWait, TCPTimeWait, TCPClose, TCPCloseWait, TCPLastAck, TCPListen}, false, false},
		{"half-open SCTP", packet.SCTP, []uint8{SCTPInit1, SCTPInit}, true, true},
		{"established SCTP", packet.SCTP, []uint8{SCTPEstablished}, false, true},
		{"other SCTP", packet.SCTP, []uint8{SCTPNone, SCTPCookieSent, SCTPCookieReplied, SCTPCookieWait, SCTPCookie, SCTPCookieEchoed,
			SCTPShutdownSent, SCTPShutdownReceived, SCTPShutdownAckSent, SCTPRejected, SCTPClosed}, false, false},
		{"UDP", packet.UDP, []uint8{0}, false, true},
		{"ICMP", packet.ICMP, []uint8{0}, false, true},
	} {
		for _, state := range c.states {
			for idle, want := range map[Tick]bool{0: c.always, minute - 1: c.always, minute: c.idle, 2 * minute: c.idle} {
				var d Dropper
				if got := d.Try(idleConn(c.proto, state, 1, idle, now), now); got != want {
					t.Errorf("%s, state %d, idle %d ticks: %v, want %v", c.name, state, idle, got, want)
				}
			}
		}
		parent := idleConn(c.proto, c.states[0], 1, 2*minute, now)
		parent.children = 1
		if new(Dropper).Try(parent, now) {
			t.Errorf("%s: dropped though it has a child", c.name)
		}
	}
}

func TestDropperTemplates(t *testing.T) {
	const now = 1000000
	for _, c := range []struct {
		name               string
		server             uint32
		assured            bool
		idle               Tick
		want, wantNoServer bool
	}{
		{"unassured", 1, false, 0, true, true},
		{"assured", 1, true, seconds(200), false, false},
		{"of a one-packet service, busy", 2, false, seconds(59), false, true},
		{"of a one-packet service, idle", 2, false, seconds(60), true, true},
		{"of a one-packet service, assured and idle", 2, true, seconds(60), true, false},
	} {
		d := Dropper{OnePacket: func(server uint32) bool {
			if server == NoServer {
				t.Errorf("%s: asked for a server that is none", c.name)
			}
			return server == 2
		}}
		e := idleConn(packet.UDP, 0, 1, c.idle, now)
		e.Flags |= FlagTemplate
		e.Server = c.server
		if c.assured {
			e.Assure()
		}
		if got := d.Try(e, now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		e.Server = NoServer
		if got := d.Try(e, now); got != c.wantNoServer {
			t.Errorf("%s, server gone: %v, want %v", c.name, got, c.wantNoServer)
		}
		atomic.AddUint32(&e.children, 1)
		if d.Try(e, now) {
			t.Errorf("%s: dropped though it has a child", c.name)
		}
	}
}

// Of idle entries with n packets every n-th is dropped; the countdowns of different n do
// not touch each other. None and more than eight packets: kept.
func TestDropperCountsByPackets(t *testing.T) {
	const now = 1000000
	var d Dropper
	got := map[uint32][]int{}
	for turn := range 17 {
		for _, n := range []uint32{0, 1, 2, 3, 8, 9, 1 << 31, ^uint32(0)} {
			if d.Try(idleConn(packet.UDP, 0, n, seconds(60), now), now) {
				got[n] = append(got[n], turn)
			}
			if d.Try(idleConn(packet.UDP, 0, n, seconds(59), now), now) { // no candidate: not counted
				t.Errorf("%d packets, turn %d: a busy entry was dropped", n, turn)
			}
		}
	}
	want := map[uint32][]int{
		1: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		2: {0, 2, 4, 6, 8, 10, 12, 14, 16}, 3: {0, 3, 6, 9, 12, 15}, 8: {0, 8, 16},
	}
	for _, n := range []uint32{0, 1, 2, 3, 8, 9, 1 << 31, ^uint32(0)} {
		if !slices.Equal(got[n], want[n]) {
			t.Errorf("%d packets: dropped at turns %v, want %v", n, got[n], want[n])
		}
	}
}

// The clock wraps; idle time does not notice.
func TestDropperAcrossWrap(t *testing.T) {
	for idle, want := range map[Tick]bool{seconds(59): false, seconds(61): true} {
		for _, now := range []Tick{0, 5, ^Tick(0), ^Tick(0) - seconds(200), seconds(30)} {
			if got := new(Dropper).Try(idleConn(packet.UDP, 0, 1, idle, now), now); got != want {
				t.Errorf("now %d, idle %d: %v, want %v", now, idle, got, want)
			}
		}
	}
}

func TestDefenceModes(t *testing.T) {
	const scarce, plenty = 1023, 1024 // of amemthresh 1024
	for _, c := range []struct {
		mode, avail, after int
		acts               bool
	}{
		{DefenceOff, scarce, DefenceOff, false},
		{DefenceOff, plenty, DefenceOff, false},
		{DefenceReady, scarce, DefenceActing, true},
		{DefenceReady, plenty, DefenceReady, false},
		{DefenceActing, scarce, DefenceActing, true},
		{DefenceActing, plenty, DefenceReady, false},
		{DefenceAlways, scarce, DefenceAlways, true},
		{DefenceAlways, plenty, DefenceAlways, true},
	} {
		// Each of the three alone: the others are off and stay off.
		for i := range 3 {
			m, want := [3]int{}, [3]int{}
			m[i], want[i] = c.mode, c.after
			var d Defence
			after := d.Step(c.avail, 1024, 10, Modes{m[0], m[1], m[2]})
			if after != (Modes{want[0], want[1], want[2]}) {
				t.Errorf("mode %d of defence %d, %d pages: modes %v, want %v", c.mode, i, c.avail, after, want)
			}
			if acts := [3]bool{d.DropEntry, d.Packets.rate.Load() != 0, d.SecureTCP}; acts[i] != c.acts || acts[(i+1)%3] || acts[(i+2)%3] {
				t.Errorf("mode %d of defence %d, %d pages: acting %v, want %v", c.mode, i, c.avail, acts, c.acts)
			}
		}
	}
	for _, threshold := range []int{0, -1, -1000} { // never scarce
		var d Defence
		if m := d.Step(0, threshold, 10, Modes{2, 2, 2}); m != (Modes{1, 1, 1}) || d.DropEntry || d.SecureTCP || d.Packets.Drop() {
			t.Errorf("amemthresh %d: modes %v, %+v", threshold, m, &d)
		}
	}
}

// drops says which of the next n packets are dropped.
func drops(d *DropRate, n int) (at []int) {
	for i := range n {
		if d.Drop() {
			at = append(at, i+1)
		}
	}
	return at
}

// In mode 3 a kernel director with am_droprate 10 dropped the 1st and the 11th of 16
// SYNs, with three seconds between the 8th and the 9th.
func TestDropRateAlways(t *testing.T) {
	var d Defence
	m := Modes{DropPacket: DefenceAlways}
	m = d.Step(1<<20, 1024, 10, m)
	if got := drops(&d.Packets, 8); !slices.Equal(got, []int{1}) {
		t.Errorf("dropped %v of the first 8, want the 1st", got)
	}
	for range 3 {
		m = d.Step(1<<20, 1024, 10, m)
	}
	if got := drops(&d.Packets, 8); !slices.Equal(got, []int{3}) {
		t.Errorf("dropped %v of the next 8, want the 3rd", got)
	}
	m.DropPacket = DefenceOff
	d.Step(1<<20, 1024, 10, m)
	if got := drops(&d.Packets, 100); got != nil {
		t.Errorf("switched off: dropped %v", got)
	}
	m.DropPacket = DefenceAlways
	d.Step(1<<20, 1024, 1, m)
	if got := drops(&d.Packets, 8); !slices.Equal(got, []int{5, 6, 7, 8}) { // 3 and 5 of the old 10 are done
		t.Errorf("am_droprate 1: dropped %v of 8, want all once the old count has run out", got)
	}
	d.Step(1<<20, 1024, 0, m)
	if got := drops(&d.Packets, 4); got != nil {
		t.Errorf("am_droprate 0: dropped %v, want none", got)
	}
}

// In the automatic mode one of amemthresh/(amemthresh-avail) is dropped, and each second
// begins anew.
func TestDropRateAutomatic(t *testing.T) {
	for _, c := range []struct {
		avail int
		want  []int // of ten packets
	}{
		{0, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, // 1024/1024 = 1
		{511, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{512, []int{2, 4, 6, 8, 10}}, // 1024/512
		{700, []int{3, 6, 9}},        // 1024/324 = 3.16
		{1000, nil},                  // 1024/24 = 42
		{1024, nil},                  // no defence
	} {
		var d Defence
		m := Modes{DropPacket: DefenceReady}
		for second := range 3 {
			m = d.Step(c.avail, 1024, 10, m)
			if got := drops(&d.Packets, 10); !slices.Equal(got, c.want) {
				t.Errorf("%d pages, second %d: dropped %v, want %v", c.avail, second, got, c.want)
			}
		}
	}
}

// Workers share one count: however they meet, exactly one of rate is dropped.
func TestDropRateIsShared(t *testing.T) {
	var d Defence
	d.Step(1<<20, 1024, 7, Modes{DropPacket: DefenceAlways})
	var dropped atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { dropped.Add(int64(len(drops(&d.Packets, 7000)))) })
	}
	wg.Wait()
	if n := dropped.Load(); n != 4000 {
		t.Errorf("%d of 28000 dropped, want 4000", n)
	}
}

func TestDefenceAllocatesNothing(t *testing.T) {
	var d Defence
	var e Dropper
	c := idleConn(packet.TCP, TCPEstablished, 3, seconds(60), 1000000)
	m := Modes{1, 1, 1}
	if n := testing.AllocsPerRun(1000, func() {
		m = d.Step(10, 1024, 10, m)
		d.Packets.Drop()
		e.Try(c, 1000000)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A dropped entry takes its parent along when it was the last child, unless the parent is
// a template of an answered client; one that ends by itself does not (ip_vs_conn_expire).
func TestDroppedChildTakesParentAlong(t *testing.T) {
	for _, row := range []struct {
		name                     string
		template, assured        bool
		children                 int
		dropped, revived, remain bool
	}{
		{name: "last child of a template", template: true, children: 1, dropped: true},
		{name: "last child of an assured template", template: true, assured: true, children: 1, dropped: true, remain: true},
		{name: "one child of two", template: true, children: 2, dropped: true, remain: true},
		{name: "child that ends by itself", template: true, children: 1, remain: true},
		{name: "child that a packet revives", template: true, children: 1, dropped: true, revived: true, remain: true},
		{name: "last child of a control connection", children: 1, dropped: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			tab := newTable(t, 1000, nil)
			now := Tick(1000)
			p := conn(ip4(192, 0, 2, 7), 0, 3000)
			if row.template {
				p.Flags = FlagTemplate
			}
			parent := insert(t, tab, p, 0, now)
			if row.assured {
				tab.At(parent).Assure()
			}
			var refs []Ref
			for i := range row.children {
				refs = append(refs, insert(t, tab, conn(ip4(192, 0, 2, 7), uint16(40000+i), 100), parent, now))
			}
			if row.dropped {
				for n := 0; n == 0; { // all chains in turn
					for i := range tab.shards {
						for j := range tab.buckets(i) {
							draws := []uint64{uint64(i), uint64(j)}
							n += tab.Sample(now, len(tab.index), func(uint64) uint64 {
								d := draws[0]
								draws = draws[1:]
								return d
							}, func(c *Conn) bool { return c.parent != 0 && c.ClientPort == 40000 })
						}
					}
				}
			}
			if row.revived {
				c := tab.At(refs[0])
				s, _ := tab.Lock(c.Proto, &c.Client, c.ClientPort, now)
				c.Timeout = 500
				s.Touch(refs[0], now)
				s.Unlock()
			}
			for range 5 {
				now++
				tab.Advance(now, 0, 1)
			}
			if !row.dropped {
				now += 200
				tab.Advance(now, 0, 1)
			}
			want := row.children - 1
			if row.revived {
				want = row.children
			}
			if row.remain {
				want++
			}
			if tab.Len() != want {
				t.Errorf("%d entries left, want %d", tab.Len(), want)
			}
			if row.remain && tab.At(parent).Children() != want-1 {
				t.Errorf("the parent counts %d children, want %d", tab.At(parent).Children(), want-1)
			}
		})
	}
}
