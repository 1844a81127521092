//go:build linux && !race

package conntrack

import (
	"context"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve takes address space for n zeroed elements, which hold no pointers, outside the
// Go heap. Memory is taken from the system as elements are first used, or by populate, in
// huge pages where granted.
func reserve[T any](n int) ([]T, func(), error) {
	size := n * int(unsafe.Sizeof(*new(T)))
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, fmt.Errorf("connection table: reserve %d MiB: %w", size>>20, err)
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // only a wish
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n), func() { _ = unix.Munmap(b) }, nil
}

// populatePiece is how much memory is taken between two looks whether to go on, in bytes.
const populatePiece = 16 << 20

// populate takes the memory of elements from the system, until ctx ends: what reserve gave
// or the first part of it, in use or not. Linux before 5.14 cannot.
func populate[T any](ctx context.Context, list []T) error {
	page := unix.Getpagesize()
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(list))), len(list)*int(unsafe.Sizeof(*new(T)))&^(page-1))
	for len(b) > 0 && ctx.Err() == nil {
		n := min(len(b), populatePiece)
		if err := unix.Madvise(b[:n], unix.MADV_POPULATE_WRITE); err != nil {
			return fmt.Errorf("connection table: take %d MiB: %w", len(b)>>20, err)
		}
		b = b[n:]
	}
	return nil
}
