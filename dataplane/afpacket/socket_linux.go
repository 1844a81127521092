package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
)

// bufferBytes is the receive buffer of a Batch queue and the send buffer of every
// queue. 16 MiB hold 256 super-frames, or some 20,000 small frames at the kernel's
// price of an skb each.
const bufferBytes = 16 << 20

// lookup fills index and link from the kernel.
func (d *Driver) lookup() error {
	ifi, err := net.InterfaceByName(d.cfg.Interface)
	if err != nil {
		return err
	}
	kind, err := linkType(d.cfg.Interface)
	if err != nil {
		return err
	}
	// Loopback has an Ethernet header too, with zero addresses.
	if kind != unix.ARPHRD_ETHER && kind != unix.ARPHRD_LOOPBACK {
		return fmt.Errorf("link type %d is not Ethernet", kind)
	}
	d.index = ifi.Index
	d.link = dataplane.Link{Name: ifi.Name, MTU: ifi.MTU, L2: true, Offload: true}
	copy(d.link.MAC[:], ifi.HardwareAddr)
	return nil
}

// linkType is the interface's ARPHRD number, linux/if_arp.h.
func linkType(name string) (uint16, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return 0, fmt.Errorf("SIOCGIFHWADDR: %w", err)
	}
	return ifr.Uint16(), nil // sa_family of ifr_hwaddr
}

// open makes the queues and, when there are several, their fanout group.
func (d *Driver) open(n int) (_ []dataplane.Queue, err error) {
	var (
		queues []dataplane.Queue
		fds    []int
	)
	defer func() {
		if err != nil {
			for _, q := range queues {
				q.Close()
			}
		}
	}()
	for i := range n {
		var q dataplane.Queue
		var fd int
		err := d.near(i, func() (err error) {
			q, fd, err = d.openQueue(n > 1)
			return err
		})
		if q != nil { // also when near failed behind it: all are closed then
			queues, fds = append(queues, q), append(fds, fd)
		}
		if err != nil {
			return nil, err
		}
	}
	if n > 1 {
		if err := join(fds); err != nil {
			return nil, err
		}
	}
	return queues, nil
}

// setAffinity is sched_setaffinity(2) of the calling thread; a test makes it fail.
var setAffinity = func(to *unix.CPUSet) error { return unix.SchedSetaffinity(0, to) }

// near runs f on the CPU of queue i, if Config names one: the kernel takes a ring's pages
// from the memory of the CPU that asks for them.
func (d *Driver) near(i int, f func() error) error {
	if i >= len(d.cfg.CPUs) {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("CPU affinity: %w", err)
	}
	one.Set(d.cfg.CPUs[i])
	if err := setAffinity(&one); err != nil {
		return fmt.Errorf("queue %d on CPU %d: %w", i, d.cfg.CPUs[i], err)
	}
	err := f()
	return errors.Join(err, setAffinity(&before))
}

// openQueue opens, sets and binds both sockets of one queue. A gated queue takes no
// frame until join.
func (d *Driver) openQueue(gated bool) (q dataplane.Queue, fd int, err error) {
	c, err := openCore(d.cfg.Mode, d.index)
	if err == nil && gated {
		err = setFilter(c.fd, refuseAll)
	}
	if err == nil {
		switch d.cfg.Mode {
		case Ring:
			q, err = newRing(c, d.cfg)
		case Blocks:
			q, err = newBlocks(c, d.cfg)
		default:
			q = newBatch(c)
		}
	}
	if err != nil {
		c.closeSockets()
		return nil, -1, err
	}
	// Neighbour solicitations for IPv6 VIPs come to groups the host has not joined
	// (RFC 4861 section 2.3); the interface takes all multicast while the socket is open.
	if err = takeMulticast(c.fd, d.index); err != nil {
		q.Close()
		return nil, -1, err
	}
	// Last of all, so that no frame comes before the socket is set.
	if err = bind(c.fd, unix.ETH_P_ALL, d.index); err != nil {
		q.Close()
		return nil, -1, err
	}
	return q, c.fd, nil
}

// openCore opens both sockets of a queue. On error it has opened none or leaves them
// for closeSockets.
func openCore(mode Mode, index int) (c core, err error) {
	c = core{fd: -1, tx: sender{fd: -1, bypass: true}}
	if c.fd, err = openReceiver(mode); err == nil {
		c.tx.fd, err = openSender(index)
	}
	return c, err
}

// openReceiver opens a receive socket that as yet receives nothing: protocol 0 until
// bind, or it would fill with frames of all interfaces in another format.
func openReceiver(mode Mode) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	opts := []option{
		{"PACKET_VNET_HDR", unix.PACKET_VNET_HDR, 1},
		{"PACKET_IGNORE_OUTGOING", unix.PACKET_IGNORE_OUTGOING, 1},
	}
	switch mode {
	case Ring:
		opts = append(opts,
			option{"PACKET_VERSION", unix.PACKET_VERSION, unix.TPACKET_V2},
			option{"PACKET_RESERVE", unix.PACKET_RESERVE, slotReserve},
			option{"PACKET_COPY_THRESH", unix.PACKET_COPY_THRESH, 1})
	case Blocks:
		opts = append(opts,
			option{"PACKET_VERSION", unix.PACKET_VERSION, unix.TPACKET_V3},
			option{"PACKET_RESERVE", unix.PACKET_RESERVE, recordReserve})
	default:
		opts = append(opts, option{"PACKET_AUXDATA", unix.PACKET_AUXDATA, 1})
	}
	err = setAll(fd, opts)
	if err == nil {
		err = setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bind ties fd to the interface. A receiver says ETH_P_ALL: its tap comes before the
// netdev ingress hook, where the director's guard drops the host's copies; a tap for
// one EtherType comes after it (__netif_receive_skb_core). A sender says 0 and
// receives nothing.
func bind(fd int, proto uint16, index int) error {
	var wire [2]byte // sll_protocol is in network byte order
	binary.BigEndian.PutUint16(wire[:], proto)
	err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(wire[:]), Ifindex: index})
	if errors.Is(err, unix.ENODEV) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// option is one integer socket option of SOL_PACKET.
type option struct {
	name       string
	key, value int
}

func setAll(fd int, opts []option) error {
	for _, o := range opts {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, o.key, o.value); err != nil {
			return fmt.Errorf("%s=%d: %w", o.name, o.value, err)
		}
	}
	return nil
}

// setBuffer asks for a socket buffer beyond net.core.[rw]mem_max, which needs
// CAP_NET_ADMIN; without that it takes what the sysctl allows.
func setBuffer(fd, force, plain int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, bufferBytes)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, bufferBytes)
	}
	if err != nil {
		return fmt.Errorf("socket buffer of %d bytes: %w", bufferBytes, err)
	}
	return nil
}

// takeMulticast is packet(7)'s PACKET_MR_ALLMULTI.
func takeMulticast(fd, index int) error {
	mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_ALLMULTI}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
		return fmt.Errorf("PACKET_MR_ALLMULTI: %w", err)
	}
	return nil
}
