package bench

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A calibration is work that no change of the director touches: what a pipeline would do
// for a packet, in as few lines as possible, over as much memory as that many connections
// take. It tracks what the machine can do at the moment, so benchmarks are judged by their
// ratio to it.
func BenchmarkCalibration(b *testing.B) {
	for _, conns := range sizes {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			c := newCalibration(conns)
			defer c.close()
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
	defer c.close()
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
	memory  []byte
	entries [][16]uint64 // in it, two cache lines, as an entry and its bucket
	at      [64]uint64
	next    uint64
	turn    int
}

// mostEntries are half a gigabyte, which no cache and no list of pages holds.
const mostEntries = 4_000_000

// newCalibration takes its memory as the connection table does, in huge pages if there are
// any.
func newCalibration(conns int) *calibration {
	const size = int(unsafe.Sizeof([16]uint64{}))
	n := min(conns, mostEntries)
	b, err := unix.Mmap(-1, 0, n*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		panic(err)
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	c := &calibration{memory: b, entries: unsafe.Slice((*[16]uint64)(unsafe.Pointer(&b[0])), n)}
	for i := range c.entries {
		c.entries[i][0] = uint64(i)
	}
	return c
}

func (c *calibration) close() { _ = unix.Munmap(c.memory) }

// batch makes 64 frames and looks at a place anywhere for each, as if it were a bucket; then
// it works on each frame and counts in an entry, which come one after the other. Its steps
// are independent and as many as a pipeline takes, so that a neighbour on the same core, or
// slow memory, slows both alike.
func (c *calibration) batch() {
	var here uint64
	for i := range c.frames {
		f := c.frames[i][:]
		c.next++
		binary.BigEndian.PutUint64(f[12:], c.next)
		hi, lo := bits.Mul64(binary.LittleEndian.Uint64(f[12:])^0xa0761d6478bd642f, 0xe7037ed1a0b428db)
		at, _ := bits.Mul64(hi^lo, uint64(len(c.entries)))
		c.at[i] = at
		here += c.entries[at][0] // nothing waits for it: the memory of a whole batch is on its way at once
	}
	for i := range c.frames {
		f, e := c.frames[i][:64], &c.entries[c.turn]
		if c.turn++; c.turn == len(c.entries) {
			c.turn = 0
		}
		x, y, z, odd := here, e[8], e[9], uint64(0)
		for range 20 {
			for j := 0; j < 64; j += 16 {
				v, w := binary.LittleEndian.Uint64(f[j:]), binary.LittleEndian.Uint64(f[j+8:])
				x += v ^ w>>7
				y ^= v + w<<3
				z += w & 0x00ff00ff00ff00ff
				if (v^w)&1 != 0 {
					odd++
				}
			}
		}
		binary.BigEndian.PutUint64(f[16:], x^odd)
		e[8], e[9] = y, z
		c.entries[c.at[i]][1]++
	}
}
