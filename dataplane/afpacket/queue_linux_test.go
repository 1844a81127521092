package afpacket

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

func TestLinkTellsInterface(t *testing.T) {
	dir, _ := pair(t)
	ip(t, "-n", dir.name, "link", "set", "d0", "mtu", "1400", "address", "02:00:00:00:12:34")
	dir.do(func() error {
		d, err := New(Config{Interface: "d0"})
		if err != nil {
			return err
		}
		want := dataplane.Link{Name: "d0", MAC: packet.MAC{2, 0, 0, 0, 0x12, 0x34}, MTU: 1400, L2: true, Offload: true}
		if got := d.Link(); got != want {
			t.Errorf("Link() = %+v, want %+v", got, want)
		}
		return nil
	})
}

func TestNewRefuses(t *testing.T) {
	dir, _ := pair(t)
	ip(t, "-n", dir.name, "tuntap", "add", "l3", "mode", "tun")
	for name, c := range map[string]Config{
		"no such interface": {Interface: "nope"},
		"no name":           {},
		"not Ethernet":      {Interface: "l3"},
		"mode":              {Interface: "d0", Mode: Blocks + 1},
		"slots":             {Interface: "d0", RingSlots: -1},
		"many slots":        {Interface: "d0", RingSlots: maxRingSlots + 1},
		"slot size":         {Interface: "d0", SlotSize: minSlotSize - 1},
	} {
		dir.do(func() error {
			if _, err := New(c); err == nil {
				t.Errorf("%s: New(%+v) is accepted", name, c)
			}
			return nil
		})
	}
	dir.do(func() error {
		d, err := New(Config{Interface: "d0"})
		if err != nil {
			return err
		}
		if _, err := d.Open(0); err == nil {
			t.Error("Open(0) is accepted")
		}
		return nil
	})
}

// Frames of all sizes come out as they were sent, in order, also when the ring has
// wrapped several times.
func TestReceiveIsByteIdentical(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, peer := pair(t)
		q := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 64}, 1)[0]
		fd := peer.raw("p0", 0)
		seq := uint32(0)
		for range 8 {
			var want [][]byte
			for range 30 {
				want = append(want, testFrame(14+int(seq*37)%1501, seq))
				send(t, fd, want[len(want)-1])
				seq++
			}
			for i, g := range take(t, q, len(want)) {
				if !bytes.Equal(g.bytes, want[i]) {
					t.Fatalf("frame %d of %d bytes came as %d other bytes", i, len(want[i]), len(g.bytes))
				}
				if g.start < packet.Headroom {
					t.Fatalf("headroom %d, want %d", g.start, packet.Headroom)
				}
				if g.vnet != (packet.Vnet{}) {
					t.Fatalf("vnet %+v on a complete frame", g.vnet)
				}
			}
			idle(t, q)
		}
		s, err := q.Stats()
		s.Peak = 0 // see TestPeakIsToldOnce
		if want := (dataplane.QueueStats{Received: 240}); s != want || err != nil {
			t.Errorf("Stats() = %+v, %v; want %+v", s, err, want)
		}
		if s, _ := q.Stats(); s != (dataplane.QueueStats{}) {
			t.Errorf("second Stats() = %+v, want nothing new", s)
		}
	})
}

func TestTransmitIsByteIdentical(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, peer := pair(t)
		q := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 64}, 1)[0]
		fd := peer.raw("p0", unix.ETH_P_ALL)
		var frames []*packet.Frame
		var want [][]byte
		for i := range 150 { // more than two batches
			want = append(want, testFrame(60+i*9, uint32(i)))
			frames = append(frames, ownFrame(want[i]))
		}
		if n, err := q.Transmit(frames); n != len(frames) || err != nil {
			t.Fatalf("Transmit = %d, %v; want %d", n, err, len(frames))
		}
		buf := make([]byte, 2048)
		for i := range want {
			n, _, err := recv(fd, buf)
			if err != nil || !bytes.Equal(buf[:n], want[i]) {
				t.Fatalf("frame %d: %d bytes, %v; want the %d bytes sent", i, n, err, len(want[i]))
			}
		}
		// Neither its own frames come back nor what other programs of the host send.
		send(t, dir.raw("d0", 0), testFrame(100, 1))
		idle(t, q)
		if s, err := q.Stats(); s != (dataplane.QueueStats{}) || err != nil {
			t.Errorf("Stats() = %+v, %v; want nothing received", s, err)
		}
	})
}

