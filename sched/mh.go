package sched

import (
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// The constants of ip_vs_mh.c with the default IP_VS_MH_TAB_INDEX of 12. The keys are
// fixed, so all directors with the same servers in the same order agree.
const (
	mhSlots = 4093 // primes[12-8]
	mhBits  = 6    // IP_VS_MH_TAB_INDEX / 2: bits that are kept of a weight
	mhKey1  = 2654435761
	mhKey2  = 2654446892
)

// mh is Maglev hashing: as sh, but when a server comes or goes few of the other
// servers' clients move (ip_vs_mh.c; Eisenbud et al., Maglev, NSDI 2016, section 3.4).
// mh-port is Flag2, mh-fallback Flag1.
//
// The table takes 4093 steps to fill, so it is made when it is first asked for after a
// change: servers that are added one after the other cost one table.
type mh struct {
	*list
	flags   atomic.Uint32
	changes atomic.Uint64 // counts what makes a table old
	known   atomic.Uint64 // the changes that table knows of
	mu      sync.Mutex    // of who makes the next table
	table   atomic.Pointer[mhTable]
}

// mhTable is either full or, without a server that has ever had a weight, empty: slots
// is then nil. It is never changed once it is in use.
type mhTable struct {
	servers []*Server
	slots   []uint16 // indexes of servers
}

func newMH(l *list, f Flags) (*mh, error) {
	if n := len(l.servers()); n > mhSlots {
		return nil, fmt.Errorf("scheduler mh: %d servers, at most %d", n, mhSlots)
	}
	m := &mh{list: l}
	m.SetFlags(f)
	m.rebuild()
	return m, nil
}

// rebuild makes the table anew, unless another worker did so meanwhile. It keeps the old
// table when there are more servers than slots, as the kernel does: ip_vs_mh_reassign fails
// and its caller does not look.
func (m *mh) rebuild() {
	m.mu.Lock()
	defer m.mu.Unlock()
	changes := m.changes.Load()
	if m.table.Load() != nil && m.known.Load() == changes {
		return
	}
	if servers := m.servers(); len(servers) <= mhSlots {
		m.table.Store(&mhTable{servers: servers, slots: populate(servers)})
	}
	m.known.Store(changes)
}

// current is the table for the servers as they are.
func (m *mh) current() *mhTable {
	if m.known.Load() != m.changes.Load() {
		m.rebuild()
	}
	return m.table.Load()
}

// turns returns how many slots each server takes in a row: its share of the weights,
// scaled down to mhBits bits and at least 1. The last weight counts, so quiescing a
// server does not move anyone. All are 0 if all last weights are.
func turns(servers []*Server) []int {
	var div, top int64
	for _, s := range servers {
		if w := int64(s.LastWeight.Load()); w > 0 {
			div, top = gcd(w, div), max(top, w)
		}
	}
	n := make([]int, len(servers))
	if div == 0 {
		return n
	}
	shift := max(0, bits.Len64(uint64(top/div))-mhBits)
	for i, s := range servers {
		if w := int64(s.LastWeight.Load()); w > 0 {
			n[i] = max(1, int(w/div>>shift))
		}
	}
	return n
}

// populate fills the slots. Each server visits them in an order of its own, given by a
// start and a step; the servers take turns at taking their next free slot. mhSlots is
// prime, so every step reaches every slot.
func populate(servers []*Server) []uint16 {
	type walk struct {
		at, step uint32
		turns    int
		server   uint16
	}
	const free = 0xffff // mhSlots is less, so it is no index

	walks := make([]walk, 0, len(servers))
	for i, n := range turns(servers) {
		if n == 0 {
			continue
		}
		s := servers[i]
		x := uint32(s.Port) + fold(s.Addr, s.V6)
		walks = append(walks, walk{
			at:     hsiphash(x, mhKey1) % mhSlots,
			step:   hsiphash(x, mhKey2)%(mhSlots-1) + 1,
			turns:  n,
			server: uint16(i),
		})
	}
	if len(walks) == 0 {
		return nil
	}
	slots := slices.Repeat([]uint16{free}, mhSlots)
	for left := mhSlots; ; {
		for i := range walks {
			w := &walks[i]
			for range w.turns {
				for slots[w.at] != free {
					if w.at += w.step; w.at >= mhSlots {
						w.at -= mhSlots
					}
				}
				slots[w.at] = w.server
				if left--; left == 0 {
					return slots
				}
			}
		}
	}
}

// at returns the server that x hashes to. The table must not be empty.
func (t *mhTable) at(x uint32) *Server { return t.servers[t.slots[hsiphash(x, mhKey1)%mhSlots]] }

func (m *mh) Pick(r *Request) *Server {
	f, t := Flags(m.flags.Load()), m.current()
	if t.slots == nil {
		return nil
	}
	x := clientPort(r, f) + fold(r.Src, r.V6)
	slot := hsiphash(x, mhKey1) % mhSlots
	if s := t.servers[t.slots[slot]]; s.eligible() {
		return s
	}
	// Without an eligible server the search could only fail, after 4093 hashes.
	if f&Flag1 == 0 || !slices.ContainsFunc(t.servers, (*Server).eligible) {
		return nil
	}
	for offset := range uint32(mhSlots) {
		roffset := (offset + slot) % mhSlots
		if s := t.at(x + roffset); s.eligible() {
			return s
		}
	}
	return nil
}

func (m *mh) Add(s *Server) {
	if len(m.servers()) == mhSlots {
		m.current() // the last table that is full: from now on it stays
	}
	m.list.Add(s)
	m.changes.Add(1)
}

func (m *mh) Edit(*Server) { m.changes.Add(1) }

func (m *mh) Remove(s *Server) {
	m.list.Remove(s)
	m.changes.Add(1)
}

func (m *mh) SetFlags(f Flags) { m.flags.Store(uint32(f)) }
