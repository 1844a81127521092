package dataplane

import (
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// Queue is one worker's end of a port: its receive ring and its transmit path. One
// worker uses it and nobody else, so it takes no lock.
type Queue interface {
	// Receive fills frames with up to len(frames) received frames and returns how many;
	// 0 when none is waiting. It does not block. The frames' bytes are lent until Release;
	// Buf, Start, End, L2 and Vnet are set, Port is left alone.
	Receive(frames []packet.Frame) (int, error)
	// Transmit sends Bytes() of each frame with its Vnet and returns how many the
	// kernel took. It waits, within a bound, for a full queue; what is then still not
	// taken is lost and the caller counts it. Frames may be lent by this or any other
	// queue, or be the caller's own; they are free again on return. At least 10 bytes
	// before Start may be overwritten (a virtio_net_hdr is put there).
	Transmit(frames []*packet.Frame) (int, error)
	// Release gives the frames of all Receive calls so far back to the ring.
	Release()
	// FD is the descriptor that polls readable when Receive has something; -1 if the
	// queue never waits (a capture file).
	FD() int
	// Stats reads what the kernel counted since the last call.
	Stats() (QueueStats, error)
	Close() error
}

// QueueStats are figures of one queue since they were last read.
type QueueStats struct {
	Received uint64 // frames the kernel put into the ring
	Dropped  uint64 // frames lost because the ring was full
	Peak     uint8  // the most that the ring was seen to be full, in percent; a little less than it was
	// Of the frames that Transmit did not send: those that met a full queue for longer than
	// it waits, and those that the kernel refused for what they are. The others met a link
	// that was down.
	Full, Refused uint64
}

// Link says what a port is and can do.
type Link struct {
	Name    string
	MAC     packet.MAC // zero when !L2
	MTU     int        // bytes of IP packet
	L2      bool       // frames have an Ethernet header
	Offload bool       // Vnet is carried both ways: super-frames and unfinished checksums may be transmitted as they are
}

// A Driver opens a port once and gives every worker its queue.
type Driver interface {
	Link() Link
	// Open makes n queues; the driver spreads received frames over them by flow, so that
	// all frames of one direction of a flow come by the same queue.
	Open(n int) ([]Queue, error)
}

// Clock reads the data plane's clock: monotonic, beginning anywhere. Live it is the
// host's monotonic clock, in a replay the capture's.
type Clock func() time.Duration