// A received frame goes out by another queue from where it lies, and the room before it
// may be used.
func TestTransmitFromLentMemory(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, peer := pair(t)
		veth(t, dir, "d1", peer, "p1")
		in := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 64}, 1)[0]
		out := dir.open(Config{Interface: "d1", Mode: m, RingSlots: 64}, 1)[0]
		fd0, fd1 := peer.raw("p0", 0), peer.raw("p1", unix.ETH_P_ALL)
		orig := testFrame(600, 7)
		send(t, fd0, orig)
		if n, err := Poll([]int{in.FD()}, time.Second, false); n != 1 || err != nil {
			t.Fatalf("Poll = %d, %v", n, err)
		}
		var f [1]packet.Frame
		if n, err := in.Receive(f[:]); n != 1 || err != nil {
			t.Fatalf("Receive = %d, %v", n, err)
		}
		front := testFrame(packet.Headroom, 8)
		f[0].Start -= packet.Headroom
		copy(f[0].Bytes(), front)
		if n, err := out.Transmit([]*packet.Frame{&f[0]}); n != 1 || err != nil {
			t.Fatalf("Transmit = %d, %v", n, err)
		}
		in.Release()
		buf := make([]byte, 2048)
		n, _, err := recv(fd1, buf)
		if want := append(front, orig...); err != nil || !bytes.Equal(buf[:n], want) {
			t.Errorf("got %d bytes, %v; want the frame behind %d new bytes", n, err, packet.Headroom)
		}
	})
}

// A datagram of a local stack has only its pseudo-header summed (CHECKSUM_PARTIAL).
func TestUnfinishedChecksumIsTold(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, peer := pair(t)
		ip(t, "-n", peer.name, "addr", "add", "10.9.0.1/24", "dev", "p0")
		ip(t, "-n", peer.name, "neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:d0", "dev", "p0")
		q := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 64}, 1)[0]
		peer.do(func() error {
			c, err := net.Dial("udp", "10.9.0.2:7777")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("eight!!!"))
			return err
		})
		g := take(t, q, 1)[0]
		// 14 Ethernet + 20 IPv4 to the UDP header, the checksum at 6 in it (RFC 768).
		if v := g.vnet; v.Flags&packet.VnetNeedsCsum == 0 || v.CsumStart != 34 || v.CsumOffset != 6 || v.GSOType != packet.VnetGSONone {
			t.Errorf("vnet %+v, want an unfinished checksum at 34+6", v)
		}
		// RFC 768 pseudo-header: addresses, zero, protocol, length; folded, not complemented.
		sum := uint32(17 + 16)
		for i := 26; i < 34; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(g.bytes[i:]))
		}
		want := uint16(sum) + uint16(sum>>16)
		if got := binary.BigEndian.Uint16(g.bytes[40:]); got != want {
			t.Errorf("checksum field %#04x, want the pseudo-header's sum %#04x", got, want)
		}
	})
}

// A VLAN's frames are left to the VLAN's interface; a mere priority tag is no VLAN.
func TestVLANFramesAreSkipped(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, peer := pair(t)
		q := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 64}, 1)[0]
		fd := peer.raw("p0", 0)
		plain := testFrame(100, 1)
		tagged := func(tpid, tci uint16) []byte {
			tag := binary.BigEndian.AppendUint16(nil, tpid)
			tag = binary.BigEndian.AppendUint16(tag, tci)
			return append(append(append([]byte(nil), plain[:12]...), tag...), plain[12:]...)
		}
		for range 40 { // more than a Batch has buffers: skipped ones come back by themselves
			send(t, fd, tagged(0x8100, 5))
			send(t, fd, tagged(0x8100, 0xe000|5))
			send(t, fd, tagged(0x88a8, 0)) // a service tag, IEEE 802.1ad: not a priority
			idle(t, q)
			idle(t, q)
			idle(t, q)
		}
		if got, want := skipsOf(q), (skips{vlan: 120}); got != want {
			t.Errorf("skipped %+v, want %+v", got, want)
		}
		send(t, fd, tagged(0x8100, 0xe000))
		if g := take(t, q, 1)[0]; !bytes.Equal(g.bytes, plain) {
			t.Errorf("priority-tagged frame came as %x, want it without its tag", g.bytes)
		}
	})
}

