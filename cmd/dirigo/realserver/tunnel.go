package realserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// idle bounds, in milliseconds, how long an end or a request to print may wait.
const idle = 100

// tunMTU is the most the kernel allows a TUN device (drivers/net/tun.c MAX_MTU).
const tunMTU = 65535

// decapsulator brings what is in tunnel packets to the host's own stack.
type decapsulator struct {
	opener
	device  *water.Interface
	sockets []socket
	batch   *batch
	count   counters
}

// openDecapsulator makes device and sockets. The device goes with the process, however
// that ends.
func openDecapsulator(c *Config, out io.Writer) (_ *decapsulator, err error) {
	if err := refuseKernelTunnels(out); err != nil {
		return nil, err
	}
	d := &decapsulator{opener: opener{guePort: c.GUEPort}, batch: newBatch()}
	for _, a := range c.VIPs {
		d.vips = append(d.vips, packet.AddrFrom(a))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if _, err := netlink.LinkByName(c.TUN); err == nil {
		return nil, fmt.Errorf("there is an interface %s already: choose another name with --tun", c.TUN)
	}
	d.device, err = water.New(water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{Name: c.TUN}})
	if err != nil {
		return nil, fmt.Errorf("TUN device %s: %w", c.TUN, err)
	}
	if err := setUpDevice(c); err != nil {
		return nil, fmt.Errorf("TUN device %s: %w", c.TUN, err)
	}
	d.sockets, err = openSockets(c.GUEPort)
	return d, err
}

// refuseKernelTunnels refuses to work beside the kernel's own: each packet would be
// delivered twice. A module whose device is down delivers nothing, but answers port
// unreachable (tunnel4_rcv), which only its removal ends.
func refuseKernelTunnels(out io.Writer) error {
	for _, name := range []string{"tunl0", "sit0", "gre0", "ip6tnl0"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			continue
		}
		if l.Attrs().Flags&net.FlagUp != 0 {
			return fmt.Errorf("the kernel's own %s is up and decapsulates: leave out --decap, or set it down", name)
		}
		fmt.Fprintf(out, "note   the kernel has the module of %s: it may answer tunnel packets with ICMP; remove it, or use it in place of --decap\n", name)
	}
	return nil
}

// setUpDevice brings the device up so that the kernel takes packets of any source from
// it. The greater of rp_filter's values for "all" and the interface counts, and the
// former is not ours to lower. The loose check (2) overrules a strict one; it lets pass
// what can be answered by any interface, but on one without an address nothing
// (fib_validate_source): so the device has the VIPs too.
func setUpDevice(c *Config) error {
	link, err := netlink.LinkByName(c.TUN)
	if err != nil {
		return err
	}
	all, err := readSysctl("ipv4/conf/all/rp_filter")
	if err != nil {
		return err
	}
	check := "0"
	if all != "0" {
		check = "2"
		for _, a := range c.VIPs {
			if !a.Is4() {
				continue
			}
			addr := address(netip.PrefixFrom(a, 32))
			addr.Scope = int(netlink.SCOPE_LINK) // never the source of what has another choice
			if err := netlink.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("add %v: %w", a, err)
			}
		}
	}
	if err := writeSysctl("ipv4/conf/"+c.TUN+"/rp_filter", check); err != nil {
		return err
	}
	if c.has6() {
		if err := writeSysctl("ipv6/conf/"+c.TUN+"/disable_ipv6", "0"); err != nil {
			return err
		}
	}
	return errors.Join(netlink.LinkSetMTU(link, tunMTU), netlink.LinkSetUp(link))
}

// run decapsulates until ctx ends.
func (d *decapsulator) run(ctx context.Context, show <-chan os.Signal, out io.Writer) error {
	poll := make([]unix.PollFd, len(d.sockets))
	for i, s := range d.sockets {
		poll[i] = unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}
	}
	for ctx.Err() == nil {
		select {
		case <-show:
			d.print(out)
		default:
		}
		if _, err := unix.Poll(poll, idle); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
		for i := range poll {
			if poll[i].Revents == 0 {
				continue
			}
			if err := d.drain(&d.sockets[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// print prints the counters, what the sockets lost among them.
func (d *decapsulator) print(out io.Writer) {
	for k := range kinds {
		d.count.packets[k][noRoom] = 0
	}
	for _, s := range d.sockets {
		d.count.packets[s.kind][noRoom] += uint64(s.lost())
	}
	d.count.print(out)
}

// drain takes one batch from a socket, so that none keeps the others waiting.
func (d *decapsulator) drain(s *socket) error {
	n, err := d.batch.receive(s.fd)
	if err != nil {
		return fmt.Errorf("%s: %w", kindNames[s.kind], err)
	}
	for i := range n {
		f, ok := d.batch.frame(i, s, d.guePort)
		became := tooLong
		if ok {
			became = d.open(&f)
		}
		if became == delivered {
			if _, err := d.device.Write(f.Bytes()); err != nil {
				became = writeFailed
			} else {
				d.count.bytes[s.kind] += uint64(f.IPLen())
			}
		}
		d.count.packets[s.kind][became]++
	}
	return nil
}

// Close takes down device and sockets.
func (d *decapsulator) Close() error {
	err := closeSockets(d.sockets)
	if d.device != nil {
		err = errors.Join(err, d.device.Close())
	}
	return err
}
