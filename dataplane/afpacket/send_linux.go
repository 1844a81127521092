package afpacket

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// Bounds of waiting for a link that takes no frame.
const (
	// sendPatience is the longest that one Transmit waits in all. The receive ring goes
	// on filling meanwhile: DefaultRingSlots last 8 ms at a million frames a second.
	sendPatience = 5 * time.Millisecond
	// sendNap is the pause after ENOBUFS: the queue of the link is full, and no
	// descriptor tells when it no longer is.
	sendNap = 50 * time.Microsecond
)

// sendBatch is the number of frames of one sendmmsg.
const sendBatch = 64

// sender transmits by sendmmsg from where the frames lie: a virtio_net_hdr is written
// right before each, and header and frame are one piece. The kernel copies them during
// the call, so they are free again on return.
type sender struct {
	fd int
	// bypass is PACKET_QDISC_BYPASS: frames go to the interface without passing its
	// queueing discipline. It lasts until a super-frame meets an interface that cannot
	// segment by itself, see leaveBypass.
	bypass  bool
	stalled bool   // the last Transmit waited in vain; do not wait again until a frame is taken
	refused uint64 // frames refused one by one
	full    uint64 // frames given up because the link took none for sendPatience
	msgs    [sendBatch]unix.Mmsghdr
	iovs    [sendBatch]unix.Iovec
}

// openSender opens a socket that sends on interface index and receives nothing.
// Sending through the receive socket would hand its pending errors to Transmit.
func openSender(index int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	err = setAll(fd, []option{
		{"PACKET_VNET_HDR", unix.PACKET_VNET_HDR, 1},
		{"PACKET_QDISC_BYPASS", unix.PACKET_QDISC_BYPASS, 1},
	})
	if err == nil {
		err = setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	}
	if err == nil {
		err = bind(fd, 0, index)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// send transmits frames in order and returns how many the kernel took. A frame refused
// for itself is skipped, counted and not among them; the error, if any, is about the
// link and ends the call.
func (s *sender) send(frames []*packet.Frame) (sent int, err error) {
	w := wait{fd: s.fd}
	for len(frames) > 0 && err == nil && !w.over {
		n := min(len(frames), sendBatch)
		var k int
		k, err = s.flush(s.fill(frames[:n]), &w)
		sent += k
		frames = frames[n:]
	}
	if w.over {
		s.full += uint64(len(frames))
	}
	return sent, err
}

// fill readies one message for each frame and returns their number.
func (s *sender) fill(frames []*packet.Frame) int {
	n := 0
	for _, f := range frames {
		if f.Start < vnetLen || f.End <= f.Start || uint64(f.End) > uint64(len(f.Buf)) {
			s.refused++
			continue
		}
		b := f.Buf[f.Start-vnetLen : f.End]
		putVnet(b, f.Vnet)
		s.iovs[n].Base = unsafe.SliceData(b)
		s.iovs[n].SetLen(len(b))
		s.msgs[n].Hdr.Iov = &s.iovs[n]
		s.msgs[n].Hdr.SetIovlen(1)
		n++
	}
	return n
}

// flush sends the first n messages.
func (s *sender) flush(n int, w *wait) (sent int, err error) {
	for i := 0; i < n; {
		k, errno := sendmmsg(s.fd, s.msgs[i:n])
		if errno == 0 {
			i += k
			sent += k
			s.stalled = false
			continue
		}
		switch errno {
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
			if s.bypass && errno == unix.ENOBUFS && s.isSuper(i) {
				s.leaveBypass()
				continue
			}
			if s.stalled || !w.wait(errno) {
				s.stalled, w.over = true, true
				s.full += uint64(n - i)
				return sent, nil
			}
		case unix.ENETDOWN:
			return sent, ErrLinkDown
		case unix.ENXIO, unix.ENODEV:
			return sent, ErrGone
		case unix.EBADF:
			return sent, errClosed
		default: // EINVAL, EMSGSIZE...: this frame; the others are as good as before
			s.refused++
			i++
		}
	}
	return sent, nil
}

// isSuper reports whether message i is a super-frame: gso_type is the second byte of
// its virtio_net_hdr.
func (s *sender) isSuper(i int) bool {
	h := unsafe.Slice(s.iovs[i].Base, vnetLen)
	return h[1] != packet.VnetGSONone
}

// leaveBypass turns PACKET_QDISC_BYPASS off. On that path an interface that does not
// segment (TSO off) gets no super-frame at all: __dev_direct_xmit drops an skb that
// validate_xmit_skb_list had to split, with the same ENOBUFS as a full queue. The way
// through the queueing discipline segments. It is left for good, and for all frames: to
// take both ways would reorder flows.
func (s *sender) leaveBypass() {
	s.bypass = false
	// A refusal only means that super-frames go on being counted as lost.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 0)
}

// wait is the patience of one Transmit.
type wait struct {
	fd    int
	since time.Time // of the first refusal; the clock is not read before
	over  bool
}

// wait pauses after errno and reports whether it is worth another try.
func (w *wait) wait(errno unix.Errno) bool {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	left := sendPatience - time.Since(w.since)
	if left <= 0 {
		return false
	}
	if errno == unix.EAGAIN { // the socket's buffer is full: poll tells when it has room
		pollOut(w.fd, left)
	} else {
		pollOut(-1, min(left, sendNap))
	}
	return true
}
