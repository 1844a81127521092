package sched

// delay is the expected delay of sed and nq: active connections and the one to come
// (ip_vs_sed_dest_overhead).
var delay = cost{active: 1, base: 1}

// sed is shortest expected delay: least (active+1) for its weight (ip_vs_sed.c).
type sed struct{ *list }

func (d *sed) Pick(*Request) *Server { return leastLoad(d.servers(), delay) }
