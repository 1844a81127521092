package bench

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"testing"
	"time"
)

// A calibration is work that no change of the director touches: what a pipeline would do
// for a packet, in as few lines as possible, over as much memory as that many connections
// take. It tracks what the machine can do at the moment, so benchmarks are judged by their
// ratio to it.
func BenchmarkCalibration(b *testing.B) {
	for _, conns := range sizes {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			c := newCalibration(conns)
			for n := 0; b.Loop(); n++ {
				if n%64 == 0 {
					c.batch()
				}
			}
		})
	}
}

// beside measures batch, which is 64 packets: a turn of the calibration loop passes, unseen
// by the timer, after every few thousand of them, and the ratio of the two is reported.
func beside(b *testing.B, conns int, batch func()) {
	const every = 64 << 10
	c := newCalibration(conns)
	var took time.Duration
	loops := 0
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%every == every/2 {
			b.StopTimer()
			c.batch() // its memory is warm again
			start := time.Now()
			for range every / 64 / 8 {
				c.batch()
			}
			took += time.Since(start)
			loops += every / 8
			b.StartTimer()
		}
		if n%64 == 0 {
			batch()
		}
	}
	if loops > 0 {
		b.ReportMetric(float64(b.Elapsed())/float64(b.N)/(float64(took)/float64(loops)), "calibrations")
	}
}

type calibration struct {
	frames  [64][128]byte
	entries [][16]uint64 // two cache lines, as an entry and its bucket
	at      [64]uint64
	next    uint64
}

// mostEntries are more than any cache holds.
const mostEntries = 2_000_000

func newCalibration(conns int) *calibration {
	c := &calibration{entries: make([][16]uint64, min(conns, mostEntries))}
	for i := range c.entries {
		c.entries[i][0] = uint64(i)
	}
	return c
}

// batch makes 64 frames, finds an entry for each, counts there, and sums each frame.
func (c *calibration) batch() {
	for i := range c.frames {
		f := c.frames[i][:]
		c.next++
		binary.BigEndian.PutUint64(f[12:], c.next)
		hi, lo := bits.Mul64(binary.LittleEndian.Uint64(f[12:])^0xa0761d6478bd642f, 0xe7037ed1a0b428db)
		at, _ := bits.Mul64(hi^lo, uint64(len(c.entries)))
		c.at[i] = at
	}
	for i := range c.frames {
		f, e := c.frames[i][:], &c.entries[c.at[i]]
		sum := uint64(0)
		for range 4 {
			for j := 0; j < 64; j += 8 {
				v, carry := bits.Add64(sum, binary.LittleEndian.Uint64(f[j:]), 0)
				sum = v + carry
			}
		}
		binary.BigEndian.PutUint64(f[16:], sum^e[0])
		e[1]++
		e[9] += sum
	}
}
