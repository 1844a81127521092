package bench

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// turnPackets are what a crew's worker takes in a turn: a batch of each port.
const turnPackets = 2 * 64

// A crew is workers over the table of a rig, each with requests by one port and answers by
// the other.
type crew struct {
	*rig
	workers []*dataplane.Worker
	sent    []int // by worker
}

// newCrew gives each worker its share of the connections; crossed: and another's share of
// the answers, so that the two directions of a connection never meet.
func newCrew(b *testing.B, workers, conns int, crossed bool) *crew {
	b.Helper()
	c := &crew{rig: newRigServers(b, conf.NAT, conns, 1_000_000, 1, "rr"), sent: make([]int, workers*16)}
	share := uint32(conns / workers)
	answer := packet.Spec{
		Flow:   packet.Flow{Src: packet.AddrFrom4([4]byte{172, 16, 0, 1}), SrcPort: 80, DstPort: 1024, Proto: packet.TCP},
		EthDst: dirMACs[1], EthSrc: packet.MAC{2, 0, 0, 0, 1}, DF: true, TCPFlags: packet.ACK, Payload: make([]byte, 10),
	}
	for i := range workers {
		from := i
		if crossed {
			from = workers - 1 - i
		}
		out := &c.sent[i*16] // a cache line or two away from the next
		requests := &lender{proto: c.rx.proto, flags: packet.ACK, first: uint32(i) * share, conns: share, on: true, out: out}
		answers := &lender{proto: answer.Frame(), flags: packet.ACK, first: uint32(from) * share, next: share / 2, conns: share, on: true, answers: true, out: out}
		for j := range requests.bufs {
			requests.bufs[j], answers.bufs[j] = make([]byte, 256), make([]byte, 256)
		}
		c.workers = append(c.workers, c.plane.NewWorker([]dataplane.Queue{requests, answers}))
	}
	return c
}

// Requests and answers of established NAT connections: by one worker; by two, on CPUs of
// their own, that share a table, with a connection's directions on one worker or on both;
// and by two that share nothing, which is what the machine's second CPU can give. An op is
// a packet of any worker.
func BenchmarkWorkers(b *testing.B) {
	for _, conns := range []int{1000, 100_000} {
		for _, c := range []struct {
			name           string
			crews, workers int
			crossed        bool
		}{{"1", 1, 1, false}, {"2", 1, 2, false}, {"2-crossed", 1, 2, true}, {"2-apart", 2, 1, false}} {
			b.Run(fmt.Sprintf("conns=%d/%s", conns, c.name), func(b *testing.B) {
				var crews []*crew
				for range c.crews {
					crews = append(crews, newCrew(b, c.workers, conns, c.crossed))
					defer crews[len(crews)-1].close()
				}
				each := b.N/(c.crews*c.workers*turnPackets) + 1
				b.ReportAllocs()
				b.ResetTimer()
				work(b, crews, each)
				b.StopTimer()
				b.ReportMetric(float64(each*c.crews*c.workers*turnPackets)/b.Elapsed().Seconds()/1e6, "Mpackets/s")
			})
		}
	}
}

// work lets all workers take so many turns at once, and sees that no packet is lost.
func work(b *testing.B, crews []*crew, turns int) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU())) // others are measured with one
	var done sync.WaitGroup
	cpu := 0
	for _, c := range crews {
		for i, w := range c.workers {
			at := cpu % runtime.NumCPU()
			cpu++
			done.Go(func() {
				runtime.LockOSThread() // for good: the thread ends with the goroutine
				var set unix.CPUSet
				set.Set(at)
				if err := unix.SchedSetaffinity(0, &set); err != nil {
					b.Errorf("pin to CPU %d: %v", at, err)
				}
				for range turns {
					if i == 0 {
						atomic.AddInt64((*int64)(&c.now), int64(100*time.Microsecond))
					}
					if _, _, err := w.Turn(); err != nil {
						b.Error(err)
						return
					}
				}
				if n := c.sent[i*16]; n != turns*turnPackets {
					b.Errorf("%d of %d packets were sent", n, turns*turnPackets)
				}
			})
		}
	}
	done.Wait()
}
