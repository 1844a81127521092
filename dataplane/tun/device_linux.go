package tun

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
)

// maxQueues is MAX_TAP_QUEUES of drivers/net/tun.c.
const maxQueues = 256

// open makes the device and its queues, then sets the device up.
func (d *Driver) open(n int) (_ []dataplane.Queue, err error) {
	if n > maxQueues {
		return nil, fmt.Errorf("%d queues: the kernel has at most %d", n, maxQueues)
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	var queues []dataplane.Queue
	defer func() {
		if err == nil {
			return
		}
		for _, q := range queues {
			q.Close()
		}
		nl.Close()
	}()
	keep, err := existing(nl, d.cfg.Name)
	if err != nil {
		return nil, err
	}
	for i := range n {
		fd, err := openQueue(d.cfg.Name, keep)
		if err != nil {
			return nil, fmt.Errorf("queue %d: %w", i, err)
		}
		queues = append(queues, newQueue(fd))
	}
	index, err := d.setUp(nl)
	if err != nil {
		return nil, err
	}
	queues[0].(*queue).watch(nl, index)
	return queues, nil
}

// existing reports whether a device of that name is there to be used and kept. One that
// must not be used is an error: another director's, or not a TUN device.
func existing(nl *netlink.Handle, name string) (bool, error) {
	link, err := nl.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the device: %w", err)
	}
	dev, ok := link.(*netlink.Tuntap)
	switch {
	case !ok || dev.Mode != netlink.TUNTAP_MODE_TUN:
		return false, errors.New("there is another interface of that name, not a TUN device")
	case dev.NonPersist || dev.Queues > 0:
		return false, errors.New("the device is in use by another program")
	case dev.Flags&netlink.TUNTAP_MULTI_QUEUE == 0:
		return false, errors.New("the device was made without multi_queue")
	}
	return true, nil
}

// openQueue adds a queue to the device, which the first one makes, and returns its
// descriptor, which does not block. Packets come without the PI header (IFF_NO_PI).
func openQueue(name string, keep bool) (int, error) {
	dev, err := water.New(water.Config{
		DeviceType: water.TUN,
		PlatformSpecificParams: water.PlatformSpecificParams{
			Name:       name,
			MultiQueue: true,
			Persist:    keep,
		},
	})
	if err != nil {
		return -1, err
	}
	defer dev.Close()
	// The queue is read by system calls, not through os.File: its poller would be woken
	// for every packet with nobody waiting, and its Fd method makes the descriptor
	// blocking. A duplicate keeps the queue, still non-blocking, when the file is closed.
	file, ok := dev.ReadWriteCloser.(*os.File)
	if !ok {
		return -1, fmt.Errorf("device is a %T, not a file", dev.ReadWriteCloser)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	err = raw.Control(func(p uintptr) {
		fd, dupErr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, dupErr); err != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", err)
	}
	return fd, nil
}

// setUp gives the device its MTU and addresses and brings it up. It returns the
// interface index.
func (d *Driver) setUp(nl *netlink.Handle) (int, error) {
	link, err := nl.LinkByName(d.cfg.Name)
	if err != nil {
		return 0, fmt.Errorf("find the device: %w", err)
	}
	if err := nl.LinkSetMTU(link, d.cfg.MTU); err != nil {
		return 0, fmt.Errorf("set MTU %d: %w", d.cfg.MTU, err)
	}
	for _, a := range d.cfg.Addresses {
		ip := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		addr := &netlink.Addr{IPNet: ip}
		if a.Addr().Is6() {
			// There is nobody on the device to have a duplicate, and until the kernel has
			// looked for one (RFC 4862 section 5.4) the address cannot be bound.
			addr.Flags = unix.IFA_F_NODAD
		}
		// Replace, not add: on a device that stays, the address does so too.
		if err := nl.AddrReplace(link, addr); err != nil {
			return 0, fmt.Errorf("add address %v: %w", a, err)
		}
	}
	if err := nl.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("set up: %w", err)
	}
	return link.Attrs().Index, nil
}
