package sched

import "sync/atomic"

// sh is source hashing: the client's address says which server, with sh-port (Flag2)
// its port too; with sh-fallback (Flag1) another one stands in for a server that is
// quiesced or overloaded (ip_vs_sh.c).
type sh struct {
	*list
	flags atomic.Uint32
	table atomic.Pointer[buckets]
}

func newSH(l *list, f Flags) *sh {
	h := &sh{list: l}
	h.SetFlags(f)
	h.rebuild()
	return h
}

// rebuild walks the list round and round; a server takes as many buckets in a row as
// its weight, and one if its weight is 0.
func (h *sh) rebuild() {
	t := new(buckets)
	if servers := h.servers(); len(servers) > 0 {
		at, taken := 0, int32(0)
		for i := range t {
			s := servers[at]
			t[i] = s
			if taken++; taken >= s.Weight.Load() {
				at, taken = (at+1)%len(servers), 0
			}
		}
	}
	h.table.Store(t)
}

func (h *sh) Pick(r *Request) *Server {
	f, t := Flags(h.flags.Load()), h.table.Load()
	hash := hash32(clientPort(r, f)+fold(r.Src, r.V6), bucketBits)
	s := t[hash]
	switch {
	case s == nil:
		return nil
	case s.eligible():
		return s
	case f&Flag1 == 0:
		return nil
	}
	// The hash is added twice, so probing starts at bucket 2*hash: so does the kernel.
	for offset := range uint32(len(t)) {
		roffset := (offset + hash) % uint32(len(t))
		if s := t[(roffset+hash)%uint32(len(t))]; s == nil || s.eligible() {
			return s
		}
	}
	return nil
}

func (h *sh) Add(s *Server) {
	h.list.Add(s)
	h.rebuild()
}

func (h *sh) Edit(*Server) { h.rebuild() }

func (h *sh) Remove(s *Server) {
	h.list.Remove(s)
	h.rebuild()
}

func (h *sh) SetFlags(f Flags) { h.flags.Store(uint32(f)) }
