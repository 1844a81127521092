package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// TCPPayload returns the payload of an unfragmented TCP packet, a view into the lent
// buffer; nil when f is no such packet.
func TCPPayload(f *packet.Frame) []byte {
	if f.Flow.Proto != packet.TCP || f.Fragment() {
		return nil
	}
	header := tcpHeaderLen(f)
	if header < tcpHeader || f.L4+header > f.IPEnd {
		return nil
	}
	return f.Buf[f.L4+header : f.IPEnd]
}

// Resize replaces oldLen bytes of f's TCP payload, from the offset at on, by text, which
// may be shorter or longer and must not lie in f's buffer. What follows moves; Ethernet
// padding goes. IP length and checksums become right again, an unfinished TCP checksum
// stays unfinished. A complete one is computed anew (nf_nat_mangle_tcp_packet), so a
// wrong one becomes right: whoever minds verifies it before (the kernel drops a wrong
// one where a helper is at work). Sequence numbers are left to SeqAdjust.
//
// It returns false, with nothing changed, when f is no unfragmented TCP packet, the
// bytes to replace are not in its payload, f.Buf has no room behind the packet, or the
// packet would become longer than an IP packet can be.
func Resize(f *packet.Frame, at, oldLen int, text []byte) bool {
	payload := TCPPayload(f)
	if at < 0 || oldLen < 0 || at > len(payload) || oldLen > len(payload)-at || payload == nil {
		return false
	}
	limit := maxLength4
	if f.Flow.V6 {
		limit = ip6Header + maxPayload6
	}
	end := int(f.IPEnd) + len(text) - oldLen
	if end > len(f.Buf) || end-int(f.L3) > limit {
		return false
	}
	from := int(f.IPEnd) - len(payload) + at
	copy(f.Buf[from+len(text):end], f.Buf[from+oldLen:f.IPEnd])
	copy(f.Buf[from:], text)
	f.IPEnd, f.End = uint32(end), uint32(end)
	setIPLength(f)
	if !f.Flow.V6 {
		putIPChecksum(f.Buf[f.L3:f.L4])
	}
	tcp := f.Buf[f.L4:end]
	if unfinished(f) {
		pseudo := packet.PseudoSum(f.Flow, packet.TCP, len(tcp))
		binary.BigEndian.PutUint16(tcp[16:], packet.Fold(pseudo))
	} else {
		putTransportChecksum(f, tcp, 16)
	}
	return true
}

// SeqAdjust says how the sequence numbers of one direction of a TCP connection are
// shifted since the director changed the length of its text (kernel struct ip_vs_seq).
// The zero value shifts nothing.
type SeqAdjust struct {
	InitSeq       uint32 // of the last segment that was resized, as its sender numbered it
	Delta         int32  // shift of what comes after InitSeq
	PreviousDelta int32  // shift of what comes up to InitSeq; equals Delta if nothing was resized
}

// Resized notes that the segment that its sender numbered seq grew by diff bytes. A
// segment that is not behind the last one changes nothing: it is a retransmission
// (vs_seq_update).
func (a *SeqAdjust) Resized(seq uint32, diff int) {
	if diff == 0 || a.Delta != a.PreviousDelta && !after(seq, a.InitSeq) {
		return
	}
	a.PreviousDelta = a.Delta
	a.Delta += int32(diff)
	a.InitSeq = seq
}

// FixSeq shifts the sequence number of f, a TCP packet of this direction, and updates
// the checksum, so that a wrong one stays wrong (vs_fix_seq). The segment that was
// resized last is not shifted by its own growth, so FixSeq and Resized of one segment may
// come in either order, if Resized is given the number that the sender wrote.
func (a *SeqAdjust) FixSeq(f *packet.Frame) {
	if seq, ok := tcpField(f, 4); ok && a.Delta|a.PreviousDelta != 0 {
		delta := a.PreviousDelta
		if after(seq, a.InitSeq) {
			delta = a.Delta
		}
		setTCPField(f, 4, seq, seq+uint32(delta))
	}
}

// FixAck shifts back the acknowledgment number of f, a TCP packet of the other
// direction, and updates the checksum (vs_fix_ack_seq; as there, whether ACK is set or
// not). SACK blocks stay.
func (a *SeqAdjust) FixAck(f *packet.Frame) {
	if ack, ok := tcpField(f, 8); ok && a.Delta|a.PreviousDelta != 0 {
		delta := a.PreviousDelta
		if after(ack, a.InitSeq+uint32(a.Delta)) {
			delta = a.Delta
		}
		setTCPField(f, 8, ack, ack-uint32(delta))
	}
}

// after reports whether sequence number a is after b (RFC 9293 section 3.4).
func after(a, b uint32) bool { return int32(a-b) > 0 }

// tcpField reads the 32-bit field at off of f's TCP header; false if it is not there.
func tcpField(f *packet.Frame, off uint32) (uint32, bool) {
	if f.Flow.Proto != packet.TCP || f.FragOff != 0 || f.L4+tcpHeader > f.IPEnd {
		return 0, false
	}
	return binary.BigEndian.Uint32(f.Buf[f.L4+off:]), true
}

// setTCPField changes it from old to new. An unfinished checksum does not cover it yet.
func setTCPField(f *packet.Frame, off, old, new uint32) {
	tcp := f.Buf[f.L4:][:tcpHeader]
	binary.BigEndian.PutUint32(tcp[off:], new)
	if !unfinished(f) {
		check := binary.BigEndian.Uint16(tcp[16:])
		binary.BigEndian.PutUint16(tcp[16:], packet.UpdateComplete(check, packet.Diff32(old, new, 0)))
	}
}
