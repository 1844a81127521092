package sched

// twos is the power of two random choices: draw two servers by weight, take the one
// with less overhead for its weight (ip_vs_twos.c).
type twos struct {
	*list
	ovh    cost
	random func(n uint64) uint64
}

func (t *twos) Pick(*Request) *Server {
	servers := t.servers()
	var total int64
	for _, s := range servers {
		if s.eligible() {
			total += int64(s.Weight.Load())
		}
	}
	if total == 0 {
		return nil
	}
	// The kernel draws from [0, total], both ends included: the first server is
	// favoured by one part.
	r1 := int64(t.random(uint64(total) + 1))
	r2 := int64(t.random(uint64(total) + 1))

	c1, w1 := draw(servers, r1)
	c2, w2 := draw(servers, r2)
	if c1 == nil || c2 == nil { // a weight fell since the sum was taken
		if c1 == nil {
			return c2
		}
		return c1
	}
	// The kernel's ints: 32 bits, wrapping.
	if w2*t.ovh.of(c1) > w1*t.ovh.of(c2) {
		return c2
	}
	return c1
}

// draw returns the eligible server in whose share of the weights r falls, and its
// weight.
func draw(servers []*Server, r int64) (*Server, int32) {
	for _, s := range servers {
		w := s.Weight.Load()
		if w <= 0 || s.Overload.Load() {
			continue
		}
		if r -= int64(w); r <= 0 {
			return s, w
		}
	}
	return nil, 0
}
