package afpacket

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// batch receives by recvmmsg. Its inbox's buffers taken belong to the director until
// Release.
type batch struct {
	core
	in   inbox
	lent bool // some of the buffers taken are lent
}

// newBatch gives c's receive socket its buffers.
func newBatch(c core) *batch {
	b := &batch{core: c}
	b.in.init()
	return b
}

// Receive lends up to inboxBufs frames between two calls of Release.
func (b *batch) Receive(frames []packet.Frame) (int, error) {
	want := min(len(frames), b.in.free())
	if want == 0 {
		return 0, nil
	}
	got, errno := b.in.receive(b.fd, want)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		if b.down {
			return 0, b.nothing()
		}
		return 0, nil
	case unix.EINVAL: // the frame has an offload that virtio_net_hdr cannot tell; it is gone
		b.skips.count(skipMalformed)
		return 0, nil
	case unix.EBADF:
		return 0, errClosed
	default:
		return 0, b.failed(errno)
	}
	if got == inboxBufs {
		b.look()
	}
	n := 0
	for i := b.in.taken; i < b.in.taken+got; i++ {
		a, truncated := b.in.about(i)
		if v := b.in.read(i, a, truncated, &frames[n]); v == lent {
			n++
		} else {
			b.skips.count(v)
		}
	}
	b.in.taken += got
	b.down = false
	b.lent = b.lent || n > 0
	if !b.lent {
		b.Release() // nothing but skipped frames: the caller has nothing to release
	}
	return n, nil
}

// look notes how full the socket's queue is: bytes of its frames, with what the kernel
// counts for each, of those it may hold (sock_diag.h, SK_MEMINFO_...).
func (b *batch) look() {
	const alloc, limit, all = 0, 1, 9 // SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_RCVBUF, SK_MEMINFO_VARS
	var info [all]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(b.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == 0 && info[limit] > 0 {
		b.peak = max(b.peak, uint8(min(100, uint64(info[alloc])*100/uint64(info[limit]))))
	}
}

// Release takes all buffers back.
func (b *batch) Release() { b.in.taken, b.lent = 0, false }

// Close closes the sockets. Frames lent before stay readable.
func (b *batch) Close() error { return b.closeSockets() }
