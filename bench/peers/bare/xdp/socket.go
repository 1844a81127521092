package xdp

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	ringSlots = 8 << 10 // as the ring that this is compared with
	chunkSize = 2 << 10 // a frame of MTU 1500 behind XDP_PACKET_HEADROOM
	chunks    = 2 * ringSlots
)

// open makes the socket of an interface's first queue and lets an XDP program feed it.
// shared is the socket that has registered the memory, -1 if this is to be it.
func (q *Queue) open(t Take, shared int) (err error) {
	if q.fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("AF_XDP socket: %w", err)
	}
	at := &unix.SockaddrXDP{Ifindex: uint32(t.Interface.Index)}
	if shared < 0 {
		at.Flags = unix.XDP_COPY
		reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(q.mem)))), Len: uint64(len(q.mem)), Size: chunkSize}
		if _, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(q.fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
			uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0); errno != 0 {
			return fmt.Errorf("register %d bytes: %w", len(q.mem), errno)
		}
	} else { // the mode is the first one's too
		at.Flags, at.SharedUmemFD = unix.XDP_SHARED_UMEM, uint32(shared)
	}
	var o unix.XDPMmapOffsets
	size := uint32(unsafe.Sizeof(o))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(q.fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS,
		uintptr(unsafe.Pointer(&o)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return fmt.Errorf("offsets of rings: %w", errno)
	}
	var errs [4]error
	q.fill, errs[0] = mapRing[uint64](q.fd, unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_PGOFF_FILL_RING, o.Fr)
	q.done, errs[1] = mapRing[uint64](q.fd, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_UMEM_PGOFF_COMPLETION_RING, o.Cr)
	q.rx, errs[2] = mapRing[unix.XDPDesc](q.fd, unix.XDP_RX_RING, unix.XDP_PGOFF_RX_RING, o.Rx)
	q.tx, errs[3] = mapRing[unix.XDPDesc](q.fd, unix.XDP_TX_RING, unix.XDP_PGOFF_TX_RING, o.Tx)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	// What is sent waits as packets of this socket until the other end has taken it.
	if err := unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20); err != nil {
		return fmt.Errorf("SO_SNDBUFFORCE: %w", err)
	}
	if err := unix.Bind(q.fd, at); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return q.attach(t)
}

func (q *Queue) attach(t Take) (err error) {
	q.sockets, err = ebpf.NewMap(&ebpf.MapSpec{Name: "sockets", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return err
	}
	if err := q.sockets.Put(uint32(0), uint32(q.fd)); err != nil {
		return err
	}
	p, err := program(q.sockets, t.At, t.Addr)
	if err != nil {
		return err
	}
	defer p.Close() // the link holds it
	q.link, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: t.Interface.Index})
	return err
}

func (q *Queue) close() error {
	var errs []error
	if q.link != nil {
		errs = append(errs, q.link.Close())
	}
	if q.sockets != nil {
		errs = append(errs, q.sockets.Close())
	}
	if q.fd >= 0 {
		errs = append(errs, unix.Close(q.fd))
	}
	errs = append(errs, q.fill.unmap(), q.done.unmap(), q.rx.unmap(), q.tx.unmap())
	return errors.Join(errs...)
}
