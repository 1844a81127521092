package xdp

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A ring is one of the four rings of a socket, shared with the kernel (struct xdp_ring in
// net/xdp/xsk_queue.h): one side puts entries and moves producer, the other takes them and
// moves consumer. Both count on and on, modulo 2^32; slots is a power of two.
type ring[T any] struct {
	mem                []byte // the mapping
	producer, consumer *uint32
	slots              []T
}

// mapRing sizes a ring by the socket's option and maps it.
func mapRing[T any](fd, option int, at int64, o unix.XDPRingOffset) (r ring[T], err error) {
	if err = unix.SetsockoptInt(fd, unix.SOL_XDP, option, ringSlots); err != nil {
		return r, fmt.Errorf("ring option %d: %w", option, err)
	}
	var t T
	size := int(o.Desc) + ringSlots*int(unsafe.Sizeof(t))
	if r.mem, err = unix.Mmap(fd, at, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return r, fmt.Errorf("map ring option %d: %w", option, err)
	}
	base := unsafe.Pointer(unsafe.SliceData(r.mem))
	r.producer, r.consumer = (*uint32)(unsafe.Add(base, o.Producer)), (*uint32)(unsafe.Add(base, o.Consumer))
	r.slots = unsafe.Slice((*T)(unsafe.Add(base, o.Desc)), ringSlots)
	return r, nil
}

// take moves what the kernel has put, at most len(to), and returns how many.
func (r *ring[T]) take(to []T) int {
	at := *r.consumer // ours alone
	// The load orders the reads of the slots behind the kernel's writes to them, the store
	// lets it use them again.
	n := min(len(to), int(atomic.LoadUint32(r.producer)-at))
	for i := range n {
		to[i] = r.slots[(at+uint32(i))%ringSlots]
	}
	atomic.StoreUint32(r.consumer, at+uint32(n))
	return n
}

// put gives the kernel entries, as many as there is room for, and returns how many.
func (r *ring[T]) put(from []T) int {
	at := *r.producer
	n := min(len(from), ringSlots-r.waiting())
	for i := range n {
		r.slots[(at+uint32(i))%ringSlots] = from[i]
	}
	atomic.StoreUint32(r.producer, at+uint32(n))
	return n
}

// waiting is how many entries the kernel has not taken.
func (r *ring[T]) waiting() int { return int(*r.producer - atomic.LoadUint32(r.consumer)) }

func (r *ring[T]) unmap() error {
	if r.mem == nil {
		return nil
	}
	err := unix.Munmap(r.mem)
	*r = ring[T]{}
	return err
}
