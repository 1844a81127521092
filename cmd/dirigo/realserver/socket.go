package realserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

const (
	batchLen   = 16
	bufferLen  = packet.Headroom + 1<<16 // an IP packet is at most 65535 bytes
	controlLen = 64                      // for one IP_TOS or IPV6_TCLASS message
	socketRoom = 8 << 20                 // bytes, as for the director's own sockets
)

// socket receives one kind of tunnel packet. A raw IPv4 socket gives the whole IP
// packet, reassembled (raw(7)); a raw IPv6 socket and a UDP socket give what is behind
// their header. That there is a raw socket for a protocol also keeps the kernel from
// answering protocol unreachable (ip_protocol_deliver_rcu).
type socket struct {
	fd    int
	kind  kind
	whole bool // packets come with their IP header
}

// openSockets opens a socket for each kind and family; GUE if port is not 0. A host
// without IPv6 has no tunnel packets of IPv6.
func openSockets(port uint16) (list []socket, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, closeSockets(list))
			list = nil
		}
	}()
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		for k := range kinds {
			if k == gue && port == 0 {
				continue
			}
			s := socket{kind: k, whole: family == unix.AF_INET && k != gue}
			s.fd, err = openSocket(family, k, port)
			if family == unix.AF_INET6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
				continue
			}
			if err != nil {
				return list, fmt.Errorf("socket for %s: %w", kindNames[k], err)
			}
			list = append(list, s)
		}
	}
	return list, nil
}

func openSocket(family int, k kind, port uint16) (fd int, err error) {
	typ, proto := unix.SOCK_RAW, int(kindProto[k])
	if k == gue {
		typ = unix.SOCK_DGRAM
	}
	if fd, err = unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto); err != nil {
		return -1, err
	}
	var bind unix.Sockaddr = &unix.SockaddrInet4{Port: int(port)}
	if family == unix.AF_INET6 {
		bind = &unix.SockaddrInet6{Port: int(port)}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	} else if k == gue {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	}
	if k == gue {
		if family == unix.AF_INET6 {
			err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1),
				// Directors send GUE without checksums, which else nobody may over IPv6: RFC 6935 section 5.
				unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1))
		}
		err = errors.Join(err, unix.Bind(fd, bind))
	}
	err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketRoom))
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func closeSockets(list []socket) (err error) {
	for _, s := range list {
		err = errors.Join(err, unix.Close(s.fd))
	}
	return err
}

// lost is how many packets found the socket's buffer full: SK_MEMINFO_DROPS, the last of
// the nine numbers of SO_MEMINFO (linux/sock_diag.h). It wraps, and is 0 before Linux 4.12.
func (s *socket) lost() uint32 {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return info[8]
}

// message is struct mmsghdr of linux/socket.h.
type message struct {
	hdr unix.Msghdr
	n   uint32
}

// batch is what one call receives. Its buffers are used again by the next.
type batch struct {
	messages [batchLen]message
	vectors  [batchLen]unix.Iovec
	buffers  [batchLen][]byte
	control  [batchLen][controlLen]byte
}

func newBatch() *batch {
	b := new(batch)
	for i := range b.messages {
		b.buffers[i] = make([]byte, bufferLen)
		room := b.buffers[i][packet.Headroom:]
		b.vectors[i].Base = &room[0]
		b.vectors[i].SetLen(len(room))
		b.messages[i].hdr.Iov = &b.vectors[i]
		b.messages[i].hdr.SetIovlen(1)
		b.messages[i].hdr.Control = &b.control[i][0]
	}
	return b
}

// receive takes what a socket has, at most a batch; 0 if there is nothing.
func (b *batch) receive(fd int) (int, error) {
	for i := range b.messages {
		b.messages[i].hdr.SetControllen(controlLen) // the kernel made it what it wrote
		b.messages[i].hdr.Flags = 0
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[0])), batchLen, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("receive: %w", errno)
}

// frame is the i-th packet received, lent until the next receive, with its outer
// headers. False if it is too long for them.
func (b *batch) frame(i int, s *socket, guePort uint16) (packet.Frame, bool) {
	m := &b.messages[i]
	f := packet.Frame{Buf: b.buffers[i], Start: packet.Headroom, End: packet.Headroom + m.n}
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		return f, false
	}
	if s.whole {
		return f, true
	}
	return f, outer(&f, kindProto[s.kind], b.tos(i), guePort)
}

// tos is the TOS or traffic class the packet came with.
func (b *batch) tos(i int) uint8 {
	m := &b.messages[i].hdr
	if m.Controllen < unix.SizeofCmsghdr {
		return 0
	}
	h, data, _, err := unix.ParseOneSocketControlMessage(b.control[i][:m.Controllen])
	switch {
	case err != nil || len(data) == 0:
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS:
		return data[0]
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
		return uint8(binary.NativeEndian.Uint32(data))
	}
	return 0
}
