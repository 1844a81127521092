package afpacket

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A link without carrier takes nothing. The first Transmit waits its bound, the next
// does not, and all is well when the carrier is back.
func TestTransmitWithoutCarrier(t *testing.T) {
	dir, peer := pair(t)
	q := dir.open(Config{Interface: "d0", RingSlots: 8, SlotSize: 2048}, 1)[0]
	ip(t, "-n", peer.name, "link", "set", "p0", "down")
	frames := []*packet.Frame{ownFrame(testFrame(100, 1)), ownFrame(testFrame(100, 2))}
	start := time.Now()
	if n, err := q.Transmit(frames); n != 0 || err != nil {
		t.Fatalf("Transmit = %d, %v; want 0 without error", n, err)
	}
	if d := time.Since(start); d < sendPatience || d > time.Second {
		t.Errorf("waited %v, want about %v", d, sendPatience)
	}
	best := time.Hour
	for range 5 {
		start = time.Now()
		if n, err := q.Transmit(frames); n != 0 || err != nil {
			t.Fatalf("Transmit = %d, %v; want 0 without error", n, err)
		}
		best = min(best, time.Since(start))
	}
	if best >= sendPatience {
		t.Errorf("a link known to take nothing is waited for again, %v", best)
	}
	if s, err := q.Stats(); s.Full != 12 || s.Refused != 0 || err != nil {
		t.Errorf("Stats() = %+v, %v; want 12 frames that met a full queue", s, err)
	}
	ip(t, "-n", peer.name, "link", "set", "p0", "up")
	fd := peer.raw("p0", unix.ETH_P_ALL)
	if n, err := q.Transmit(frames); n != 2 || err != nil {
		t.Fatalf("with carrier: Transmit = %d, %v; want 2", n, err)
	}
	buf := make([]byte, 2048)
	if n, _, err := recv(fd, buf); err != nil || !bytes.Equal(buf[:n], testFrame(100, 1)) {
		t.Errorf("with carrier: %d bytes, %v", n, err)
	}
	ip(t, "-n", peer.name, "link", "set", "p0", "down")
	start = time.Now()
	if n, _ := q.Transmit(frames); n != 0 || time.Since(start) < sendPatience {
		t.Errorf("carrier lost again: Transmit = %d after %v, want a new wait", n, time.Since(start))
	}
}

func TestLinkDownUpGone(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, peer := pair(t)
		q := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 64}, 1)[0]
		fd := peer.raw("p0", 0)
		one := []*packet.Frame{ownFrame(testFrame(100, 1))}
		for range 3 {
			ip(t, "-n", dir.name, "link", "set", "d0", "down")
			if n, err := q.Transmit(one); n != 0 || !errors.Is(err, ErrLinkDown) || !errors.Is(err, unix.ENETDOWN) {
				t.Errorf("down: Transmit = %d, %v; want ErrLinkDown", n, err)
			}
			if err := firstError(t, q); err != ErrLinkDown {
				t.Errorf("down: Receive says %v, want ErrLinkDown", err)
			}
			// Told once: the descriptor must not be ready forever.
			if n, err := Poll([]int{q.FD()}, 10*time.Millisecond, false); n != 0 || err != nil {
				t.Errorf("down: Poll = %d, %v; want a wait", n, err)
			}
			ip(t, "-n", dir.name, "link", "set", "d0", "up")
			send(t, fd, testFrame(100, 2))
			if g := take(t, q, 1)[0]; !bytes.Equal(g.bytes, testFrame(100, 2)) {
				t.Error("up again: another frame came")
			}
			if n, err := q.Transmit(one); n != 1 || err != nil {
				t.Errorf("up again: Transmit = %d, %v", n, err)
			}
		}
		ip(t, "-n", dir.name, "link", "del", "d0")
		if n, err := q.Transmit(one); n != 0 || !errors.Is(err, ErrGone) || !errors.Is(err, unix.ENODEV) {
			t.Errorf("gone: Transmit = %d, %v; want ErrGone", n, err)
		}
		if err := firstError(t, q); err != ErrGone {
			t.Errorf("gone: Receive says %v, want ErrGone", err)
		}
	})
}

