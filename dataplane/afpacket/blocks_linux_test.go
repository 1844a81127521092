package afpacket

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// A ring whose blocks are all full loses frames, says so, and nothing else: what is in it
// stays in order, and after Release the next frames come. While it fills, the kernel may lose
// single frames too: one that comes just as its timer ends a block finds no room if the
// block a quarter of the ring ahead is full (__packet_rcv_has_room).
func TestBlocksFull(t *testing.T) {
	const sent = 30_000
	dir, peer := pair(t)
	q := dir.open(Config{Interface: "d0", Mode: Blocks, RingSlots: 64}, 1)[0]
	fd := peer.raw("p0", 0)
	for i := range uint32(sent) {
		send(t, fd, testFrame(64, i))
	}
	settle()
	frames := make([]packet.Frame, sent)
	n, err := q.Receive(frames)
	// A block is given over after a millisecond, be it ever so empty.
	if n < 10*minBlocks || n >= sent || err != nil {
		t.Fatalf("Receive = %d, %v", n, err)
	}
	if k, _ := q.Receive(frames[n:]); k != 0 {
		t.Errorf("%d frames beyond a full ring: lent twice", k)
	}
	seq, gaps := uint32(0), 0
	for i := range frames[:n] {
		for ; gaps < 5 && !bytes.Equal(frames[i].Bytes(), testFrame(64, seq)); seq++ {
			gaps++
		}
		if gaps == 5 {
			t.Fatalf("frame %d of %d is another: %x", i, n, frames[i].Bytes())
		}
		seq++
	}
	s, err := q.Stats()
	if s.Received != uint64(n) || s.Dropped != uint64(sent-n) || s.Peak != 100 || err != nil {
		t.Errorf("Stats() = %+v, %v; want %d received of %d and a peak of 100 %%", s, err, n, sent)
	}
	q.Release()
	send(t, fd, testFrame(80, sent))
	if g := take(t, q, 1)[0]; !bytes.Equal(g.bytes, testFrame(80, sent)) {
		t.Error("the frame after the overflow is another")
	}
}

// Blocks go back when they are read to the end, and no sooner: frames lent from one stay as
// they are while others come, and no frame is lost while there is room.
func TestBlocksRelease(t *testing.T) {
	dir, peer := pair(t)
	q := dir.open(Config{Interface: "d0", Mode: Blocks, RingSlots: 16384}, 1)[0] // 132 blocks, which last as many milliseconds
	fd := peer.raw("p0", 0)
	var frames [300]packet.Frame
	sent, seen := uint32(0), uint32(0)
	for seen < 40_000 {
		for ; sent < seen+500; sent++ {
			send(t, fd, testFrame(64+int(sent%200), sent))
		}
		if n, err := Poll([]int{q.FD()}, 0, false); err != nil || n == 0 {
			settle()
		}
		a, errA := q.Receive(frames[:100+seen%150])
		b, errB := q.Receive(frames[a : a+7])
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		for i := range frames[:a+b] {
			if want := testFrame(64+int(seen%200), seen); !bytes.Equal(frames[i].Bytes(), want) {
				t.Fatalf("frame %d is another", seen)
			}
			if f := &frames[i]; f.Start < packet.Headroom || int(f.End) > len(f.Buf) || cap(f.Buf) != len(f.Buf) {
				t.Fatalf("frame %d is [%d:%d] of %d bytes", seen, f.Start, f.End, len(f.Buf))
			}
			seen++
		}
		q.Release()
		q.Release() // a second one gives nothing
	}
	if s, err := q.Stats(); s.Dropped != 0 || err != nil {
		t.Errorf("%+v, %v: frames were lost", s, err)
	}
}

// A record that leads nowhere ends its block: what the header counts behind it is malformed,
// and the header itself is never taken for a record.
func TestBlockThatLeadsNowhere(t *testing.T) {
	b := &blocks{core: core{fd: -1}, mem: make([]byte, 2*blockBytes), n: 2}
	block := b.block(0)
	h := b.header(0)
	h.status, h.num, h.first = unix.TP_STATUS_USER, 3, 48
	r := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[48]))
	r.Snaplen, r.Len, r.Mac, r.Status = 60, 60, 162, unix.TP_STATUS_USER
	var frames [8]packet.Frame
	if n, err := b.Receive(frames[:]); n != 1 || err != nil || b.skips != (skips{malformed: 2}) {
		t.Errorf("Receive = %d, %v; skipped %+v", n, err, b.skips)
	}
	b.Release()
	if h.status != unix.TP_STATUS_KERNEL || b.taken != 0 || b.rel != 1 {
		t.Errorf("status %d, %d taken from %d: the block did not go back", h.status, b.taken, b.rel)
	}
}

