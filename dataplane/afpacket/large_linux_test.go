package afpacket

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// Frames that no slot holds come whole and in their place among the others, with their
// headroom, however often ring and buffers went round.
func TestLargeFramesKeepTheirPlace(t *testing.T) {
	q, fd, fits := jumbo(t, 64)
	seq := uint32(0)
	for range 10 {
		var want [][]byte
		for i := range 50 {
			size := fits
			if i%3 != 0 {
				size = 3000 + 100*i
			}
			want = append(want, testFrame(size, seq))
			send(t, fd, want[i])
			seq++
		}
		for i, g := range take(t, q, len(want)) {
			if !bytes.Equal(g.bytes, want[i]) || g.start < packet.Headroom {
				t.Fatalf("frame %d of %d bytes came as %d others behind %d", i, len(want[i]), len(g.bytes), g.start)
			}
		}
		idle(t, q)
	}
	if got := skipsOf(q); got != (skips{}) {
		t.Errorf("skipped %+v, want none", got)
	}
}

// Large frames are lent together, no more of them than there are buffers, and none is
// written over before Release.
func TestLargeFramesAreLentTogether(t *testing.T) {
	q, fd, _ := jumbo(t, 64)
	const sent = inboxBufs + 8
	for i := range uint32(sent) {
		send(t, fd, testFrame(9000, i))
	}
	frames := make([]packet.Frame, sent)
	settle()
	n, err := q.Receive(frames)
	if n != inboxBufs || err != nil {
		t.Fatalf("Receive = %d, %v; want %d", n, err, inboxBufs)
	}
	if k, err := q.Receive(frames[n:]); k != 0 || err != nil {
		t.Fatalf("%d frames more, %v: a buffer is lent twice", k, err)
	}
	for i := range frames[:n] {
		if !bytes.Equal(frames[i].Bytes(), testFrame(9000, uint32(i))) {
			t.Fatalf("frame %d is another", i)
		}
	}
	q.Release()
	for i, g := range take(t, q, sent-n) {
		if !bytes.Equal(g.bytes, testFrame(9000, uint32(n+i))) {
			t.Fatalf("frame %d is another", n+i)
		}
	}
}

// A VLAN's large frame is skipped as a small one is, and the next large one is itself.
func TestLargeVLANFrameIsSkipped(t *testing.T) {
	q, fd, _ := jumbo(t, 8)
	plain := testFrame(8000, 1)
	for range inboxBufs + 8 {
		send(t, fd, append(append(bytes.Clone(plain[:12]), 0x81, 0, 0, 5), plain[12:]...))
		idle(t, q)
	}
	send(t, fd, plain)
	if g := take(t, q, 1)[0]; !bytes.Equal(g.bytes, plain) {
		t.Error("the frame after them is another")
	}
	if got, want := skipsOf(q), (skips{vlan: inboxBufs + 8}); got != want {
		t.Errorf("skipped %+v, want %+v", got, want)
	}
}

// Large frames beyond what the socket's queue holds are lost, and counted as such; the
// small ones among them are not.
func TestLargeFramesBeyondTheQueueAreDropped(t *testing.T) {
	q, fd, fits := jumbo(t, 256)
	if err := unix.SetsockoptInt(q.FD(), unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(100) {
		send(t, fd, testFrame(9000, i))
		send(t, fd, testFrame(fits, i))
	}
	settle()
	large, small, last := 0, 0, -1
	frames := make([]packet.Frame, 64)
	for n := 1; n > 0; q.Release() {
		n, _ = q.Receive(frames)
		for i := range frames[:n] {
			b := frames[i].Bytes()
			seq := int(binary.BigEndian.Uint32(b[14:]))
			if !bytes.Equal(b, testFrame(len(b), uint32(seq))) || seq < last {
				t.Fatalf("frame of %d bytes, number %d after %d, is another or out of order", len(b), seq, last)
			}
			last = seq
			if len(b) == fits {
				small++
			} else {
				large++
			}
		}
	}
	s, err := q.Stats()
	if small != 100 || large == 0 || large == 100 || s.Received != uint64(100+large) || s.Dropped != uint64(100-large) || err != nil {
		t.Errorf("%d small and %d large frames came, Stats() = %+v, %v", small, large, s, err)
	}
}
