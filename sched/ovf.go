package sched

// ovf is weighted overflow: as fo, but a server with more active connections than its
// weight is passed over, so it holds up to weight+1 (ip_vs_ovf.c). UDP connections are
// never active, so UDP never overflows.
type ovf struct{ *list }

func (o *ovf) Pick(*Request) (best *Server) {
	var top int32
	for _, s := range o.servers() {
		if w := s.Weight.Load(); w > top && !s.Overload.Load() && s.Active.Load() <= w {
			best, top = s, w
		}
	}
	return best
}