// A record that the kernel has begun and not ended still tells of the frame that was there
// a lap before: it is no frame. Nor does a record's frame reach into the next one.
func TestRecordThatWasOnlyBegun(t *testing.T) {
	for _, c := range []struct {
		name              string
		status, next, len uint32
		want              verdict
	}{
		{"ended", unix.TP_STATUS_USER, 224, 60, lent},
		{"the last one", unix.TP_STATUS_USER, 0, 60, lent},
		{"only begun", 0, 224, 60, skipMalformed},
		{"only begun, of a VLAN", unix.TP_STATUS_VLAN_VALID, 224, 60, skipMalformed},
		{"longer than its record", unix.TP_STATUS_USER, 224, 63, skipMalformed},
		{"as long as its record", unix.TP_STATUS_USER, 224, 62, lent},
	} {
		block := make([]byte, 4096)
		r := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[48]))
		r.Next_offset, r.Snaplen, r.Len, r.Mac, r.Status = c.next, c.len, c.len, 162, c.status
		off := uint32(48)
		var f packet.Frame
		if v := readRecord(block, &off, &f); v != c.want || (off == 0) != (c.next == 0) {
			t.Errorf("%s: %d, then at %d; want %d", c.name, v, off, c.want)
		}
	}
}

// The sizes and places that the reading of blocks counts on.
func TestBlockLayout(t *testing.T) {
	var h unix.Tpacket3Hdr
	var b blockHeader
	for name, p := range map[string][2]uintptr{
		"sizeof(tpacket3_hdr)": {unsafe.Sizeof(h), recordAddr},
		"tp_snaplen":           {unsafe.Offsetof(h.Snaplen), 12},
		"tp_len":               {unsafe.Offsetof(h.Len), 16},
		"tp_mac":               {unsafe.Offsetof(h.Mac), 24},
		"tp_vlan_tci":          {unsafe.Offsetof(h.Hv1) + unsafe.Offsetof(h.Hv1.Vlan_tci), 32},
		"tp_vlan_tpid":         {unsafe.Offsetof(h.Hv1) + unsafe.Offsetof(h.Hv1.Vlan_tpid), 36},
		"block_status":         {unsafe.Offsetof(b.status), 8},
		"num_pkts":             {unsafe.Offsetof(b.num), 12},
		"offset_to_first_pkt":  {unsafe.Offsetof(b.first), 16},
	} {
		if p[0] != p[1] {
			t.Errorf("%s is %d, want %d", name, p[0], p[1])
		}
	}
}

// Whatever a block holds, no frame leaves it, and reading it comes to an end.
func FuzzRecord(f *testing.F) {
	record := func(next, snaplen, length, status uint32, mac uint16, frame int) []byte {
		b := make([]byte, int(mac)+frame)
		binary.NativeEndian.PutUint32(b, next)
		binary.NativeEndian.PutUint32(b[12:], snaplen)
		binary.NativeEndian.PutUint32(b[16:], length)
		binary.NativeEndian.PutUint32(b[20:], status)
		binary.NativeEndian.PutUint16(b[24:], mac)
		return b
	}
	f.Add(append(record(224, 60, 60, 1, 162, 62), record(0, 60, 60, 1, 162, 60)...), uint32(0))
	f.Add(record(8, 60, 60, 1, 162, 60), uint32(0))
	f.Add(record(1<<31, 1<<31, 1<<31, 1, 162, 60), uint32(0))
	f.Add(record(0, 60, 60, 1, 162, 60), uint32(1<<32-8))
	f.Add(record(0, 60, 60, 1, 0xffff, 60), uint32(0))
	f.Fuzz(func(t *testing.T, in []byte, off uint32) {
		block := make([]byte, (len(in)+7)/8*8)
		copy(block, in)
		before := bytes.Clone(block)
		for range len(block)/8 + 1 {
			var fr packet.Frame
			at := off
			v := readRecord(block, &off, &fr)
			if !bytes.Equal(block, before) {
				t.Fatal("reading changed the block")
			}
			if v == lent {
				mac := uint32(binary.NativeEndian.Uint16(block[at+24:]))
				if want := block[at+mac:][:binary.NativeEndian.Uint32(block[at+12:])]; !bytes.Equal(fr.Bytes(), want) || fr.Start < packet.Headroom {
					t.Fatalf("frame [%d:%d] of the record at %d", fr.Start, fr.End, at)
				}
			} else if fr.Buf != nil {
				t.Fatalf("skipped (%d) and lent", v)
			}
			if off == 0 {
				return
			}
			if off <= at {
				t.Fatalf("from %d to %d", at, off)
			}
		}
		t.Fatal("it does not end")
	})
}
