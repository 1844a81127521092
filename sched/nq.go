package sched

// nq is never queue: the first idle server of the list whatever its weight, else as
// sed (ip_vs_nq.c).
type nq struct{ *list }

// Pick does not stop at a good server: an idle one later in the list wins over it.
func (q *nq) Pick(*Request) *Server {
	servers := q.servers()
	for _, s := range servers {
		if s.eligible() && s.Active.Load() == 0 {
			return s
		}
	}
	return leastLoad(servers, delay)
}
