package tun

import (
	"errors"
	"fmt"
	"iter"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// Buffers of a queue.
const (
	// bufs is how many packets are lent at most between two calls of Release.
	bufs = 64
	// start leaves packet.Headroom, and the 10 bytes a transmitting port may take for a
	// virtio_net_hdr, and puts the IP header on a multiple of 16 bytes.
	start = (packet.Headroom + 10 + 15) / 16 * 16
	// bufSize takes the largest IPv4 packet, whatever the MTU is changed to: a read into
	// less would cut the packet and not say so (tun_do_read).
	bufSize = (start + maxMTU + 63) / 64 * 64
)

// queue is one queue of the device: a descriptor, each read of which takes one packet
// and each write of which gives one.
type queue struct {
	fd       int
	mem      []byte // bufs buffers of bufSize, the first lent of which are lent
	lent     int
	received uint64 // since Stats
	refused  uint64 // since Open
	told     uint64 // of refused, by Stats

	// The device counts packets lost for all its queues together; the first tells.
	nl      *netlink.Handle // nil on all others
	index   int
	dropped uint64 // device's count at the last Stats
}

func newQueue(fd int) *queue { return &queue{fd: fd, mem: make([]byte, bufs*bufSize)} }

// watch makes q tell the device's losses, counted from now. It owns nl from here on.
func (q *queue) watch(nl *netlink.Handle, index int) {
	q.nl, q.index = nl, index
	q.dropped, _ = q.deviceDropped() // failing, it fails again in Stats
}

// FD is the queue's descriptor.
func (q *queue) FD() int { return q.fd }

// Receive reads packets until none waits, frames is full, or all buffers are lent.
func (q *queue) Receive(frames []packet.Frame) (int, error) {
	n := 0
	for n < len(frames) && q.lent < bufs {
		buf := q.mem[q.lent*bufSize : (q.lent+1)*bufSize : (q.lent+1)*bufSize]
		k, errno := read(q.fd, buf[start:])
		if errno != 0 {
			return n, q.stopped(errno, n)
		}
		f := &frames[n]
		f.Buf, f.Start, f.End = buf, start, uint32(start+k)
		f.L2, f.Vnet = false, packet.Vnet{}
		n++
		q.lent++
		q.received++
	}
	return n, nil
}

// stopped says what ended Receive after n packets; with some to give, an error waits
// for the next call, where it comes again.
func (q *queue) stopped(errno unix.Errno, n int) error {
	switch {
	case n > 0, errno == unix.EAGAIN, errno == unix.EINTR:
		return nil
	case errno == unix.EBADFD, errno == unix.EFAULT: // the device was removed: before, or just now (RCV_SHUTDOWN)
		return ErrGone
	case errno == unix.EBADF:
		return errClosed
	}
	return fmt.Errorf("tun: read: %w", errno)
}

// Transmit writes each frame's bytes as a packet from the device to the host. A frame
// that is a super-frame or has an unfinished checksum is refused: there is nothing
// behind this device to finish it. So is one that the kernel finds to be no IP packet.
func (q *queue) Transmit(frames []*packet.Frame) (sent int, err error) {
	for _, f := range frames {
		if f.Vnet.Flags&packet.VnetNeedsCsum != 0 || f.Vnet.GSOType != packet.VnetGSONone || f.End <= f.Start {
			q.refused++
			continue
		}
		switch errno := write(q.fd, f.Bytes()); errno {
		case 0:
			sent++
		case unix.EIO:
			return sent, ErrLinkDown
		case unix.EBADFD:
			return sent, ErrGone
		case unix.EBADF:
			return sent, errClosed
		default:
			q.refused++
		}
	}
	return sent, nil
}

// Release takes all buffers back.
func (q *queue) Release() { q.lent = 0 }

// Stats tells what was received by this queue; the first queue tells the packets that
// the device lost because a queue was full, of all queues.
func (q *queue) Stats() (s dataplane.QueueStats, err error) {
	if q.fd < 0 {
		return s, errClosed
	}
	dropped := q.dropped
	if q.nl != nil {
		if dropped, err = q.deviceDropped(); err != nil {
			return s, err // nothing is taken over: the next call tells it
		}
	}
	s = dataplane.QueueStats{Received: q.received, Refused: q.refused - q.told, Dropped: dropped - q.dropped}
	q.received, q.told, q.dropped = 0, q.refused, dropped
	return s, nil
}

// deviceDropped is the device's tx_dropped: what the host sends is what the queue
// receives.
func (q *queue) deviceDropped() (uint64, error) {
	link, err := q.nl.LinkByIndex(q.index)
	if errors.As(err, &netlink.LinkNotFoundError{}) || errors.Is(err, unix.ENODEV) {
		return 0, ErrGone
	}
	if err != nil {
		return 0, fmt.Errorf("tun: device statistics: %w", err)
	}
	return link.Attrs().Statistics.TxDropped, nil
}

// Skips gives, by reason, how many frames were refused since Open: "refused" were given
// to Transmit unfinished, or were no IP packets.
func (q *queue) Skips() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) { yield("refused", q.refused) }
}

// Close closes the queue; the device goes with its last one. A second call does
// nothing. Frames lent before stay readable.
func (q *queue) Close() error {
	if q.fd < 0 {
		return nil
	}
	err := unix.Close(q.fd)
	q.fd = -1
	if q.nl != nil {
		q.nl.Close()
	}
	return err
}

// read and write go through RawSyscall: the descriptor does not block, so telling the
// Go scheduler about them is cost without use. Neither is given an empty slice.

func read(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

func write(fd int, b []byte) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return errno
}