// The kernel reports a removed interface as one that went down first; seen in two
// steps, the queue still finds out.
func TestGoneAfterDown(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, _ := pair(t)
		q := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 8, SlotSize: 2048}, 1)[0]
		ip(t, "-n", dir.name, "link", "set", "d0", "down")
		if err := firstError(t, q); err != ErrLinkDown {
			t.Errorf("Receive says %v, want ErrLinkDown", err)
		}
		ip(t, "-n", dir.name, "link", "del", "d0")
		if err := firstError(t, q); err != ErrGone {
			t.Errorf("Receive says %v, want ErrGone", err)
		}
	})
}

// A link that goes down while large frames wait: they still come, each in its own slot's
// place, and so do those after it came up; that it was down is told once.
func TestLargeFramesAcrossLinkDown(t *testing.T) {
	dir, peer := pair(t)
	ip(t, "-n", dir.name, "link", "set", "d0", "mtu", "9000")
	ip(t, "-n", peer.name, "link", "set", "p0", "mtu", "9000")
	q := dir.open(Config{Interface: "d0", RingSlots: 64}, 1)[0]
	fd := peer.raw("p0", 0)
	var frames [8]packet.Frame
	for seq := uint32(0); seq < 9; seq += 3 {
		large := func(i uint32) []byte { return testFrame(8000+int(seq+i), seq+i) }
		send(t, fd, large(0))
		send(t, fd, large(1))
		settle()
		ip(t, "-n", dir.name, "link", "set", "d0", "down")
		n, err := q.Receive(frames[:])
		if n != 2 || err != nil {
			t.Fatalf("down: Receive = %d, %v; want the 2 frames that came before", n, err)
		}
		for i := range frames[:n] {
			if !bytes.Equal(frames[i].Bytes(), large(uint32(i))) {
				t.Errorf("down: frame %d is another", i)
			}
		}
		q.Release()
		if n, err := q.Receive(frames[:]); n != 0 || err != ErrLinkDown {
			t.Errorf("down: Receive = %d, %v; want ErrLinkDown", n, err)
		}
		if err := firstError(t, q); err != nil {
			t.Errorf("down: told again, %v", err)
		}
		if n, err := Poll([]int{q.FD()}, 10*time.Millisecond, false); n != 0 || err != nil {
			t.Errorf("down: Poll = %d, %v; want a wait", n, err)
		}
		ip(t, "-n", dir.name, "link", "set", "d0", "up")
		send(t, fd, large(2))
		if g := take(t, q, 1)[0]; !bytes.Equal(g.bytes, large(2)) {
			t.Error("up again: another frame came")
		}
	}
	if got := skipsOf(q); got != (skips{}) {
		t.Errorf("skipped %+v, want none", got)
	}
}

// firstError receives until an error comes.
func firstError(t *testing.T, q dataplane.Queue) error {
	t.Helper()
	var f [1]packet.Frame
	for range 2 * emptyPerCheck {
		if _, err := q.Receive(f[:]); err != nil {
			return err
		}
	}
	return nil
}

func TestClosedQueue(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, _ := pair(t)
		q := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 8, SlotSize: 2048}, 1)[0]
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if err := q.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if err := firstError(t, q); err != errClosed {
			t.Errorf("Receive says %v, want %v", err, errClosed)
		}
		if _, err := q.Transmit([]*packet.Frame{ownFrame(testFrame(100, 1))}); err != errClosed {
			t.Errorf("Transmit says %v, want %v", err, errClosed)
		}
		if _, err := q.Stats(); err != errClosed {
			t.Errorf("Stats says %v, want %v", err, errClosed)
		}
		q.Release()
	})
}
