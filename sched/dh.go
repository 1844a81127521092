package sched

import "sync/atomic"

// buckets is the table of dh and sh: 2^8 of them, as IP_VS_DH_TAB_BITS and the default
// of IP_VS_SH_TAB_BITS say. All are nil for a service without servers.
type buckets [1 << bucketBits]*Server

const bucketBits = 8

// dh is destination hashing: the packet's destination address says which server
// (ip_vs_dh.c). It has no fallback.
type dh struct {
	*list
	table atomic.Pointer[buckets]
}

func newDH(l *list) *dh {
	d := &dh{list: l}
	d.rebuild()
	return d
}

// rebuild deals the buckets out evenly: weights do not count.
func (d *dh) rebuild() {
	t := new(buckets)
	if servers := d.servers(); len(servers) > 0 {
		for i := range t {
			t[i] = servers[i%len(servers)]
		}
	}
	d.table.Store(t)
}

func (d *dh) Pick(r *Request) *Server {
	s := d.table.Load()[hash32(fold(r.Dst, r.V6), bucketBits)]
	if s == nil || !s.Available.Load() || !s.eligible() {
		return nil
	}
	return s
}

func (d *dh) Add(s *Server) {
	d.list.Add(s)
	d.rebuild()
}

func (d *dh) Remove(s *Server) {
	d.list.Remove(s)
	d.rebuild()
}
