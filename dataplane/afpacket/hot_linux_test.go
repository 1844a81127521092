package afpacket

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// A full batch received, forwarded and released, and a look at an empty queue, take
// nothing from the heap.
func TestHotPathDoesNotAllocate(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, peer := pair(t)
		veth(t, dir, "d1", peer, "p1")
		in := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 64}, 1)[0]
		out := dir.open(Config{Interface: "d1", Mode: m, RingSlots: 64}, 1)[0]
		fd := peer.raw("p0", 0)
		const full = inboxBufs
		b := testFrame(100, 1)
		var frames [full]packet.Frame
		var ptrs [full]*packet.Frame
		for i := range frames {
			ptrs[i] = &frames[i]
		}
		fds := []int{in.FD()}
		var bad string
		run := func() {
			for range full {
				if _, err := unix.Write(fd, b); err != nil {
					bad = err.Error()
				}
			}
			for got := 0; got < full && bad == ""; { // blocks may come as two
				if n, err := Poll(fds, time.Second, false); n != 1 || err != nil {
					bad = "poll"
				}
				if n, err := Poll(fds, time.Second, true); n != 1 || err != nil {
					bad = "poll"
				}
				n, err := in.Receive(frames[got:])
				if err != nil {
					bad = "receive"
				}
				got += n
			}
			if n, err := out.Transmit(ptrs[:]); n != full || err != nil {
				bad = "transmit"
			}
			in.Release()
			for range emptyPerCheck {
				if n, err := in.Receive(frames[:]); n != 0 || err != nil {
					bad = "empty receive"
				}
			}
		}
		if n := testing.AllocsPerRun(200, run); n != 0 || bad != "" {
			t.Errorf("%v allocations a batch (trouble: %q), want none", n, bad)
		}
	})
}

// A raw poll cannot be told to hold its P for long. (Its length is no proof: the Go
// scheduler's preemption signal, after 10 ms, would end a longer one, too.)
func TestRawTimeout(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		-1: 0, 0: 0, time.Millisecond: time.Millisecond, 20 * time.Millisecond: RawPollMax, 1<<63 - 1: RawPollMax,
	} {
		if got := rawTimeout(d); got != want {
			t.Errorf("rawTimeout(%v) = %v, want %v", d, got, want)
		}
	}
}

// Both kinds of poll see the same.
func TestPoll(t *testing.T) {
	dir, peer := pair(t)
	q := dir.open(Config{Interface: "d0", RingSlots: 8, SlotSize: 2048}, 1)[0]
	for _, raw := range []bool{false, true} {
		start := time.Now()
		if n, err := Poll([]int{-1, q.FD()}, 20*time.Millisecond, raw); n != 0 || err != nil {
			t.Errorf("raw %v, nothing there: Poll = %d, %v", raw, n, err)
		}
		if d := time.Since(start); d < time.Millisecond && !raw {
			t.Errorf("ordinary poll came back after %v", d)
		}
		if n, err := Poll([]int{q.FD()}, -time.Second, raw); n != 0 || err != nil {
			t.Errorf("raw %v, negative timeout: Poll = %d, %v", raw, n, err)
		}
	}
	send(t, peer.raw("p0", 0), testFrame(64, 1))
	for _, raw := range []bool{false, true} {
		if n, err := Poll([]int{-1, q.FD()}, 5*time.Second, raw); n != 1 || err != nil {
			t.Errorf("raw %v, one frame there: Poll = %d, %v", raw, n, err)
		}
	}
	if _, err := Poll(make([]int, pollMax+1), 0, false); err == nil {
		t.Error("too many descriptors are accepted")
	}
	if n, err := Poll([]int{1 << 20}, 0, false); n != 1 || err != nil { // POLLNVAL: the queue's next call says what is wrong
		t.Errorf("descriptor that is not open: Poll = %d, %v; want it ready", n, err)
	}
}

