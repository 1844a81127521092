package arp

import "time"

// timers is a binary heap of the entries that have a deadline, soonest first. Entries
// know their place in it, so a deadline can be moved. Every method is handed the slab.
type timers []ref

// set gives r the deadline due, in place of any it had.
func (h *timers) set(slab []entry, r ref, due time.Duration) {
	e := &slab[r]
	e.due = due
	if e.timer < 0 {
		e.timer = int32(len(*h))
		*h = append(*h, r)
	}
	h.down(slab, h.up(slab, int(e.timer)))
}

// clear takes r's deadline away, if it has one.
func (h *timers) clear(slab []entry, r ref) {
	i := int(slab[r].timer)
	if i < 0 {
		return
	}
	slab[r].timer = -1
	last := len(*h) - 1
	moved := (*h)[last]
	*h = (*h)[:last]
	if i == last {
		return
	}
	(*h)[i] = moved
	slab[moved].timer = int32(i)
	h.down(slab, h.up(slab, i))
}

func (h timers) up(slab []entry, i int) int {
	for i > 0 {
		parent := (i - 1) / 2
		if slab[h[parent]].due <= slab[h[i]].due {
			break
		}
		h.swap(slab, i, parent)
		i = parent
	}
	return i
}

func (h timers) down(slab []entry, i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && slab[h[child+1]].due < slab[h[child]].due {
			child++
		}
		if slab[h[i]].due <= slab[h[child]].due {
			return
		}
		h.swap(slab, i, child)
		i = child
	}
}

func (h timers) swap(slab []entry, i, j int) {
	h[i], h[j] = h[j], h[i]
	slab[h[i]].timer, slab[h[j]].timer = int32(i), int32(j)
}
