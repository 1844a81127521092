package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// A batch of any method, in steady state, allocates nothing.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	for name, method := range map[string]conf.Forward{"nat": conf.NAT, "dr": conf.DR, "tun": conf.Tunnel} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t, method, 1000)
			defer b.close()
			b.turns(100)
			if n := testing.AllocsPerRun(200, func() { b.turns(1) }); n != 0 {
				t.Errorf("%v allocations for a batch of 64", n)
			}
			if b.sent == 0 {
				t.Fatal("nothing was sent")
			}
		})
	}
}

// sizes are how many connections are alive while a benchmark runs.
var sizes = []int{1000, 1_000_000, 10_000_000}

// Packets of established connections, round robin over all of them: the whole pipeline
// from a lent frame to the transmit list, the making of the frame included.
func BenchmarkEstablished(b *testing.B) {
	for _, m := range []struct {
		name   string
		method conf.Forward
	}{{"nat", conf.NAT}, {"dr", conf.DR}, {"tun", conf.Tunnel}} {
		for _, conns := range sizes {
			b.Run(fmt.Sprintf("%s/conns=%d", m.name, conns), func(b *testing.B) {
				r := keptRig(b, func() *rig { return newRig(b, m.method, conns) })
				beside(b, conns, func() { r.turns(1) })
			})
		}
	}
}

// The frames of BenchmarkEstablished, made and thrown away: what the harness itself costs.
func BenchmarkHarness(b *testing.B) {
	sent := 0
	l := &lender{proto: packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10}), Dst: packet.AddrFrom4([4]byte{192, 0, 2, 100}), DstPort: 80, Proto: packet.TCP}, Payload: make([]byte, 10)}.Frame(), conns: 1000, on: true, out: &sent}
	for i := range l.bufs {
		l.bufs[i] = make([]byte, 256)
	}
	var frames [64]packet.Frame
	for n := 0; b.Loop(); n++ {
		if n%64 == 0 {
			_, _ = l.Receive(frames[:])
		}
	}
}

// New connections over 100 servers: service, scheduler, entry, counts, rewrite.
func BenchmarkNewConnections(b *testing.B) {
	for _, s := range []string{"rr", "wlc"} {
		b.Run(s, func(b *testing.B) {
			const bound = 4_000_000
			again := func(r *rig) { // all end, and the next ones get their places in any order
				r.plane.Conns().ExpireIf(conntrack.TickOf(r.now), func(*conntrack.Conn) bool { return true })
				r.now += time.Second
				r.plane.Conns().Advance(conntrack.TickOf(r.now), 0, 1)
			}
			r := keptRig(b, func() *rig {
				r := newRigServers(b, conf.NAT, 0, bound, 100, s)
				r.rx.conns = 1 << 31
				r.turns((bound - 64) / 64)
				again(r)
				return r
			})
			beside(b, 1_000_000, func() {
				if r.plane.Conns().Len() > bound-64 {
					b.StopTimer()
					again(r)
					b.StartTimer()
				}
				r.turns(1)
			})
		})
	}
}
