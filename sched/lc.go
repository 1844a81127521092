package sched

// lc is least connection: the eligible server with the least overhead, the first one
// in the list among equals; weights other than 0 do not matter (ip_vs_lc.c).
type lc struct {
	*list
	ovh cost
}

func (l *lc) Pick(*Request) (best *Server) {
	var least uint32 // ip_vs_lc.c compares unsigned ints, unlike wlc
	for _, s := range l.servers() {
		if !s.eligible() {
			continue
		}
		if o := uint32(l.ovh.of(s)); best == nil || o < least {
			best, least = s, o
		}
	}
	return best
}