// jumbo is a ring whose slots hold the smaller half of the frames, with a peer's socket.
func jumbo(t *testing.T, slots int) (q dataplane.Queue, fd, fits int) {
	dir, peer := pair(t)
	ip(t, "-n", dir.name, "link", "set", "d0", "mtu", "9000")
	ip(t, "-n", peer.name, "link", "set", "p0", "mtu", "9000")
	q = dir.open(Config{Interface: "d0", RingSlots: slots, SlotSize: 2048}, 1)[0]
	return q, peer.raw("p0", 0), 2048 - (slotAddr + frameStart) - 16 // at most 15 bytes go to alignment
}

// What a queue says of its ring's fill lies between half of the truth and the truth, in
// each mode, and is said once.
func TestPeakIsToldOnce(t *testing.T) {
	dir, peer := pair(t)
	q := dir.open(Config{Interface: "d0", RingSlots: 256}, 1)[0]
	fd := peer.raw("p0", 0)
	var frames [64]packet.Frame
	for _, c := range []struct{ sent, least, most int }{{10, 0, 0}, {100, 20, 40}, {200, 60, 79}, {256, 100, 100}, {0, 0, 0}} {
		for i := range uint32(c.sent) {
			send(t, fd, testFrame(64, i))
		}
		settle()
		for n := 1; n > 0; q.Release() {
			n, _ = q.Receive(frames[:])
		}
		if s, err := q.Stats(); int(s.Peak) < c.least || int(s.Peak) > c.most || err != nil {
			t.Errorf("%d frames in 256 slots: peak %d %%, %v; want %d to %d", c.sent, s.Peak, err, c.least, c.most)
		}
	}
	full := dir.open(Config{Interface: "d0", RingSlots: 8, SlotSize: 2048}, 1)[0] // fewer slots than a batch takes
	for i := range uint32(20) {
		send(t, fd, testFrame(64, i))
	}
	settle()
	if n, err := full.Receive(frames[:]); n != 8 || err != nil {
		t.Errorf("a full ring of 8: Receive = %d, %v", n, err)
	}
	if s, err := full.Stats(); s.Peak != 100 || err != nil {
		t.Errorf("a full ring of 8: %+v, %v; want a peak of 100 %%", s, err)
	}
	full.Close()
	b := dir.open(Config{Interface: "d0", Mode: Batch}, 1)[0]
	if err := unix.SetsockoptInt(b.FD(), unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(1000) { // more than the buffer holds, at the kernel's price of an skb each
		send(t, fd, testFrame(64, i))
	}
	settle()
	for n := 1; n > 0; b.Release() {
		n, _ = b.Receive(frames[:])
	}
	if s, err := b.Stats(); s.Peak < 50 || s.Peak > 100 || s.Dropped == 0 || err != nil {
		t.Errorf("a full batch queue: %+v, %v", s, err)
	}
}

// Large frames end a batch when their buffers are lent: what waits behind them counts too.
func TestPeakOfLargeFrames(t *testing.T) {
	q, fd, _ := jumbo(t, 64)
	for i := range uint32(64) {
		send(t, fd, testFrame(9000, i))
	}
	settle()
	frames := make([]packet.Frame, 64)
	if n, err := q.Receive(frames); n != inboxBufs || err != nil {
		t.Fatalf("Receive = %d, %v; want %d", n, err, inboxBufs)
	}
	if s, err := q.Stats(); s.Peak != 100 || err != nil {
		t.Errorf("a ring full of large frames: %+v, %v; want a peak of 100 %%", s, err)
	}
}

// A full ring loses frames, says so, and nothing else: what is in it stays in order,
// and after Release the next frames come.
func TestRingFull(t *testing.T) {
	dir, peer := pair(t)
	q := dir.open(Config{Interface: "d0", RingSlots: 64}, 1)[0]
	fd := peer.raw("p0", 0)
	for i := range uint32(200) {
		send(t, fd, testFrame(64, i))
	}
	frames := make([]packet.Frame, 100)
	n, err := q.Receive(frames)
	if n != 64 || err != nil {
		t.Fatalf("Receive = %d, %v; want the 64 slots", n, err)
	}
	if k, _ := q.Receive(frames[n:]); k != 0 {
		t.Errorf("%d frames beyond a full ring: lent twice", k)
	}
	for i := range frames[:n] {
		if !bytes.Equal(frames[i].Bytes(), testFrame(64, uint32(i))) {
			t.Fatalf("frame %d is another", i)
		}
	}
	s, err := q.Stats()
	if want := (dataplane.QueueStats{Received: 64, Dropped: 136, Peak: 100}); s != want || err != nil {
		t.Errorf("Stats() = %+v, %v; want %+v", s, err, want)
	}
	q.Release()
	send(t, fd, testFrame(80, 1000))
	if g := take(t, q, 1)[0]; !bytes.Equal(g.bytes, testFrame(80, 1000)) {
		t.Error("the frame after the overflow is another")
	}
}

// Release gives back the slots lent and no other: frames that wait behind them stay.
func TestReleaseIsExact(t *testing.T) {
	dir, peer := pair(t)
	q := dir.open(Config{Interface: "d0", RingSlots: 8, SlotSize: 2048}, 1)[0]
	fd := peer.raw("p0", 0)
	sent, seen := uint32(0), uint32(0)
	var frames [8]packet.Frame
	for sent < 8 {
		send(t, fd, testFrame(64, sent))
		sent++
	}
	for seen < 100 {
		a, _ := q.Receive(frames[:2])
		b, _ := q.Receive(frames[a : a+1])
		for i := range frames[:a+b] {
			if !bytes.Equal(frames[i].Bytes(), testFrame(64, seen)) {
				t.Fatalf("frame %d is another", seen)
			}
			seen++
		}
		q.Release()
		q.Release() // a second one gives nothing
		for ; sent < seen+8; sent++ {
			send(t, fd, testFrame(64, sent))
		}
	}
	if s, _ := q.Stats(); s.Dropped != 0 {
		t.Errorf("%d frames lost: fewer slots were released than lent", s.Dropped)
	}
}

// Frames that the kernel refuses one by one do not take their neighbours with them.
func TestTransmitSkipsRefusedFrames(t *testing.T) {
	dir, peer := pair(t)
	q := dir.open(Config{Interface: "d0", RingSlots: 8, SlotSize: 2048}, 1)[0]
	fd := peer.raw("p0", unix.ETH_P_ALL)
	good := func(i uint32) *packet.Frame { return ownFrame(testFrame(100, i)) }
	badVnet := good(0)
	badVnet.Vnet = packet.Vnet{GSOType: 77, GSOSize: 10} // no such type: EINVAL
	noRoom := good(0)
	noRoom.Start = vnetLen - 1
	empty := good(0)
	empty.End = empty.Start
	beyond := good(0)
	beyond.End = uint32(len(beyond.Buf)) + 1
	large := ownFrame(testFrame(1514+5, 0)) // MTU 1500 and a tag's 4 bytes: EMSGSIZE
	frames := []*packet.Frame{badVnet, good(1), large, good(2), noRoom, empty, beyond, good(3), badVnet}
	if n, err := q.Transmit(frames); n != 3 || err != nil {
		t.Errorf("Transmit = %d, %v; want 3", n, err)
	}
	if got, want := skipsOf(q), (skips{refused: 6}); got != want {
		t.Errorf("Skips() = %+v, want %+v", got, want)
	}
	if s, err := q.Stats(); s.Refused != 6 || s.Full != 0 || err != nil {
		t.Errorf("Stats() = %+v, %v; want 6 refused", s, err)
	}
	if s, _ := q.Stats(); s.Refused != 0 {
		t.Errorf("second Stats() tells %d again", s.Refused)
	}
	buf := make([]byte, 2048)
	for i := uint32(1); i <= 3; i++ {
		if n, _, err := recv(fd, buf); err != nil || !bytes.Equal(buf[:n], testFrame(100, i)) {
			t.Fatalf("good frame %d: %d bytes, %v", i, n, err)
		}
	}
}
