//go:build linux && !race

package conntrack

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve takes address space for n zeroed elements, which hold no pointers, outside the
// Go heap. Memory is taken from the system only as elements are first used, in huge pages
// where granted.
func reserve[T any](n int) ([]T, func(), error) {
	size := n * int(unsafe.Sizeof(*new(T)))
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, fmt.Errorf("connection table: reserve %d MiB: %w", size>>20, err)
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // only a wish
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n), func() { _ = unix.Munmap(b) }, nil
}
