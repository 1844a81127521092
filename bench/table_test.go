package bench

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// What the table weighs: resident bytes of a connection, a forced garbage collection, and
// the longest that one stopped the world.
func BenchmarkMemory(b *testing.B) {
	for _, conns := range sizes[1:] {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			debug.FreeOSMemory()
			before := resident(b)
			r := newRig(b, conf.NAT, conns)
			defer r.close()
			runtime.GC()
			each := float64(resident(b)-before) / float64(conns)
			var gc []float64
			var stats debug.GCStats
			debug.ReadGCStats(&stats)
			first := stats.NumGC
			for b.Loop() {
				start := time.Now()
				runtime.GC()
				gc = append(gc, time.Since(start).Seconds()*1e3)
			}
			debug.ReadGCStats(&stats)
			pauses := stats.Pause[:min(int(stats.NumGC-first), len(stats.Pause))]
			b.ReportMetric(each, "B/conn")
			b.ReportMetric(slices.Max(gc), "worst-gc-ms")
			b.ReportMetric(float64(slices.Max(pauses).Microseconds()), "worst-pause-us")
		})
	}
}

// resident is the process's resident memory in bytes.
func resident(tb testing.TB) int {
	tb.Helper()
	s, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Fatal(err)
	}
	pages, err := strconv.Atoi(string(bytes.Fields(s)[1]))
	if err != nil {
		tb.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// expiring makes a rig of whose connections all but busy come due at one tick, which is
// the present.
func expiring(tb testing.TB, conns, busy int) *rig {
	tb.Helper()
	r := newRig(tb, conf.NAT, conns)
	r.rx.next, r.rx.conns = 0, uint32(busy)
	r.now += 14 * time.Minute
	r.turns(busy/64 + 1)
	r.now += time.Minute + 10*time.Second // ESTABLISHED lasts 15 minutes
	return r
}

// A million connections expire at once while others go on: how long a turn of 64 packets
// takes then, and what one expiry costs.
func BenchmarkExpiry(b *testing.B) {
	const conns, busy = 1_000_000, 6400
	var turns, calm []time.Duration
	for b.Loop() {
		b.StopTimer()
		r := expiring(b, conns, busy)
		runtime.GC() // what the making left is not to be swept by the turns
		b.StartTimer()
		for r.plane.Conns().Len() > busy {
			start := time.Now()
			r.turns(1)
			turns = append(turns, time.Since(start))
		}
		b.StopTimer()
		for len(calm) < len(turns) {
			start := time.Now()
			r.turns(1)
			calm = append(calm, time.Since(start))
		}
		r.close()
		b.StartTimer()
	}
	slices.Sort(turns)
	slices.Sort(calm)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	b.ReportMetric(us(turns[len(turns)/2]), "median-turn-us")
	b.ReportMetric(us(turns[len(turns)*999/1000]), "p99.9-turn-us")
	b.ReportMetric(us(turns[len(turns)-1]), "worst-turn-us")
	b.ReportMetric(us(calm[len(calm)*999/1000]), "p99.9-calm-turn-us")
	b.ReportMetric(us(calm[len(calm)-1]), "worst-calm-turn-us")
}

// However many connections come due at once, no turn ends more than a few hundred, and
// all packets of the others pass meanwhile.
func TestExpiryDelaysNoTurn(t *testing.T) {
	const conns, busy, most = 50_000, 640, 256 + 64*5
	r := expiring(t, conns, busy)
	defer r.close()
	sent, turns := r.sent, 0
	for left := conns; left > busy; turns++ {
		r.turns(1)
		now := r.plane.Conns().Len()
		if left-now > most {
			t.Fatalf("%d connections ended in one turn, want at most %d", left-now, most)
		}
		if left = now; turns > conns {
			t.Fatalf("%d connections are left after %d turns", left, turns)
		}
	}
	if n := r.sent - sent; n != 64*turns {
		t.Errorf("%d packets of %d passed", n, 64*turns)
	}
}

// The look at clients' connections for signs of trouble, which goes on every two seconds if a
// service wants it: what a pass over so many costs, and how long the pipeline's turns of 64
// packets take while one follows the other, beside calm ones.
func BenchmarkSigns(b *testing.B) {
	for _, conns := range sizes[1:] {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			r := newRig(b, conf.NAT, conns)
			defer r.close()
			k := conf.ServiceKey{Proto: packet.TCP, Addr: netip.MustParseAddr("192.0.2.100"), Port: 80}
			var servers []dataplane.ServerOf
			list, _ := r.plane.ServersOf(k)
			for i := range list {
				servers = append(servers, dataplane.ServerOf{Service: k, Server: list[i].ID()})
			}
			calm := turnsTake(r, 20_000, nil)
			stop, ended := make(chan struct{}), make(chan struct{})
			go func() { // on a processor of its own, as in a director
				defer close(ended)
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
				for b.Loop() {
					r.plane.Signs(servers, 2*time.Second)
				}
				close(stop)
			}()
			beside := turnsTake(r, 0, stop)
			<-ended
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(conns), "ns/conn")
			b.ReportMetric(calm[len(calm)/2], "calm-turn-us")
			b.ReportMetric(beside[len(beside)/2], "turn-us")
			b.ReportMetric(calm[len(calm)*999/1000], "p99.9-calm-turn-us")
			b.ReportMetric(beside[len(beside)*999/1000], "p99.9-turn-us")
		})
	}
}

// turnsTake is how long turns take, sorted, in microseconds: of n, or until stop.
func turnsTake(r *rig, n int, stop chan struct{}) (took []float64) {
	for {
		select {
		case <-stop:
			slices.Sort(took)
			return took
		default:
		}
		start := time.Now()
		r.turns(1)
		took = append(took, float64(time.Since(start).Nanoseconds())/1e3)
		if n > 0 && len(took) == n {
			slices.Sort(took)
			return took
		}
	}
}
