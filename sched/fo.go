package sched

// fo is weighted failover: all to the eligible server with the greatest weight, the
// first one in the list among equals (ip_vs_fo.c).
type fo struct{ *list }

func (f *fo) Pick(*Request) (best *Server) {
	var top int32
	for _, s := range f.servers() {
		if w := s.Weight.Load(); w > top && !s.Overload.Load() {
			best, top = s, w
		}
	}
	return best
}
