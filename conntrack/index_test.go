package conntrack

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A bucket against a plain list, newest first: after every change both hold the same
// entries in the same order, each lane has its entry's tag, and there are no gaps.
func TestBucketAgainstList(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	tab := newTable(t, 1000, nil)
	var b bucket
	var list, free []Ref
	for r := range Ref(40) {
		tab.conns[r+1] = *conn(ip4(192, 0, 2, byte(r)), uint16(r), 1000)
		free = append(free, r+1)
	}
	tag := func(r Ref) uint64 { return tagOf(tab.hashOf(&tab.conns[r])) }
	longest := 0
	for range 50000 {
		if grows := rng.IntN(40) >= len(list); grows && len(free) > 0 {
			i := rng.IntN(len(free))
			r := free[i]
			free = slices.Delete(free, i, i+1)
			b.push(tab.conns, r, tag(r))
			list = slices.Insert(list, 0, r)
		} else if len(list) > 0 {
			i := rng.IntN(len(list))
			b.remove(tab, list[i])
			free, list = append(free, list[i]), slices.Delete(list, i, i+1)
		}
		if got := slices.Collect(b.all(tab.conns)); !slices.Equal(got, list) {
			t.Fatalf("%v, want %v", got, list)
		}
		for i, r := range list[:min(len(list), lanes)] {
			if first := b.holders(tag(r)); first>>i&1 == 0 || tag(list[lane(first)]) != tag(r) {
				t.Fatalf("lane %d of %v: holders %b, which must name it and begin with an entry of its tag", i, list, first)
			}
		}
		for i, r := range b.refs {
			want := uint64(0)
			if i < len(list) {
				want = tag(list[i])
			}
			if got := b.tags[i/4] >> (16 * (i % 4)) & 0xffff; got != want {
				t.Fatalf("lane %d of %v has tag %#x, want %#x of entry %d", i, list, got, want, r)
			}
		}
		longest = max(longest, len(list))
	}
	if longest <= lanes+1 {
		t.Errorf("at most %d entries: nothing was beyond the lanes", longest)
	}
}

// Of the lanes that hold a tag, same misses none, whatever stands beside them.
func TestSameMissesNoLane(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 1))
	for range 200000 {
		tag := tagOf(rng.Uint64())
		var w, want uint64
		for i := range 4 {
			v := tag
			switch rng.IntN(4) {
			case 0:
				v = tagOf(rng.Uint64())
			case 1:
				v = tag ^ 1<<rng.IntN(16)
			case 2:
				v = 0
			}
			w |= v << (16 * i)
			if v == tag {
				want |= 0x8000 << (16 * i)
			}
		}
		got := same(w, tag)
		if got&want != want {
			t.Fatalf("same(%#x, %#x) = %#x, want all of %#x", w, tag, got, want)
		}
		if lowest := want & -want; got&-got != lowest && want != 0 {
			t.Fatalf("same(%#x, %#x) = %#x: the first is not the first that holds it", w, tag, got)
		}
		if want == 0 && got != 0 {
			t.Fatalf("same(%#x, %#x) = %#x, want none", w, tag, got)
		}
	}
}
