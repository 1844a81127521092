package afpacket

import (
	"errors"
	"fmt"
	"iter"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// core is what both modes share: the receive socket, the sender beside it, and what
// becomes of them when the link changes.
type core struct {
	fd    int
	tx    sender
	told  uint64 // of tx.refused, by Stats
	got   uint64 // received and
	lost  uint64 // dropped, by the socket's count, not yet told by Stats
	skips skips
	peak  uint8 // see dataplane.QueueStats
	empty uint  // Receive calls that found nothing
	down  bool  // ENETDOWN was reported and nothing was received since
}

// FD is the receive socket.
func (c *core) FD() int { return c.fd }

// Skips gives, by reason, how many frames were not passed on since Open: "vlan",
// "outgoing", "truncated" and "malformed" were received, "refused" were given to
// Transmit. The queue's own worker calls it.
func (c *core) Skips() iter.Seq2[string, uint64] {
	s := c.skips
	s.refused = c.tx.refused
	return s.all()
}

// Transmit sends frames through the queue's second socket; see sender.
func (c *core) Transmit(frames []*packet.Frame) (int, error) { return c.tx.send(frames) }

// counted reads and clears the socket's PACKET_STATISTICS: what was received and what was
// dropped since the last time. The kernel counts a lost frame as seen too
// (packet_getsockopt adds tp_drops to tp_packets).
func (c *core) counted() (got, lost uint64, err error) {
	var s unix.TpacketStats // package unix's own call would have it on the heap
	size := uint32(unsafe.Sizeof(s))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(c.fd), unix.SOL_PACKET, unix.PACKET_STATISTICS,
		uintptr(unsafe.Pointer(&s)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return 0, 0, fmt.Errorf("afpacket: PACKET_STATISTICS: %w", errno)
	}
	got, lost = uint64(s.Packets-s.Drops), uint64(s.Drops)
	c.got, c.lost = c.got+got, c.lost+lost
	return got, lost, nil
}

// Stats gives and clears what the socket has counted and the queue has noted itself.
func (c *core) Stats() (dataplane.QueueStats, error) {
	if c.fd < 0 {
		return dataplane.QueueStats{}, errClosed
	}
	if _, _, err := c.counted(); err != nil {
		return dataplane.QueueStats{}, err
	}
	st := dataplane.QueueStats{Received: c.got, Dropped: c.lost, Peak: c.peak}
	c.got, c.lost = 0, 0
	st.Full, st.Refused = c.tx.full, c.tx.refused-c.told
	c.peak, c.tx.full, c.told = 0, 0, c.tx.refused
	return st, nil
}

// emptyPerCheck is how many empty receptions pass between two looks at the socket's
// error. A pending error makes every poll return at once, so it must be collected, but
// a system call for each empty look at a ring would double the price of looking.
const emptyPerCheck = 16

// nothing is called when a ring had no frame. It returns ErrLinkDown once when the
// link went down, ErrGone when the interface is away for good.
func (c *core) nothing() error {
	if c.empty++; c.empty%emptyPerCheck != 0 {
		return nil
	}
	return c.linkState()
}

// linkState collects the socket's pending error. While the link is down it also asks
// whether the interface still exists: the kernel says nothing when a downed interface
// is removed, it only unbinds the socket (packet_notifier, NETDEV_UNREGISTER).
func (c *core) linkState() error {
	if c.fd < 0 {
		return errClosed
	}
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("afpacket: SO_ERROR: %w", err)
	}
	if code != 0 {
		return c.failed(unix.Errno(code))
	}
	if c.down && unbound(c.fd) {
		return ErrGone
	}
	return nil
}

// failed names an error number that came from the receive socket.
func (c *core) failed(errno unix.Errno) error {
	if errno != unix.ENETDOWN {
		return fmt.Errorf("afpacket: receive: %w", errno)
	}
	c.down = true
	if unbound(c.fd) {
		return ErrGone
	}
	return ErrLinkDown
}

// unbound reports whether the kernel took the interface from fd.
func unbound(fd int) bool {
	sa, err := unix.Getsockname(fd)
	ll, ok := sa.(*unix.SockaddrLinklayer)
	return err == nil && ok && ll.Ifindex == -1
}

// closeSockets closes what is open; a second call does nothing.
func (c *core) closeSockets() error {
	var errs []error
	for _, fd := range []*int{&c.fd, &c.tx.fd} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}
