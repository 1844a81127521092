package dataplane

import (
	"iter"
	"sync/atomic"
)

// serverTable finds servers by the number that connections keep. Workers look things up
// while the one writer changes it: it only grows, and a freed number is given again when
// no connection has it any more. The zero serverTable is empty.
type serverTable struct {
	list atomic.Pointer[[]atomic.Pointer[Server]]
	next uint32   // the writer's: numbers from here on were never given
	idle []uint32 // the writer's: numbers to give again
}

// at is the server of a number that was given.
func (t *serverTable) at(id uint32) *Server { return (*t.list.Load())[id].Load() }

// add gives s a number.
func (t *serverTable) add(s *Server) (id uint32) {
	if n := len(t.idle); n > 0 {
		id, t.idle = t.idle[n-1], t.idle[:n-1]
	} else {
		id = t.next
		t.next++
	}
	list := t.list.Load()
	if list == nil || int(id) >= len(*list) {
		list = t.grow(list)
	}
	(*list)[id].Store(s)
	return id
}

// grow doubles the table. Workers may go on with the old one: what they look up stands in
// both.
func (t *serverTable) grow(old *[]atomic.Pointer[Server]) *[]atomic.Pointer[Server] {
	if old == nil {
		old = &[]atomic.Pointer[Server]{}
	}
	list := make([]atomic.Pointer[Server], max(64, 2*len(*old)))
	for i := range *old {
		list[i].Store((*old)[i].Load())
	}
	t.list.Store(&list)
	return &list
}

// free takes a number back, which no connection has.
func (t *serverTable) free(id uint32) {
	(*t.list.Load())[id].Store(nil)
	t.idle = append(t.idle, id)
}

// all are the servers in use or in the trash. Safe for workers.
func (t *serverTable) all() iter.Seq[*Server] {
	return func(yield func(*Server) bool) {
		list := t.list.Load()
		if list == nil {
			return
		}
		for i := range *list {
			if s := (*list)[i].Load(); s != nil && !yield(s) {
				return
			}
		}
	}
}

// serviceOrder lists services in the order they were added. A removed one leaves a hole,
// and half of holes are filled at once, so that neither costs a walk along the list.
type serviceOrder struct {
	list  []*Service
	holes int
}

func (o *serviceOrder) add(s *Service) {
	s.at = len(o.list)
	o.list = append(o.list, s)
}

func (o *serviceOrder) remove(s *Service) {
	o.list[s.at] = nil
	if o.holes++; o.holes <= len(o.list)/2 {
		return
	}
	var kept []*Service
	for s := range o.all() {
		s.at = len(kept)
		kept = append(kept, s)
	}
	o.list, o.holes = kept, 0
}

func (o *serviceOrder) all() iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		for _, s := range o.list {
			if s != nil && !yield(s) {
				return
			}
		}
	}
}
