package afpacket

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// Buffers of a Batch queue. Few, so that they stay in the cache from one batch to the
// next; each holds a super-frame behind its headroom. The size is no power of two, or
// all frames would begin in the same set of the cache.
const (
	batchBufs  = 32
	batchSize  = 70 << 10
	batchStart = (frameStart+ethLen+15)/16*16 - ethLen // IP header on a multiple of 16 bytes
)

// auxMsg is the one control message that comes with a frame (PACKET_AUXDATA): struct
// cmsghdr and struct tpacket_auxdata, of CMSG_SPACE's size.
type auxMsg struct {
	hdr  unix.Cmsghdr
	data unix.TpacketAuxdata
}

// batch receives by recvmmsg. Message i always uses buffer i; the first taken of them
// belong to the director until Release.
type batch struct {
	core
	mem   []byte
	taken int
	lent  bool // some of the buffers taken are lent
	msgs  [batchBufs]unix.Mmsghdr
	iovs  [batchBufs]unix.Iovec
	aux   [batchBufs]auxMsg
}

// newBatch gives c's receive socket its buffers.
func newBatch(c core) (*batch, error) {
	if err := setBuffer(c.fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF); err != nil {
		return nil, err
	}
	b := &batch{core: c, mem: make([]byte, batchBufs*batchSize)}
	for i := range b.msgs {
		buf := b.buf(i)
		b.iovs[i].Base = &buf[batchStart-vnetLen]
		b.iovs[i].SetLen(len(buf) - (batchStart - vnetLen))
		h := &b.msgs[i].Hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&b.aux[i]))
		h.SetControllen(int(unsafe.Sizeof(b.aux[i])))
	}
	return b, nil
}

// buf is buffer i.
func (b *batch) buf(i int) []byte { return b.mem[i*batchSize : (i+1)*batchSize : (i+1)*batchSize] }

// Receive lends up to batchBufs frames between two calls of Release.
func (b *batch) Receive(frames []packet.Frame) (int, error) {
	want := min(len(frames), batchBufs-b.taken)
	if want == 0 {
		return 0, nil
	}
	got, errno := recvmmsg(b.fd, b.msgs[b.taken:b.taken+want])
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		if b.down {
			return 0, b.nothing()
		}
		return 0, nil
	case unix.EINVAL: // the frame has an offload that virtio_net_hdr cannot tell; it is gone
		b.skips.count(skipMalformed)
		return 0, nil
	case unix.EBADF:
		return 0, errClosed
	default:
		return 0, b.failed(errno)
	}
	n := 0
	for i := b.taken; i < b.taken+got; i++ {
		if v := b.read(i, &frames[n]); v == lent {
			n++
		} else {
			b.skips.count(v)
		}
	}
	b.taken += got
	b.down = false
	b.lent = b.lent || n > 0
	if !b.lent {
		b.Release() // nothing but skipped frames: the caller has nothing to release
	}
	return n, nil
}

// read makes f the frame that message i brought, and readies the message for the next.
func (b *batch) read(i int, f *packet.Frame) verdict {
	m, aux := &b.msgs[i], &b.aux[i]
	var a about
	if uintptr(m.Hdr.Controllen) >= unix.SizeofCmsghdr+unsafe.Sizeof(aux.data) && aux.hdr.Level == unix.SOL_PACKET && aux.hdr.Type == unix.PACKET_AUXDATA {
		a = about{status: aux.data.Status, tci: aux.data.Vlan_tci, tpid: aux.data.Vlan_tpid}
	}
	trunc := m.Hdr.Flags&unix.MSG_TRUNC != 0
	m.Hdr.SetControllen(int(unsafe.Sizeof(*aux)))
	if v := a.judge(); v != lent {
		return v
	}
	switch {
	case trunc:
		return skipTruncated
	case m.Len < vnetLen+ethLen:
		return skipMalformed
	}
	f.Buf = b.buf(i)
	f.Start, f.End = batchStart, batchStart-vnetLen+m.Len
	f.L2 = true
	f.Vnet = getVnet(f.Buf[batchStart-vnetLen:])
	if f.Vnet.GSOType != packet.VnetGSONone {
		f.Vnet.HdrLen = headerLen(f.Bytes(), f.Vnet)
	}
	return lent
}

// Release takes all buffers back.
func (b *batch) Release() { b.taken, b.lent = 0, false }

// Close closes the sockets. Frames lent before stay readable.
func (b *batch) Close() error { return b.closeSockets() }
