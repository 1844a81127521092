package dataplane

import (
	"encoding/binary"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// send puts a finished packet into the transmit list of a port, addressed to its next
// hop there. What the port's link cannot do for it (cut a super-frame, finish a
// checksum) is done here.
func (w *Worker) send(f *packet.Frame, port uint16, hop *packet.Addr, reason Reason) (Verdict, Reason) {
	f.End = f.IPEnd // what was behind the packet (Ethernet padding) stays here, as ip_rcv trims it
	out := &w.table.ports[port]
	if encap.NeedsSegmenting(f, false, out.Offload) {
		return w.sendSegments(f, port, hop, reason)
	}
	if !out.Offload {
		f.FinishChecksum()
	}
	if !out.L2 {
		if f.L2 {
			f.StripEthernet()
		}
		w.queue(f, port)
		return Send, reason
	}
	e := w.hops.lookup(w, port, hop)
	if f.L2 {
		f.SetMACs(&e.mac, &out.MAC)
	} else {
		f.PutEthernet(&e.mac, &out.MAC)
	}
	if !e.known {
		return w.resolve(f, port, *hop)
	}
	w.queue(f, port)
	return Send, reason
}

func (w *Worker) sendSegments(f *packet.Frame, port uint16, hop *packet.Addr, reason Reason) (Verdict, Reason) {
	var seg encap.Segmenter // not w.seg: that one may be at work further up
	if !seg.Reset(f) {
		return Drop, NotSegmented
	}
	for {
		dst := w.arena.frame(seg.Size())
		if !seg.Next(dst) {
			return Send, reason
		}
		if v, r := w.send(dst, port, hop, reason); v != Send {
			return v, r
		}
	}
}

// noHop is the next hop where a port has no link addresses.
var noHop packet.Addr

// resolve leaves a copy of the frame with the neighbour cache until the next hop has
// answered. Off the hot path.
func (w *Worker) resolve(f *packet.Frame, port uint16, hop packet.Addr) (Verdict, Reason) {
	w.sendOuts(w.plane.neighbors.ResolveVnet(w.now, int(port), hop, f.Bytes(), f.Vnet))
	return Send, Resolving
}

// sendOuts queues frames that the neighbour cache wants sent.
func (w *Worker) sendOuts(outs []arp.Out) {
	for _, o := range outs {
		if o.Port >= len(w.table.ports) || !w.table.ports[o.Port].L2 {
			continue
		}
		dst := w.arena.frame(packet.Headroom + len(o.Frame))
		*dst = packet.Frame{Buf: dst.Buf, Start: packet.Headroom, End: packet.Headroom + uint32(len(o.Frame)), L2: true, Vnet: o.Vnet}
		copy(dst.Buf[packet.Headroom:], o.Frame)
		w.queue(dst, uint16(o.Port))
	}
}

// neighbor gives an ARP or NDP frame to the neighbour cache.
func (w *Worker) neighbor(f *packet.Frame) (Verdict, Reason) {
	_, outs := w.plane.neighbors.Input(w.now, int(f.Port), f.Bytes())
	w.sendOuts(outs)
	return Taken, Neighbor
}

// hopCache is a worker's own small cache of next hops' link addresses, so that the
// shared one, behind a lock, is asked once a second for each.
type hopCache struct {
	entries [1 << hopBits]hopEntry
}

const (
	hopBits  = 8
	hopFresh = time.Second
)

type hopEntry struct {
	addr  packet.Addr
	port  uint16
	known bool
	mac   packet.MAC
	gen   uint64
	until time.Duration
}

// lookup finds the link address of a next hop, good until the next lookup. Where it is not
// known it is zero.
func (h *hopCache) lookup(w *Worker, port uint16, hop *packet.Addr) *hopEntry {
	// 2^32 over the golden ratio: Knuth 6.4
	e := &h.entries[(binary.BigEndian.Uint32(hop[12:])+uint32(port)<<8)*0x9e3779b1>>(32-hopBits)]
	if e.known && w.now < e.until && e.gen == w.neighborGen && e.port == port && e.addr == *hop {
		return e
	}
	if w.plane.resolver != nil {
		*e = hopEntry{mac: w.plane.resolver(*hop), known: true}
		return e
	}
	mac, known := w.plane.neighbors.Lookup(int(port), *hop)
	if known {
		w.plane.neighbors.Used(w.now, int(port), *hop)
	}
	*e = hopEntry{addr: *hop, port: port, known: known, mac: mac, gen: w.neighborGen, until: w.now + hopFresh}
	return e
}
