//go:build linux && !race

package conntrack

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newSlab reserves address space for n zeroed entries outside the Go heap. Memory is
// taken from the system only as entries are first used, in huge pages where granted.
func newSlab(n int) ([]Conn, func(), error) {
	size := n * int(unsafe.Sizeof(Conn{}))
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, fmt.Errorf("connection table: reserve %d MiB for %d entries: %w", size>>20, n, err)
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // only a wish
	return unsafe.Slice((*Conn)(unsafe.Pointer(unsafe.SliceData(b))), n), func() { _ = unix.Munmap(b) }, nil
}
