// Package tun is the port driver for a TUN device: the host routes packets to the
// director and takes the director's packets for its own, without any Ethernet. It
// knows devices and packets' bounds; it must not know what is in a packet.
//
// A TUN device serves hosts without an interface to share (containers), and is the road
// from the director into the host's own stack. There are no offloads: packets come and
// go with finished checksums and no larger than the MTU.
package tun

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/dirigo-lb/dirigo/dataplane"
)

// Bounds of Config.
const (
	// DefaultMTU is Ethernet's, RFC 894: packets then fit the ports they leave by.
	DefaultMTU = 1500

	minMTU  = 68    // RFC 791: every internet module must forward so much (kernel: ETH_MIN_MTU)
	maxMTU  = 65535 // IPv4 total length is a 16-bit field, RFC 791
	maxName = 15    // IFNAMSIZ-1, linux/if.h
)

// Config says which device to make.
type Config struct {
	// Name of the device. A device of that name that is there already is used if it is a
	// persistent multi-queue TUN device (ip tuntap add mode tun multi_queue) that nobody
	// has open, and stays after Close; any other is refused. A device that Open made goes
	// with its last queue.
	Name      string
	Addresses []netip.Prefix // the host's addresses on the device; none: routes are the administrator's
	MTU       int            // bytes of IP packet; 0: DefaultMTU
}

// Errors of a queue. Both are found by errors.Is with the kernel's own number, so that
// a caller need not import this package.
var (
	// ErrLinkDown says that the device is down (ENETDOWN): Transmit is refused until it is
	// up again. Nothing arrives meanwhile, so Receive does not say so.
	ErrLinkDown = fmt.Errorf("tun: link is down: %w", syscall.ENETDOWN)
	// ErrGone says that the device was removed (ENODEV). The queue is of no more use.
	ErrGone = fmt.Errorf("tun: device is gone: %w", syscall.ENODEV)

	errClosed = errors.New("tun: queue is closed")
)

// Driver makes one TUN device. It holds nothing open itself; its queues do.
type Driver struct {
	cfg Config
}

var _ dataplane.Driver = (*Driver)(nil)

// New checks c. The device is made by Open.
func New(c Config) (*Driver, error) {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	switch {
	// As dev_valid_name in net/core/dev.c, and without the kernel's % patterns: the name
	// must be known before the device is.
	case c.Name == "" || len(c.Name) > maxName || c.Name == "." || c.Name == ".." || strings.ContainsAny(c.Name, "/:% \t\n\v\f\r"):
		return nil, fmt.Errorf("tun: %q is no name for a device", c.Name)
	case c.MTU < minMTU || c.MTU > maxMTU:
		return nil, fmt.Errorf("tun %s: MTU %d: want %d to %d", c.Name, c.MTU, minMTU, maxMTU)
	}
	for _, a := range c.Addresses {
		if !a.IsValid() {
			return nil, fmt.Errorf("tun %s: address %v: want an address and a prefix length", c.Name, a)
		}
	}
	return &Driver{cfg: c}, nil
}

// Link is what was configured. L2 and Offload are always false.
func (d *Driver) Link() dataplane.Link {
	return dataplane.Link{Name: d.cfg.Name, MTU: d.cfg.MTU}
}

// Open makes the device with n queues and brings it up. The kernel spreads packets over
// the queues by a hash of addresses, protocol and ports that is the same for both
// directions of a flow, until a queue transmits a packet of the flow: from then on the
// flow comes by that queue (tun_automq_select_queue).
func (d *Driver) Open(n int) ([]dataplane.Queue, error) {
	if n < 1 {
		return nil, fmt.Errorf("tun %s: %d queues", d.cfg.Name, n)
	}
	qs, err := d.open(n)
	if err != nil {
		return nil, fmt.Errorf("tun %s: %w", d.cfg.Name, err)
	}
	return qs, nil
}
