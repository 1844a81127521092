package encap

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// TestFloodOfFirstFragments: a million datagrams that are never completed neither grow
// the memory nor keep honest ones out; the oldest go first.
func TestFloodOfFirstFragments(t *testing.T) {
	r := NewReassembler(Limits{Bytes: 256 << 10, Datagrams: 300})
	dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
	f := part{size: 800}.frame(t, false)
	tail := part{off: 800, size: 8, last: true}.frame(t, false)
	now := time.Duration(0)
	flood := func(n uint32) {
		now += time.Microsecond
		binary.BigEndian.PutUint32(f.Flow.Src[12:], n>>8)
		binary.BigEndian.PutUint16(f.Buf[f.L3+4:], uint16(n))
		if got := r.Add(now, f, &dst).Outcome; got != FragIncomplete {
			t.Fatal(got)
		}
	}
	const all = 1_000_000
	n := uint32(0)
	allocs := testing.AllocsPerRun(1, func() {
		for range all / 2 {
			flood(n)
			n++
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	// 512 blocks hold 170 of them: two for the data, one for the header.
	if r.Len() != 170 || r.Count(FragEvicted) != all-170 {
		t.Errorf("%d datagrams, %d evicted", r.Len(), r.Count(FragEvicted))
	}
	finish := func(n uint32) Outcome {
		binary.BigEndian.PutUint32(tail.Flow.Src[12:], n>>8)
		binary.BigEndian.PutUint16(tail.Buf[tail.L3+4:], uint16(n))
		return r.Add(now, tail, &dst).Outcome
	}
	if got := finish(all - 171); got != FragIncomplete {
		t.Error("an old one outlived newer ones: ", got)
	}
	if got := finish(all - 170); got != FragComplete {
		t.Error("the oldest one that there was room for is gone: ", got)
	}
	small := NewReassembler(Limits{Datagrams: 10})
	r = small
	for n := range uint32(25) {
		flood(n)
	}
	if r.Len() != 10 || r.Count(FragEvicted) != 15 {
		t.Errorf("%d datagrams, %d evicted", r.Len(), r.Count(FragEvicted))
	}
}

func TestReassemblyDoesNotAllocate(t *testing.T) {
	rnd := rng(32)
	r := NewReassembler(Limits{})
	dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
	out := packet.Frame{Buf: make([]byte, MaxReassembled)}
	var frag Fragmenter
	for range 20 {
		s, _, _, frames := randomFragments(rnd, 3000)
		var in []*packet.Frame
		for _, b := range frames {
			in = append(in, load(t, b, s.l2))
		}
		if n := testing.AllocsPerRun(50, func() {
			var res Result
			for _, f := range in {
				res = r.Add(0, f, &dst)
			}
			if res.Outcome != FragComplete || !frag.ResetReceived(&dst, 1500, res.Received) && dst.IPLen() > 1500 && res.MaxLen <= 1500 {
				t.Fatal(res.Outcome)
			}
			for frag.Next(&out) {
			}
		}); n != 0 {
			t.Fatalf("%v allocations", n)
		}
	}
}
