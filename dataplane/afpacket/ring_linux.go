package afpacket

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A slot of a TPACKET_V2 ring, as tpacket_rcv in net/packet/af_packet.c lays it out:
//
//	0            32              52        tp_mac-10        tp_mac  tp_net
//	tpacket2_hdr sockaddr_ll     reserve   virtio_net_hdr   Ethernet IP ...
//
// tp_net is TPACKET_ALIGN(TPACKET2_HDRLEN + 16) + tp_reserve + vnetLen for an Ethernet
// header of 14 bytes. The frame's buffer begins behind tpacket2_hdr: the address is read
// before the frame is lent, so its room serves as headroom.
const (
	slotAddr   = 32                  // sizeof(struct tpacket2_hdr), already aligned
	slotPkt    = slotAddr + 10       // sll_pkttype: after family, protocol, ifindex, hatype
	slotNet    = (52 + 16 + 15) / 16 // TPACKET2_HDRLEN is 32 + sizeof(struct sockaddr_ll), 20
	ethLen     = 14                  // Ethernet II header
	frameStart = packet.Headroom + vnetLen

	// slotReserve makes room for frameStart bytes and puts the IP header on a multiple
	// of 16 bytes.
	slotReserve = 16*((frameStart+ethLen+slotAddr+15)/16) - 16*slotNet - vnetLen
)

// minRingSlots is where a queue stops asking for less memory.
const minRingSlots = 64

// ring receives from a TPACKET_V2 ring whose slots hold ordinary frames. What is larger,
// super-frames most of all, the kernel leaves in the socket's queue whole, and the slot
// says so (PACKET_COPY_THRESH, TP_STATUS_COPY): slot and queue are in the same order.
// So small frames cost no system call and a bulk transfer is copied once, into an inbox
// that stays in the cache.
//
// Slots are used in order. Those in [rel, rel+taken) belong to the director, taken of
// them, whether lent or skipped; all others belong to the kernel, which stops at the
// first slot it does not own and counts drops until that one is released.
type ring struct {
	core
	mem   []byte // the mapped ring; a slot never crosses a block, blocks are adjacent
	size  int    // bytes of a slot
	slots int
	next  int // offset of the slot to look at next
	rel   int // offset of the first slot taken
	taken int
	lent  bool // some of the slots taken are lent
	large inbox
	// pending is the socket's error that the reception of a large frame met, yet to be told.
	pending unix.Errno
	// crowded are frames for which the socket's queue, that of the large ones, had no room.
	crowded uint64
	counts  bool  // the socket's counts have been read when the ring was empty, and not since: see unjam
	news    error // of a jam, yet to be told
}

// newRing gives c's receive socket its ring, with fewer slots than cfg says when memory
// is short.
func newRing(c core, cfg Config) (*ring, error) {
	r := &ring{core: c, size: roundUp(cfg.SlotSize, slotUnit)}
	if err := r.open(cfg.RingSlots); err != nil {
		return nil, err
	}
	r.large.init()
	return r, nil
}

// open makes the ring and maps it.
func (r *ring) open(slots int) (err error) {
	r.slots, err = shrink(slots, r.size, func(slots, block int) error {
		return unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
			Block_size: uint32(r.size * block),
			Block_nr:   uint32(slots / block),
			Frame_size: uint32(r.size),
			Frame_nr:   uint32(slots),
		})
	})
	if err != nil {
		return fmt.Errorf("PACKET_RX_RING of %d slots of %d bytes: %w", r.slots, r.size, err)
	}
	r.mem, err = unix.Mmap(r.fd, 0, r.slots*r.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map ring of %d bytes: %w", r.slots*r.size, err)
	}
	return nil
}

// close unmaps the ring.
func (r *ring) close() (err error) {
	if r.mem != nil {
		err = unix.Munmap(r.mem)
	}
	r.mem, r.slots, r.next, r.rel, r.taken = nil, 0, 0, 0, 0
	return err
}

// errJammed says that a ring was made anew; see unjam.
var errJammed = errors.New("afpacket: the kernel's ring stood still after a frame with an offload that it cannot tell; it was made anew")

// emptyPerCount is how many empty receptions pass between two looks of unjam.
const emptyPerCount = 4 * emptyPerCheck

// unjam makes the ring anew if it stands still: frames were lost since it was empty, and none
// was received. The kernel marks a slot as being written and forgets to take the mark off
// when a frame has an offload that virtio_net_hdr has no word for (UFO, SCTP): then it loses
// that frame and all that come (tpacket_rcv, rx_owner_map). Each of them wakes the worker, so
// no more than two times emptyPerCount are lost. It is called when the ring is empty.
func (r *ring) unjam() {
	if r.empty%emptyPerCount != emptyPerCheck/2 || r.taken > 0 || r.mem == nil {
		return
	}
	got, lost, err := r.counted()
	was := r.counts
	if r.counts = err == nil; !was || err != nil || got > 0 || lost == 0 {
		return
	}
	slots := r.slots
	err = r.close()
	if err == nil { // large frames in the socket's queue go with the ring
		err = unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{})
	}
	if err == nil {
		err = r.open(slots)
	}
	if r.news = errJammed; err != nil {
		r.mem, r.slots = nil, 0
		r.news = fmt.Errorf("%w, which failed: %w", errJammed, err)
	}
}

// maxBlock bounds a ring's block, in bytes. Larger ones are hard to get.
const maxBlock = 1 << 20

// blockOf is how many slots of a size make a block of a ring of so many. A block is a number of
// whole pages (packet_set_ring in net/packet/af_packet.c), and as the kernel takes a power
// of two of them, a large one wastes the least.
func blockOf(size, slots int) int {
	page := os.Getpagesize()
	unit := 1
	for unit*size%page != 0 {
		unit *= 2 // a page is a power of two
	}
	return unit * max(1, min(maxBlock/(unit*size), slots/unit))
}

// shrink calls try with slots and how many make a block, and while memory is refused with
// half as many, down to minRingSlots. It returns the last number tried.
func shrink(slots, size int, try func(slots, block int) error) (int, error) {
	for {
		block := blockOf(size, slots)
		whole := roundUp(slots, block)
		err := try(whole, block)
		if slots /= 2; !errors.Is(err, unix.ENOMEM) || slots < minRingSlots {
			return whole, err
		}
	}
}

// Slots is how many frames the ring holds; fewer than configured when memory was short.
func (r *ring) Slots() int { return r.slots }

// Receive lends what waits in the ring. Frames that are not the port's or not whole are
// skipped and counted.
func (r *ring) Receive(frames []packet.Frame) (int, error) {
	n := 0
	for n < len(frames) && r.taken < r.slots {
		slot := r.mem[r.next : r.next+r.size : r.next+r.size]
		h := slotHeader(slot)
		// The load orders the reads of the slot behind the kernel's last write to it.
		status := atomic.LoadUint32(&h.Status)
		if status&unix.TP_STATUS_USER == 0 {
			break
		}
		big := status&unix.TP_STATUS_COPY != 0
		if big && r.large.free() == 0 {
			break
		}
		r.taken++
		if r.next += r.size; r.next == len(r.mem) {
			r.next = 0
		}
		v := lent
		if big {
			v = r.fetch(slotAbout(slot, h, status), &frames[n])
		} else {
			v = readSlot(slot, h, status, &frames[n])
		}
		switch {
		case v == lent:
			n++
		case v == skipTruncated && !big:
			r.crowded++
		default:
			r.skips.count(v)
		}
	}
	if r.taken > 0 && (n == len(frames) || r.taken == r.slots || r.large.free() == 0) { // more may wait
		r.look()
	}
	if n > 0 {
		r.lent, r.down = true, false
		return n, nil
	}
	if !r.lent {
		r.Release() // nothing but skipped slots: the caller has nothing to release
	}
	if err := r.news; err != nil {
		r.news = nil
		return 0, err
	}
	if errno := r.pending; errno != 0 {
		r.pending = 0
		return 0, r.failed(errno)
	}
	r.unjam()
	return 0, r.nothing()
}

// peakSteps is how finely look measures.
const peakSteps = 16

// look notes how full the ring is, if more than before: whether there is a frame that
// many slots ahead. It reads one slot, as a rule.
func (r *ring) look() {
	for step := int(r.peak) * peakSteps / 100; step < peakSteps; step++ {
		ahead := r.rel + ((step+1)*r.slots-1)/peakSteps*r.size
		if ahead >= len(r.mem) {
			ahead -= len(r.mem)
		}
		if atomic.LoadUint32(&slotHeader(r.mem[ahead:]).Status)&unix.TP_STATUS_USER == 0 {
			return
		}
		r.peak = uint8(((step+1)*100 + peakSteps - 1) / peakSteps)
	}
}

// Stats adds what found no room beside the ring to what found none in it.
func (r *ring) Stats() (dataplane.QueueStats, error) {
	s, err := r.core.Stats()
	if err == nil {
		lost := min(r.crowded, s.Received)
		s.Received -= lost
		s.Dropped += lost
		r.crowded -= lost
	}
	r.counts = false
	return s, err
}

// fetch makes f the next frame of the socket's queue, of which its slot said a. The kernel
// tells a socket's pending error before any frame (do_recvmmsg): that of a link that went
// down takes no frame from the queue, so the next try is for the same one. Every other error
// is the frame's own, which is gone with it.
func (r *ring) fetch(a about, f *packet.Frame) verdict {
	i := r.large.taken
	_, errno := r.large.receive(r.fd, 1)
	for errno == unix.EINTR || errno == unix.ENETDOWN {
		if errno == unix.ENETDOWN {
			r.pending = errno
		}
		_, errno = r.large.receive(r.fd, 1)
	}
	if errno != 0 { // EINVAL: the frame has an offload that virtio_net_hdr cannot tell
		return skipMalformed
	}
	_, truncated := r.large.about(i)
	a.snaplen = a.length // it did not fit the slot, but it is all here
	v := r.large.read(i, a, truncated, f)
	if v == lent {
		r.large.taken++
	}
	return v
}

// Release gives the slots taken so far back to the kernel, and no other: the first slot
// behind them may already hold a frame.
func (r *ring) Release() {
	for ; r.taken > 0; r.taken-- {
		atomic.StoreUint32(&slotHeader(r.mem[r.rel:]).Status, unix.TP_STATUS_KERNEL)
		if r.rel += r.size; r.rel == len(r.mem) {
			r.rel = 0
		}
	}
	r.lent, r.large.taken = false, 0
}

// Close unmaps the ring and closes the sockets. Frames lent before are gone; touching
// them is a fault.
func (r *ring) Close() error {
	return errors.Join(r.close(), r.closeSockets())
}

// slotHeader is the header at the beginning of slot: struct tpacket2_hdr,
// linux/if_packet.h.
func slotHeader(slot []byte) *unix.Tpacket2Hdr {
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(unsafe.SliceData(slot)))
}

// slotAbout is what slot's header says of its frame.
func slotAbout(slot []byte, h *unix.Tpacket2Hdr, status uint32) about {
	return about{
		status:  status,
		length:  h.Len,
		snaplen: h.Snaplen,
		tci:     h.Vlan_tci,
		tpid:    h.Vlan_tpid,
		kind:    slot[slotPkt],
	}
}

// readSlot makes f the frame in slot, whose header is h and whose status was read
// before. A header that points outside the slot is refused: the memory is shared, and
// a kernel's mistake must not become a wild read.
func readSlot(slot []byte, h *unix.Tpacket2Hdr, status uint32, f *packet.Frame) verdict {
	a := slotAbout(slot, h, status)
	if v := a.judge(); v != lent {
		return v
	}
	return lend(slot, slotAddr, h.Mac, a.snaplen, f)
}

// lend makes f the frame of snaplen bytes at mac in a slot or a record, whose header has so
// many bytes, and asks for its memory, which is read when the whole batch has been lent.
func lend(slot []byte, header uint32, mac uint16, snaplen uint32, f *packet.Frame) verdict {
	start, end := uint64(mac), uint64(mac)+uint64(snaplen)
	if mac < uint16(header)+frameStart || end > uint64(len(slot)) || snaplen < ethLen {
		return skipMalformed
	}
	packet.PrefetchWrite(unsafe.Pointer(&slot[start]))
	packet.Prefetch(unsafe.Pointer(&slot[min(start+64, end-1)])) // of the smallest frames the rest
	f.Buf = slot[header:]
	f.Start, f.End = uint32(start)-header, uint32(end)-header
	f.L2 = true
	f.Vnet = getVnet(slot[start-vnetLen : start])
	if f.Vnet.GSOType != packet.VnetGSONone {
		f.Vnet.HdrLen = headerLen(slot[start:end], f.Vnet)
	}
	return lent
}
