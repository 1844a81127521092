package sched

// slab keeps cells of one kind in one array and names them by place, so that what
// refers to a cell holds no pointer. Places count from 1; 0 is no cell. The zero slab
// is empty. A pointer into cells is good until the next take.
type slab[T any] struct {
	cells []T
	free  []uint32
}

// take returns the place of a zero cell.
func (s *slab[T]) take() uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	if len(s.cells) == 0 {
		s.cells = make([]T, 1, 16)
	}
	var zero T
	s.cells = append(s.cells, zero)
	return uint32(len(s.cells) - 1)
}

// give returns a cell; its place will be taken again.
func (s *slab[T]) give(i uint32) {
	var zero T
	s.cells[i] = zero
	s.free = append(s.free, i)
}

// at is the cell at a place.
func (s *slab[T]) at(i uint32) *T { return &s.cells[i] }

// roster numbers the servers that cache entries refer to. A number stands as long as
// an entry holds it, also when its server has left the service, and it leads to the
// same server when that one comes back. The zero roster is empty.
type roster struct {
	slab[rosterCell]
	ids map[*Server]uint32
}

type rosterCell struct {
	server *Server
	refs   uint32
}

// hold returns the number of s and counts one more reference to it.
func (r *roster) hold(s *Server) uint32 {
	id, ok := r.ids[s]
	if !ok {
		if r.ids == nil {
			r.ids = make(map[*Server]uint32)
		}
		id = r.take()
		r.at(id).server = s
		r.ids[s] = id
	}
	r.at(id).refs++
	return id
}

// release takes back one reference; the last one frees the number.
func (r *roster) release(id uint32) {
	c := r.at(id)
	if c.refs--; c.refs == 0 {
		delete(r.ids, c.server)
		r.give(id)
	}
}

// server is the one with that number.
func (r *roster) server(id uint32) *Server { return r.at(id).server }
