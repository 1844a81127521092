package encap

import (
	"hash/maphash"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// FuzzReassembler plays random fragments of two datagrams of each family against a model
// that keeps a flag for every byte. Nothing panics, no byte comes twice, and what is
// complete has all the bytes; the store loses no block.
func FuzzReassembler(f *testing.F) {
	f.Add([]byte{0, 0, 2, 0, 1, 0, 2, 8, 4, 1, 0x10, 1})
	f.Add([]byte{2, 3, 16, 2, 1, 9, 2, 0, 24, 2, 3, 8, 0, 1, 1, 2, 1, 13})
	f.Fuzz(func(t *testing.T, ops []byte) { playFragments(t, ops) })
}

func playFragments(t *testing.T, ops []byte) (complete int) {
	r := NewReassembler(Limits{Bytes: 128 << 10, Datagrams: 3, Fragments: 6})
	dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
	type which struct {
		id uint16
		v6 bool
	}
	seen := map[which]map[int]bool{}
	now := time.Duration(0)
	for ; len(ops) >= 3; ops = ops[3:] {
		k := which{uint16(ops[0] & 1), ops[0]&2 != 0}
		p := part{id: k.id, off: 8 * int(ops[1]), size: int(ops[2]), last: ops[0]&4 != 0, df: ops[0]&8 != 0, ecn: ops[0] >> 4 & 2}
		if ops[0]&0x40 != 0 {
			p.size *= 16 // several blocks
		}
		if ops[0]&0x80 != 0 {
			now += 10 * time.Second
			r.Expire(now)
		}
		if p.off == 0 && p.last || !p.last && p.off == 0 && p.size == 0 {
			continue // not a fragment, or one that Parse refuses
		}
		g := p.frame(t, k.v6)
		if !alive(r, g) {
			delete(seen, k)
		}
		res := r.Add(now, g, &dst)
		size := p.size
		if !p.last && !k.v6 {
			size &^= 7
		}
		bytesOf := seen[k]
		if bytesOf == nil {
			bytesOf = map[int]bool{}
			seen[k] = bytesOf
		}
		had := 0
		for i := range size {
			if bytesOf[p.off+i] {
				had++
			}
		}
		switch res.Outcome {
		case FragIncomplete, FragComplete:
			if had != 0 || size == 0 {
				t.Fatalf("%+v: %v though %d bytes were there", p, res.Outcome, had)
			}
			for i := range size {
				bytesOf[p.off+i] = true
			}
		case FragDuplicate:
			if had != size {
				t.Fatalf("%+v: a duplicate with %d new bytes", p, size-had)
			}
		case FragOverlap:
			if had == 0 {
				t.Fatalf("%+v: overlaps nothing", p)
			}
		}
		if res.Outcome == FragComplete {
			complete++
			checkWhole(t, &dst, res, len(bytesOf))
		}
		checkStore(t, r)
	}
	return complete
}

// alive asks the Reassembler itself; TestFragmentRules says when a datagram must die.
func alive(r *Reassembler, f *packet.Frame) bool {
	var g fragment
	return g.read(f) && r.find(&g.key, maphash.Comparable(r.seed, g.key)) != 0
}

func checkWhole(t *testing.T, f *packet.Frame, res Result, size int) {
	t.Helper()
	checkFields(t, f)
	data := f.Buf[f.L4:f.IPEnd]
	if len(data) != size {
		t.Fatalf("%d bytes, want %d", len(data), size)
	}
	for i, b := range data {
		if b != byte(i*7) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	sum := 0
	for _, n := range res.Pieces {
		sum += int(n)
	}
	if sum != size {
		t.Fatalf("pieces of %d bytes", sum)
	}
}

// checkStore counts all blocks and datagrams of r.
func checkStore(t *testing.T, r *Reassembler) {
	t.Helper()
	blocks, live := 0, 0
	for i := r.freeBlock; i != 0; i = r.blocks[i].link {
		blocks++
	}
	if blocks != int(r.freeBlocks) {
		t.Fatalf("%d free blocks, counted as %d", blocks, r.freeBlocks)
	}
	for _, age := range r.ages {
		for i := age.oldest; i != 0; i = r.datagrams[i].newer {
			live++
			d := &r.datagrams[i]
			for at := d.head; at != 0; at = r.blocks[at].link {
				blocks++
			}
			end := uint32(0)
			for p := d.first; p != 0; p = r.blocks[p].piece.next {
				if uint32(r.blocks[p].piece.off) < end {
					t.Fatal("pieces overlap")
				}
				end = r.blocks[p].piece.end()
				if r.blocks[p].piece.next == 0 && d.last != p {
					t.Fatal("the last piece is another")
				}
				for at := p; at != 0; at = r.blocks[at].link {
					blocks++
				}
			}
		}
	}
	if live != r.live || blocks != len(r.blocks)-1 {
		t.Fatalf("%d datagrams counted as %d; %d of %d blocks", live, r.live, blocks, len(r.blocks)-1)
	}
}

// TestRandomFragments runs the fuzz target's game often enough to complete many.
func TestRandomFragments(t *testing.T) {
	rnd := rng(33)
	complete := 0
	for range 3000 {
		var ops []byte
		for range 60 {
			flags := byte(rnd.IntN(16))
			if rnd.IntN(20) == 0 {
				flags = byte(rnd.Uint32())
			}
			ops = append(ops, flags, byte(rnd.IntN(4)), byte(8*rnd.IntN(4)))
		}
		complete += playFragments(t, ops)
	}
	if complete < 1000 {
		t.Errorf("only %d were completed", complete)
	}
}

// FuzzReassembleFrames gives any two frames that Parse takes, as they are.
func FuzzReassembleFrames(f *testing.F) {
	for _, c := range kernelFragments {
		f.Add(unhex(f, c.in[0]), unhex(f, c.in[1]), true)
	}
	f.Fuzz(func(t *testing.T, a, b []byte, l2 bool) {
		r := NewReassembler(Limits{Bytes: 1, Datagrams: 4})
		dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
		out := packet.Frame{Buf: make([]byte, MaxReassembled)}
		for _, raw := range [][]byte{a, b, a} {
			g := lend(raw, l2)
			if g.Parse() != packet.None {
				return
			}
			res := r.Add(0, g, &dst)
			if res.Outcome == FragComplete {
				checkFields(t, &dst)
				var frag Fragmenter
				for frag.ResetReceived(&dst, 1280, res.Received); frag.Next(&out); {
					checkFields(t, &out)
				}
			}
			checkStore(t, r)
		}
	})
}
