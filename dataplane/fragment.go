package dataplane

import (
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// reassembly is a worker's own: the fragments of a packet carry no ports, so the fanout
// brings all of them to one worker.
type reassembly struct {
	r     *encap.Reassembler
	spare *packet.Frame // lent by the arena for the next whole packet
	whole *packet.Frame // the reassembled packet in hand; nil for any other
	was   encap.Received
}

// fragment takes a fragment, as the kernel does before its hooks (ip_vs_gather_frags).
// When it was the last one missing, the whole packet goes on in its place; on the way out
// it is cut again as it came.
func (w *Worker) fragment(f *packet.Frame) (Verdict, Reason) {
	w.explainFlow(f)
	a := &w.reassembly
	if a.r == nil {
		a.r = encap.NewReassembler(encap.Limits{})
	}
	if a.spare == nil {
		a.spare = w.arena.frame(encap.MaxReassembled)
	}
	res := a.r.Add(w.now, f, a.spare)
	switch res.Outcome {
	case encap.FragIncomplete:
		return Taken, FragmentHeld
	case encap.FragComplete:
		a.whole, a.spare, a.was = a.spare, nil, res.Received
		v, r := w.packet(a.whole)
		a.whole = nil
		return v, r
	}
	w.explainWhy(fragmentWhys[res.Outcome])
	return Drop, FragmentRefused
}

// tooLong reports whether a packet must be refused for a link of mtu bytes unless it may
// be cut: an IPv6 packet that came in pieces is judged by the longest of them.
func (w *Worker) tooLong(f *packet.Frame, mtu int) bool {
	return !w.fits(f, mtu) && w.longest(f, mtu)
}

// fits reports whether there is nothing to ask about the length of a packet, as for most.
func (w *Worker) fits(f *packet.Frame, mtu int) bool {
	return f.IPLen() <= mtu && f != w.reassembly.whole
}

func (w *Worker) longest(f *packet.Frame, mtu int) bool {
	if f == w.reassembly.whole && w.reassembly.was.V6 {
		return w.reassembly.was.MaxLen > mtu
	}
	return encap.TooBig(f, mtu)
}

// cut prepares w.frag for a packet on its way out: one that came in pieces leaves in
// pieces, one that is too long for its link is cut. whole says that it leaves as it is;
// neither means that it cannot be cut.
func (w *Worker) cut(f *packet.Frame, mtu int) (whole, pieces bool) {
	if f == w.reassembly.whole && w.frag.ResetReceived(f, mtu, w.reassembly.was) {
		return false, true
	}
	if !encap.TooBig(f, mtu) {
		return true, false
	}
	return false, w.frag.Reset(f, mtu, true)
}
