package conntrack

import (
	"context"
	"runtime/debug"
	"testing"
)

// After Populate a table that fills makes the process no larger.
func TestPopulatedTableStaysAsItIs(t *testing.T) {
	const entries, size = 200_000, 200_000 * 100 // an entry and its part of a bucket have more
	tab := newTable(t, entries, nil)
	debug.FreeOSMemory()
	empty := resident(t)
	if err := tab.Populate(t.Context()); err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory()
	ready := resident(t)
	for i := range entries {
		insert(t, tab, conn(ip4(10, byte(i>>16), byte(i>>8), byte(i)), uint16(i*7), 1000), 0, 0)
	}
	debug.FreeOSMemory() // what the test made
	full := resident(t)
	t.Logf("resident: %d KiB, populated %d, full %d", empty>>10, ready>>10, full>>10)
	if raceEnabled {
		return // the table is on the heap then
	}
	if ready-empty < size {
		t.Errorf("populated by %d KiB, want %d at least", (ready-empty)>>10, size>>10)
	}
	if full-ready > size/10 {
		t.Errorf("it grew by %d KiB more", (full-ready)>>10)
	}
}

func TestPopulateEndsWithItsContext(t *testing.T) {
	tab := newTable(t, 1_000_000, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	debug.FreeOSMemory()
	before := resident(t)
	if err := tab.Populate(ctx); err != nil {
		t.Fatal(err)
	}
	if grown := resident(t) - before; !raceEnabled && grown > 32<<20 {
		t.Errorf("%d MiB were taken", grown>>20)
	}
}