// BenchmarkEmptyReceive is one look at an empty queue.
func BenchmarkEmptyReceive(b *testing.B) {
	for _, m := range []Mode{Ring, Batch, Blocks} {
		b.Run(m.String(), func(b *testing.B) {
			dir, _ := pair(b)
			q := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 64}, 1)[0]
			var frames [32]packet.Frame
			for b.Loop() {
				if n, err := q.Receive(frames[:]); n != 0 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// BenchmarkForward sends b.N frames of 64 bytes through a wire and reports what arrives
// behind it. Sender, wire and the kernel's softirqs share the CPUs, so only rows of one
// run compare.
func BenchmarkForward(b *testing.B) {
	for _, c := range []struct {
		name string
		cfg  Config
		raw  bool
	}{
		{"ring-128K", Config{}, false},
		{"ring-128K-raw", Config{}, true},
		{"ring-68K-raw", Config{SlotSize: 68 << 10}, true},
		{"ring-4096x2K-raw", Config{SlotSize: 2 << 10, RingSlots: 4096}, true},
		{"batch", Config{Mode: Batch}, false},
		{"batch-raw", Config{Mode: Batch}, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			client, _, server, w := through(b, c.cfg, c.raw)
			out := client.open(Config{Interface: "c0", RingSlots: 8, SlotSize: 2048}, 1)[0]
			var frames [64]*packet.Frame
			for i := range frames {
				frames[i] = ownFrame(testFrame(64, uint32(i)))
			}
			before := server.received("s0")
			b.ResetTimer()
			for n := 0; n < b.N; {
				k, err := out.Transmit(frames[:min(len(frames), b.N-n)])
				if err != nil {
					b.Fatal(err)
				}
				n += max(k, 1)
			}
			w.settled()
			b.StopTimer()
			arrived := server.received("s0") - before
			b.ReportMetric(float64(arrived)/1e3/b.Elapsed().Seconds(), "kpps")
			b.ReportMetric(100*(1-float64(arrived)/float64(b.N)), "%lost")
		})
	}
}

// settled waits until the wire has forwarded all it received.
func (w *wire) settled() {
	for a, b := uint64(0), w.frames.Load()+1; a != b; a, b = b, w.frames.Load() {
		settle()
	}
}

// received is how many packets an interface has received, by its own counter.
func (n *ns) received(iface string) (count uint64) {
	n.tb.Helper()
	n.do(func() error {
		l, err := netlink.LinkByName(iface)
		if err == nil {
			count = l.Attrs().Statistics.RxPackets
		}
		return err
	})
	return count
}

// BenchmarkRoundTrip is the time of a lone UDP datagram and its echo through a wire,
// both ends being blocking sockets of the kernel.
func BenchmarkRoundTrip(b *testing.B) {
	for _, c := range []struct {
		name string
		cfg  Config
		raw  bool
	}{
		{"ring", Config{}, false},
		{"ring-raw", Config{}, true},
		{"batch", Config{Mode: Batch}, false},
		{"batch-raw", Config{Mode: Batch}, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			client, _, server, w := through(b, c.cfg, c.raw)
			echo := server.udp("10.9.0.2:7")
			go func() {
				buf := make([]byte, 64)
				for {
					n, from, err := recv(echo, buf)
					if err != nil || n == 0 {
						return
					}
					_ = unix.Sendto(echo, buf[:n], 0, from)
				}
			}()
			b.Cleanup(func() { unix.Shutdown(echo, unix.SHUT_RDWR) })
			fd := client.udp("10.9.0.1:9")
			to := &unix.SockaddrInet4{Port: 7, Addr: [4]byte{10, 9, 0, 2}}
			buf := make([]byte, 64)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for b.Loop() {
				if err := unix.Sendto(fd, []byte("x"), 0, to); err != nil {
					b.Fatal(err)
				}
				if n, _, err := recv(fd, buf); n != 1 || err != nil {
					b.Fatalf("no echo: %v; the wire forwarded %d frames, lost %d", err, w.frames.Load(), w.lost.Load())
				}
			}
		})
	}
}

// udp is a bound, blocking UDP socket that gives up after five seconds.
func (n *ns) udp(addr string) (fd int) {
	n.tb.Helper()
	a, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		n.tb.Fatal(err)
	}
	n.do(func() error {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())})
	})
	n.tb.Cleanup(func() { unix.Close(fd) })
	tv := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		n.tb.Fatal(err)
	}
	return fd
}
