package dataplane

import (
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
	mac, known := w.hops.lookup(w, port, hop)
	if f.L2 {
		f.SetMACs(mac, out.MAC)
	} else {
		f.PutEthernet(mac, out.MAC)
	}
	if !known {
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
	entries [hopEntries]hopEntry
}

const (
	hopEntries = 256 // power of two
	hopFresh   = time.Second
)

type hopEntry struct {
	addr  packet.Addr
	port  uint16
	known bool
	mac   packet.MAC
	gen   uint64
	until time.Duration
}

func (h *hopCache) lookup(w *Worker, port uint16, hop *packet.Addr) (packet.MAC, bool) {
	if w.plane.resolver != nil {
		return w.plane.resolver(*hop), true
	}
	i := (uint32(hop[15]) ^ uint32(hop[14])<<3 ^ uint32(hop[13])<<5 ^ uint32(port)<<7) % hopEntries
	e := &h.entries[i]
	gen := w.neighborGen
	if e.known && e.addr == *hop && e.port == port && e.gen == gen && w.now < e.until {
		return e.mac, true
	}
	mac, known := w.plane.neighbors.Lookup(int(port), *hop)
	if known {
		w.plane.neighbors.Used(w.now, int(port), *hop)
	}
	*e = hopEntry{addr: *hop, port: port, known: known, mac: mac, gen: gen, until: w.now + hopFresh}
	return mac, known
}
