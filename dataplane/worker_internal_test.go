package dataplane

import (
	"testing"
	"unsafe"
)

type mute struct{ Queue }

func (mute) FD() int { return -1 }

// What two workers write with every packet, or every batch, is in no common cache line,
// though they are made one right after the other.
func TestWorkersAreApart(t *testing.T) {
	p, err := New(Config{MaxConnections: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Conns().Close()
	const line = 64
	owner := map[uintptr]int{}
	for i := range 8 {
		w := p.NewWorker([]Queue{mute{}, mute{}})
		for _, s := range []struct{ at, size uintptr }{
			{uintptr(unsafe.Pointer(&w.tx[0])), uintptr(len(w.tx)) * unsafe.Sizeof(w.tx[0])},
			{uintptr(unsafe.Pointer(&w.ports[0])), uintptr(len(w.ports)) * unsafe.Sizeof(w.ports[0])},
			{uintptr(unsafe.Pointer(w.ipID)), unsafe.Sizeof(*w.ipID)},
		} {
			for l := s.at / line; l <= (s.at+s.size-1)/line; l++ {
				if o, taken := owner[l]; taken && o != i {
					t.Errorf("workers %d and %d write to line %#x", o, i, l*line)
				}
				owner[l] = i
			}
		}
	}
}
