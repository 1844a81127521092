// Package afpacket is the port driver for an Ethernet interface that the host keeps
// using: AF_PACKET sockets take a copy of every received frame and send frames of
// their own. It knows sockets, rings and virtio_net_hdr; it must not know what is in
// a frame beyond that header.
//
// Offloads pass through whole. Frames of a local stack or a virtual machine carry an
// unfinished checksum, and bulk TCP comes in super-frames of up to 64 KiB; the
// virtio_net_hdr says so in both directions (PACKET_VNET_HDR), and the interface that
// sends the frame finishes the work.
package afpacket

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/dirigo-lb/dirigo/dataplane"
)

// Mode says how frames are received.
type Mode uint8

const (
	// Ring receives through a TPACKET_V2 ring: the kernel copies a frame into memory
	// shared with the director, and receiving costs no system call. A frame larger than
	// a slot costs one.
	Ring Mode = iota
	// Batch receives by recvmmsg(2) into a few buffers that stay in the cache: one
	// system call a batch, one more queue in the kernel, no slots to run out of.
	Batch
	// Blocks receives through a TPACKET_V3 ring: the kernel gives over whole blocks of
	// frames, at the latest after a millisecond. It is the least work a frame, and a lone
	// frame waits. Large frames go by the blocks too.
	Blocks
)

// String is the mode's name.
func (m Mode) String() string {
	switch m {
	case Ring:
		return "ring"
	case Batch:
		return "batch"
	case Blocks:
		return "blocks"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// Defaults and bounds of Config.
const (
	// DefaultRingSlots last 8 ms at a million frames a second. Every queue pays
	// DefaultRingSlots*DefaultSlotSize bytes of kernel memory, 17 MiB.
	DefaultRingSlots = 8192
	// DefaultSlotSize holds the slot's header, the headroom and a frame of an Ethernet MTU
	// of 1500 bytes. What is larger does not go by the ring. It is an odd number of cache
	// lines: slots of 2048 bytes would all have their headers in the same few sets of a
	// cache, and the kernel would wait for each of them.
	DefaultSlotSize = 33 * slotUnit

	maxRingSlots = 32 << 10 // 66 MiB a queue at the default slot size
	minSlotSize  = 1 << 10
	maxSlotSize  = 1 << 20
	slotUnit     = 64 // bytes of a cache line
)

// Config says which interface to open and how.
type Config struct {
	Interface string // name of an Ethernet interface in the caller's network namespace
	Mode      Mode
	// RingSlots is how many frames a queue's ring holds at least; 0: DefaultRingSlots. When
	// the kernel has no memory for so many, Open takes half, and half again.
	RingSlots int
	// SlotSize is the size of one slot in bytes, rounded up to a cache line; 0:
	// DefaultSlotSize.
	SlotSize int
	// CPUs, if not empty, are those near which the queues' memory shall be: queue i is
	// opened on CPU i of the list.
	CPUs []int
}

// Errors of a queue. Both are found by errors.Is with the kernel's own number, so that
// a caller need not import this package.
var (
	// ErrLinkDown says that the interface is down (ENETDOWN). The queue stays usable and
	// goes on by itself when the interface comes up.
	ErrLinkDown = fmt.Errorf("afpacket: link is down: %w", syscall.ENETDOWN)
	// ErrGone says that the interface was removed or left the network namespace (ENODEV).
	// The queue is of no more use; close it and open the port again.
	ErrGone = fmt.Errorf("afpacket: interface is gone: %w", syscall.ENODEV)

	errClosed = errors.New("afpacket: queue is closed")
)

// Driver opens one interface. It holds nothing open itself; its queues do.
type Driver struct {
	cfg   Config
	link  dataplane.Link
	index int // interface index in the namespace of New
}

var _ dataplane.Driver = (*Driver)(nil)

// New checks c and reads the interface's address and MTU. Nothing is opened yet.
func New(c Config) (*Driver, error) {
	if c.RingSlots == 0 {
		c.RingSlots = DefaultRingSlots
	}
	if c.SlotSize == 0 {
		c.SlotSize = DefaultSlotSize
	}
	switch {
	case c.Mode > Blocks:
		return nil, fmt.Errorf("afpacket %s: no such %v", c.Interface, c.Mode)
	case c.RingSlots < 1 || c.RingSlots > maxRingSlots:
		return nil, fmt.Errorf("afpacket %s: %d ring slots: want 1 to %d", c.Interface, c.RingSlots, maxRingSlots)
	case c.SlotSize < minSlotSize || c.SlotSize > maxSlotSize:
		return nil, fmt.Errorf("afpacket %s: slot size %d: want %d to %d bytes", c.Interface, c.SlotSize, minSlotSize, maxSlotSize)
	}
	d := &Driver{cfg: c}
	if err := d.lookup(); err != nil {
		return nil, fmt.Errorf("afpacket %s: %w", c.Interface, err)
	}
	return d, nil
}

// Link is what New found. L2 and Offload are always true.
func (d *Driver) Link() dataplane.Link { return d.link }

// Open makes n queues. With more than one, the kernel spreads received frames by a
// hash of addresses, protocol and ports that is the same for both directions of a flow;
// all fragments of a packet are hashed without ports and come by one queue
// (PACKET_FANOUT_HASH: __skb_get_hash_symmetric). No frame is received twice.
func (d *Driver) Open(n int) ([]dataplane.Queue, error) {
	if n < 1 {
		return nil, fmt.Errorf("afpacket %s: %d queues", d.cfg.Interface, n)
	}
	qs, err := d.open(n)
	if err != nil {
		return nil, fmt.Errorf("afpacket %s: %w", d.cfg.Interface, err)
	}
	return qs, nil
}

// roundUp rounds n up to a multiple of unit.
func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }
