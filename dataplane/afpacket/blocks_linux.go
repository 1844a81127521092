package afpacket

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// A block of a TPACKET_V3 ring is a header and records, each as long as its frame needs:
//
//	0            48              68        tp_mac-10        tp_mac  tp_net
//	tpacket3_hdr sockaddr_ll     reserve   virtio_net_hdr   Ethernet IP ...
//
// A frame's buffer begins behind tpacket3_hdr and ends with its record. See ring_linux.go for
// the rest.
const (
	recordAddr    = 48                  // sizeof(struct tpacket3_hdr), already aligned
	recordPkt     = recordAddr + 10     // sll_pkttype
	recordNet     = (68 + 16 + 15) / 16 // TPACKET3_HDRLEN is 48 + sizeof(struct sockaddr_ll), 20
	recordReserve = 16*((frameStart+ethLen+recordAddr+15)/16) - 16*recordNet - vnetLen

	// blockBytes holds a super-frame, also one of more than 64 KiB, and a thousand of the
	// smallest frames.
	blockBytes = 256 << 10

	// retire is after how many milliseconds the kernel gives over a block that is not full. It
	// cannot be less, and where the kernel's timer counts jiffies it takes up to two of them.
	retire = 1

	// minBlocks are enough for as many milliseconds without a turn of the worker's: at a low
	// rate each block holds but a few frames. leastBlocks are those without which it cannot
	// go on: one is filled, one is read and one waits.
	minBlocks   = 16
	leastBlocks = 3
)

// blocks receives from a TPACKET_V3 ring. The kernel writes frames one behind the other and
// gives over a whole block, when it is full or a millisecond old: it touches little memory
// for a small frame and wakes nobody for a single one.
//
// Blocks are used in order. Those in [rel, rel+taken) belong to the director; of the last
// one left records are still to be read. All others belong to the kernel, which loses
// frames when the next block is not its own, and counts them.
type blocks struct {
	core
	mem   []byte // the mapped ring
	n     int    // blocks
	room  int    // full slots that would take as much memory
	rel   int    // first block taken
	taken int
	off   uint32 // of the next record in the last block taken
	left  uint32 // records to be read there
	lent  bool   // frames are lent
	late  bool   // a block was taken since the link went down
}

// newBlocks gives c's receive socket its ring: as much memory as the slots of cfg would
// take, or less when memory is short.
func newBlocks(c core, cfg Config) (*blocks, error) {
	slot := roundUp(cfg.SlotSize, slotUnit)
	b := &blocks{core: c, n: max(minBlocks, roundUp(cfg.RingSlots*slot, blockBytes)/blockBytes)}
	var err error
	for {
		const frame = 2048 // of no consequence
		err = unix.SetsockoptTpacketReq3(c.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size: blockBytes, Block_nr: uint32(b.n),
			Frame_size: frame, Frame_nr: uint32(b.n * (blockBytes / frame)),
			Retire_blk_tov: retire,
		})
		if !errors.Is(err, unix.ENOMEM) || b.n <= leastBlocks {
			break
		}
		b.n = max(leastBlocks, b.n/2)
	}
	b.room = b.n * blockBytes / slot
	if err != nil {
		return nil, fmt.Errorf("PACKET_RX_RING of %d blocks of %d bytes: %w", b.n, blockBytes, err)
	}
	if b.mem, err = unix.Mmap(c.fd, 0, b.n*blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map ring of %d bytes: %w", b.n*blockBytes, err)
	}
	return b, nil
}

// blockHeader is struct tpacket_block_desc of linux/if_packet.h, as far as it is read.
type blockHeader struct {
	_      [2]uint32 // version, offset_to_priv
	status uint32
	num    uint32 // records
	first  uint32 // offset of the first one
}

// block is the memory of block i.
func (b *blocks) block(i int) []byte { return b.mem[i*blockBytes:][:blockBytes:blockBytes] }

func (b *blocks) header(i int) *blockHeader {
	return (*blockHeader)(unsafe.Pointer(unsafe.SliceData(b.block(i))))
}

// given reports whether the kernel has given over block i. The load orders the reads of the
// block behind the kernel's last write to it.
func (b *blocks) given(i int) bool {
	return atomic.LoadUint32(&b.header(i).status)&unix.TP_STATUS_USER != 0
}

// ahead is the number of the block n behind the first one taken.
func (b *blocks) ahead(n int) int {
	if n += b.rel; n >= b.n {
		n -= b.n
	}
	return n
}

// Slots is how many frames of the slot size the ring holds at least; fewer than configured
// when memory was short.
func (b *blocks) Slots() int { return b.room }

// Receive lends what waits in the blocks given over. Frames that are not the port's or not
// whole are skipped and counted.
func (b *blocks) Receive(frames []packet.Frame) (int, error) {
	n := 0
	for n < len(frames) && (b.left > 0 || b.take()) {
		block := b.block(b.ahead(b.taken - 1))
		v := readRecord(block, &b.off, &frames[n])
		if v == lent {
			n++
		} else {
			b.skips.count(v)
		}
		if b.left--; b.left > 0 && b.off == 0 { // nobody knows where the next one is
			b.skips.malformed += uint64(b.left)
			b.left = 0
		}
	}
	if n > 0 {
		b.lent = true
		return n, nil
	}
	if !b.lent {
		b.Release() // nothing but skipped frames: the caller has nothing to release
	}
	return 0, b.nothing()
}

// take begins with the next block, if the kernel has given it over, and notes how full the
// ring is, if more than before.
func (b *blocks) take() bool {
	if b.taken == b.n || !b.given(b.ahead(b.taken)) {
		return false
	}
	b.taken++
	// The block that was open when the link went down comes later than the news of it.
	if b.late = b.down && !b.late; !b.late {
		b.down = false
	}
	h := b.header(b.ahead(b.taken - 1))
	b.off, b.left = h.first, h.num
	full := b.taken
	for full < b.n && b.given(b.ahead(full)) {
		full++
	}
	b.peak = max(b.peak, uint8(full*100/b.n))
	return true
}

// Release gives the blocks that have been read to the end back to the kernel.
func (b *blocks) Release() {
	for ; b.taken > 1 || b.taken == 1 && b.left == 0; b.taken-- {
		atomic.StoreUint32(&b.header(b.rel).status, unix.TP_STATUS_KERNEL)
		b.rel = b.ahead(1)
	}
	b.lent = false
}

// Close unmaps the ring and closes the sockets. Frames lent before are gone; touching
// them is a fault.
func (b *blocks) Close() error {
	var err error
	if b.mem != nil {
		err = unix.Munmap(b.mem)
	}
	b.mem, b.n, b.taken, b.left = nil, 0, 0, 0
	return errors.Join(err, b.closeSockets())
}

// readRecord makes f the frame of the record at *off in a block, and moves *off to the next
// one: to 0 if that is not in the block. What points outside is refused: the memory is
// shared, and a kernel's mistake must not become a wild read.
func readRecord(block []byte, off *uint32, f *packet.Frame) verdict {
	at := uint64(*off)
	*off = 0
	if at+recordAddr+frameStart > uint64(len(block)) || at%8 != 0 {
		return skipMalformed
	}
	record := block[at:]
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(unsafe.SliceData(record)))
	if next := at + uint64(h.Next_offset); h.Next_offset != 0 && next < uint64(len(block)) {
		*off = uint32(next)
		record = block[at:next:next]
	}
	if h.Status&unix.TP_STATUS_USER == 0 || len(record) < recordAddr+frameStart {
		// Only begun: the frame has an offload that virtio_net_hdr cannot tell. What stands
		// here is of an older one.
		return skipMalformed
	}
	a := about{
		status:  h.Status,
		length:  h.Len,
		snaplen: h.Snaplen,
		tci:     uint16(h.Hv1.Vlan_tci),
		tpid:    h.Hv1.Vlan_tpid,
		kind:    record[recordPkt],
	}
	if v := a.judge(); v != lent {
		return v
	}
	return lend(record, recordAddr, h.Mac, a.snaplen, f)
}
