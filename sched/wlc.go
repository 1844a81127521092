package sched

// wlc is weighted least connection: least overhead for its weight. It is ipvsadm's
// default (ip_vs_wlc.c).
type wlc struct {
	*list
	ovh cost
}

func (w *wlc) Pick(*Request) *Server { return leastLoad(w.servers(), w.ovh) }
