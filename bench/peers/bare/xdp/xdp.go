// Package xdp receives and sends by AF_XDP sockets: two interfaces share one piece of
// memory, so that a frame that came in by one goes out by the other where it lies. The
// kernel copies it in and out (copy mode, which every interface has), and it knows no
// offloads: no unfinished checksums and no super-frames, so what sends to these interfaces
// must not make any.
package xdp

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// Take says which frames a queue takes away from the host: those that come in by the first
// queue of an interface and have an IPv4 header with an address at an offset.
type Take struct {
	Interface *net.Interface
	At        int // 12: the source, 16: the destination
	Addr      [4]byte
}

// batch is how many entries move at a time.
const batch = 64

// A Pair is two interfaces over one memory, which is chunks of one frame each. A chunk is
// in a fill ring, lent, being sent, or free.
type Pair struct {
	Queues  [2]Queue // in the order of Open
	mem     []byte
	free    []uint64 // addresses: offsets in mem
	sending [chunks]bool
}

// A Queue is one interface's socket, used as a dataplane.Queue is, both of a pair by one
// goroutine, and one of them at a time: Release before the other's Receive.
type Queue struct {
	*Pair
	fd       int
	fill     ring[uint64]       // chunks for the kernel to receive into
	done     ring[uint64]       // chunks that were sent
	rx, tx   ring[unix.XDPDesc] // frames
	lent     []uint64
	sockets  *ebpf.Map
	link     link.Link
	received [batch]unix.XDPDesc
}

// Open opens two interfaces of the caller's network namespace. It fails where the kernel
// has no AF_XDP or refuses the programs.
func Open(takes [2]Take) (_ *Pair, err error) {
	p := &Pair{free: make([]uint64, 0, chunks)}
	for i := range p.Queues {
		p.Queues[i] = Queue{Pair: p, fd: -1, lent: make([]uint64, 0, chunks)}
	}
	// Not the Go heap's: the kernel pins it.
	p.mem, err = unix.Mmap(-1, 0, chunks*chunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("xdp: map %d bytes: %w", chunks*chunkSize, err)
	}
	for c := range uint64(chunks) {
		p.free = append(p.free, c*chunkSize)
	}
	shared := -1
	for i, t := range takes {
		q := &p.Queues[i]
		if err := q.open(t, shared); err != nil {
			return nil, errors.Join(fmt.Errorf("xdp %s: %w", t.Interface.Name, err), p.Close())
		}
		shared = q.fd
	}
	p.settle()
	return p, nil
}

// Close takes the programs off the interfaces, then everything else.
func (p *Pair) Close() error {
	return errors.Join(p.Queues[0].close(), p.Queues[1].close(), unix.Munmap(p.mem))
}

// Receive lends what has come in, without blocking.
func (q *Queue) Receive(frames []packet.Frame) (int, error) {
	n := q.rx.take(q.received[:min(len(frames), batch)])
	if n == 0 {
		q.settle()
	}
	for i, d := range q.received[:n] {
		chunk := d.Addr &^ (chunkSize - 1)
		q.lent = append(q.lent, chunk)
		start := uint32(d.Addr - chunk)
		frames[i] = packet.Frame{Buf: q.mem[chunk:][:chunkSize:chunkSize], Start: start, End: start + d.Len, L2: true}
	}
	return n, nil
}

// Transmit sends frames that either queue has lent and returns how many the kernel took.
func (q *Queue) Transmit(frames []*packet.Frame) (int, error) {
	sent := 0
	for _, f := range frames {
		chunk := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.Buf))) - uintptr(unsafe.Pointer(unsafe.SliceData(q.mem))))
		d := [1]unix.XDPDesc{{Addr: chunk + uint64(f.Start), Len: f.End - f.Start}}
		if q.tx.put(d[:]) == 0 {
			break
		}
		q.sending[chunk/chunkSize] = true
		sent++
	}
	// A call sends 32 frames (TX_BATCH_SIZE in net/xdp/xsk.c) and says EAGAIN if there are
	// more. What it does not get rid of stays in the ring for the next time.
	for before := ringSlots + 1; ; {
		waiting := q.tx.waiting()
		if waiting == 0 || waiting == before {
			return sent, nil
		}
		before = waiting
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(q.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0, unix.EAGAIN, unix.EBUSY, unix.EINTR, unix.ENOBUFS:
		default:
			return sent, fmt.Errorf("xdp: send: %w", errno)
		}
	}
}

// Release takes the frames back.
func (q *Queue) Release() {
	for _, c := range q.lent {
		if !q.sending[c/chunkSize] {
			q.free = append(q.free, c)
		}
	}
	q.lent = q.lent[:0]
	q.settle()
}

// FD polls readable when Receive has something.
func (q *Queue) FD() int { return q.fd }

// settle takes back what both have sent and gives both something to receive into.
func (p *Pair) settle() {
	var done [batch]uint64
	for i := range p.Queues {
		for n := batch; n == batch; {
			n = p.Queues[i].done.take(done[:])
			for _, a := range done[:n] {
				c := a &^ (chunkSize - 1)
				p.sending[c/chunkSize] = false
				p.free = append(p.free, c)
			}
		}
	}
	for i := range p.Queues {
		f := &p.Queues[i].fill
		rest := len(p.free) - min(len(p.free), ringSlots-f.waiting())
		f.put(p.free[rest:])
		p.free = p.free[:rest]
	}
}
