package afpacket

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// Buffers of an inbox. Few, so that they stay in the cache from one batch to the next;
// each holds a super-frame behind its headroom. The size is no power of two, or all
// frames would begin in the same set of the cache.
const (
	inboxBufs  = 32
	inboxSize  = 70 << 10
	inboxStart = (frameStart+ethLen+15)/16*16 - ethLen // IP header on a multiple of 16 bytes
)

// auxMsg is the one control message that comes with a frame (PACKET_AUXDATA): struct
// cmsghdr and struct tpacket_auxdata, of CMSG_SPACE's size.
type auxMsg struct {
	hdr  unix.Cmsghdr
	data unix.TpacketAuxdata
}

// inbox are buffers for frames that wait in a socket's own queue. Message i always uses
// buffer i; the first taken of them belong to the director.
type inbox struct {
	mem   []byte
	taken int
	msgs  [inboxBufs]unix.Mmsghdr
	iovs  [inboxBufs]unix.Iovec
	aux   [inboxBufs]auxMsg
}

// init makes the buffers. Their memory is the director's only once it is used.
func (b *inbox) init() {
	b.mem = make([]byte, inboxBufs*inboxSize)
	for i := range b.msgs {
		buf := b.buf(i)
		b.iovs[i].Base = &buf[inboxStart-vnetLen]
		b.iovs[i].SetLen(len(buf) - (inboxStart - vnetLen))
		h := &b.msgs[i].Hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&b.aux[i]))
		h.SetControllen(int(unsafe.Sizeof(b.aux[i])))
	}
}

// buf is buffer i.
func (b *inbox) buf(i int) []byte { return b.mem[i*inboxSize : (i+1)*inboxSize : (i+1)*inboxSize] }

// free is how many buffers are left.
func (b *inbox) free() int { return inboxBufs - b.taken }

// receive fills up to n of the free buffers, which are then the messages from taken on.
func (b *inbox) receive(fd, n int) (int, unix.Errno) {
	return recvmmsg(fd, b.msgs[b.taken:b.taken+n])
}

// about is what came beside message i's bytes; it readies the message for the next.
func (b *inbox) about(i int) (a about, truncated bool) {
	m, aux := &b.msgs[i], &b.aux[i]
	if uintptr(m.Hdr.Controllen) >= unix.SizeofCmsghdr+unsafe.Sizeof(aux.data) && aux.hdr.Level == unix.SOL_PACKET && aux.hdr.Type == unix.PACKET_AUXDATA {
		a = about{status: aux.data.Status, tci: aux.data.Vlan_tci, tpid: aux.data.Vlan_tpid}
	}
	m.Hdr.SetControllen(int(unsafe.Sizeof(*aux)))
	return a, m.Hdr.Flags&unix.MSG_TRUNC != 0
}

// read makes f the frame that message i brought and a tells about.
func (b *inbox) read(i int, a about, truncated bool, f *packet.Frame) verdict {
	m := &b.msgs[i]
	if v := a.judge(); v != lent {
		return v
	}
	switch {
	case truncated:
		return skipTruncated
	case m.Len < vnetLen+ethLen:
		return skipMalformed
	}
	f.Buf = b.buf(i)
	f.Start, f.End = inboxStart, inboxStart-vnetLen+m.Len
	f.L2 = true
	f.Vnet = getVnet(f.Buf[inboxStart-vnetLen:])
	if f.Vnet.GSOType != packet.VnetGSONone {
		f.Vnet.HdrLen = headerLen(f.Bytes(), f.Vnet)
	}
	return lent
}
