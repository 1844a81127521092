package afpacket

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the hot path go through RawSyscall: they never block
// (MSG_DONTWAIT), so telling the Go scheduler about them is cost without use.

// recvmmsg receives without blocking. It returns how many of msgs were filled, at least
// one when errno is 0.
func recvmmsg(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// sendmmsg sends without blocking. It returns how many of msgs were sent, at least one
// when errno is 0; errno is about the first of them.
func sendmmsg(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// RawPollMax bounds a raw Poll. The calling thread keeps its P meanwhile: nothing else
// runs on it, and the garbage collector waits for it unless a preemption signal ends the
// call early.
const RawPollMax = 2 * time.Millisecond

// pollMax is how many descriptors one Poll can wait for.
const pollMax = 64

// Poll waits until one of fds is readable or has an error to report, or timeout has
// passed, and returns how many are ready; an interrupted wait counts as 0. Negative
// descriptors are ignored, so a Queue's FD may be passed as it is.
//
// With raw set the wait is hidden from the Go scheduler and no longer than RawPollMax,
// whatever timeout says: about a tenth more packets a second than the ordinary wait, at
// the price of a P. Run with GOMAXPROCS above the number of raw pollers. It does not
// allocate.
func Poll(fds []int, timeout time.Duration, raw bool) (int, error) {
	if len(fds) > pollMax {
		return 0, fmt.Errorf("afpacket: poll %d descriptors: at most %d", len(fds), pollMax)
	}
	var set [pollMax]unix.PollFd
	for i, fd := range fds {
		set[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	if raw {
		n, errno := rawPoll(set[:len(fds)], rawTimeout(timeout))
		if errno != 0 && errno != unix.EINTR {
			return 0, fmt.Errorf("afpacket: poll: %w", errno)
		}
		return n, nil
	}
	ts := unix.NsecToTimespec(max(timeout, 0).Nanoseconds())
	n, err := unix.Ppoll(set[:len(fds)], &ts, nil)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("afpacket: poll: %w", err)
	}
	return n, nil
}

// Nap pauses for d, at most RawPollMax, without telling the Go scheduler.
func Nap(d time.Duration) { pollOut(-1, d) }

// pollOut waits until fd is writable, or d has passed, at most RawPollMax. A negative
// fd only waits.
func pollOut(fd int, d time.Duration) {
	set := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	rawPoll(set[:], rawTimeout(d)) // whatever ends the wait, the next send tells
}

// rawTimeout brings d within 0 and RawPollMax.
func rawTimeout(d time.Duration) time.Duration { return min(max(d, 0), RawPollMax) }

// rawPoll is ppoll without the scheduler's knowledge, for d of rawTimeout.
func rawPoll(set []unix.PollFd, d time.Duration) (int, unix.Errno) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(set))),
		uintptr(len(set)), uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
