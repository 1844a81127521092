package afpacket

import "iter"

// skips counts frames that a queue saw and did not pass on, since it was opened.
type skips struct {
	vlan      uint64 // received with a VLAN tag: they belong to a VLAN interface, not to this one
	outgoing  uint64 // copies of frames this host sent
	truncated uint64 // received, but larger than a slot or buffer
	malformed uint64 // received with lengths that contradict each other
	refused   uint64 // given to Transmit and refused by the kernel one by one (EINVAL, EMSGSIZE...)
}

// all gives the counts by reason.
func (s skips) all() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		_ = yield("vlan", s.vlan) &&
			yield("outgoing", s.outgoing) &&
			yield("truncated", s.truncated) &&
			yield("malformed", s.malformed) &&
			yield("refused", s.refused)
	}
}

// verdict says what becomes of a received frame.
type verdict uint8

const (
	lent verdict = iota
	skipVLAN
	skipOutgoing
	skipTruncated
	skipMalformed
)

// count adds a skipped frame to s.
func (s *skips) count(v verdict) {
	switch v {
	case skipVLAN:
		s.vlan++
	case skipOutgoing:
		s.outgoing++
	case skipTruncated:
		s.truncated++
	case skipMalformed:
		s.malformed++
	}
}

// about is what the kernel tells of a frame beside its bytes: in a ring's slot
// (struct tpacket2_hdr) or in a control message (struct tpacket_auxdata).
type about struct {
	status    uint32 // TP_STATUS_...
	length    uint32 // bytes of the frame
	snaplen   uint32 // bytes that are there
	tci, tpid uint16 // the VLAN tag the kernel took off, when status says it is valid
	kind      uint8  // PACKET_HOST ... of linux/if_packet.h
}

// Values of about that matter here, from linux/if_packet.h.
const (
	statusVLANValid     = 1 << 4 // TP_STATUS_VLAN_VALID
	statusVLANTPIDValid = 1 << 6 // TP_STATUS_VLAN_TPID_VALID
	kindOutgoing        = 4      // PACKET_OUTGOING
	vlanID              = 0x0fff // IEEE 802.1Q: the tag's low 12 bits
	tpid8021Q           = 0x8100 // IEEE 802.1Q customer tag
)

// judge decides by what the kernel says alone.
//
// The kernel takes every VLAN tag off before a tap sees the frame. One with a VLAN
// number is the business of that VLAN's interface, where the director can open a port;
// here it would look like untagged traffic and leak from one network into another.
// Number 0 is only a priority (IEEE 802.1Q section 6.9): the frame is the port's own.
func (a *about) judge() verdict {
	switch {
	case a.kind == kindOutgoing:
		return skipOutgoing
	case a.status&statusVLANValid != 0 && !a.priorityTagged():
		return skipVLAN
	case a.snaplen < a.length:
		return skipTruncated
	}
	return lent
}

// priorityTagged reports whether a valid tag names no VLAN.
func (a *about) priorityTagged() bool {
	plain := a.status&statusVLANTPIDValid == 0 || a.tpid == tpid8021Q
	return plain && a.tci&vlanID == 0
}
