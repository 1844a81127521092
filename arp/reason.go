package arp

// Reason names what became of a frame given to Input, or another event worth a count.
// The set is closed; the name is the counter's.
type Reason uint8

// Outcomes of Input. Those up to Updated are about the sender's binding and more
// noteworthy than the answer to its question.
const (
	Conflict           Reason = iota // sender claims an address this port answers for with a MAC not ours (RFC 5227 section 2.4)
	StaticRefused                    // announcement against a static binding
	SpoofSuspected                   // announcement against a proven MAC: that one is asked first
	Learned                          // solicited answer gave an unresolved address its MAC
	Confirmed                        // solicited answer from the MAC we have
	Updated                          // announcement replaced a missing or never proven MAC
	Answered                         // query for a VIP answered
	ProbeAnswered                    // address probe (RFC 5227) or DAD solicitation (RFC 4862) for a VIP answered
	Unchanged                        // announcement of what is known, or an answer not asked for that agrees with it
	UnsolicitedIgnored               // announcement for an address not in the cache
	NotOurs                          // query for an address this port does not own
	OtherHost                        // Ethernet destination is another host's
	Own                              // sent by one of our own ports
	Malformed                        // ARP or ND, but breaks its RFC
	NotNeighbour                     // neither ARP nor neighbour solicitation or advertisement
	NoPort                           // no such port, or one without Ethernet

	// Events.
	Queries           // multicast or broadcast queries sent
	Probes            // unicast probes sent
	Announced         // announcements sent
	SpoofRejected     // the proven MAC answered: announcement dropped
	Moved             // the proven MAC stayed silent: announced one accepted
	Unresolved        // resolutions without an answer
	Unreachable       // known neighbours that stopped answering
	Expired           // entries nobody used any more
	Evicted           // entries that made room
	Queued            // frames held for an unresolved address
	QueueOverflow     // held frames dropped for a younger one, or too long to hold
	QueueDropped      // held frames whose address failed, was evicted or lost its port
	BadTarget         // Resolve of an address that is no neighbour's (own, multicast, unspecified ...), or with no room for an Ethernet header
	NoSource          // Resolve of an IPv6 address on a port without one of its own
	NumReasons    int = iota
)

var reasonNames = [NumReasons]string{
	Conflict:           "conflict",
	StaticRefused:      "static_refused",
	SpoofSuspected:     "spoof_suspected",
	Learned:            "learned",
	Confirmed:          "confirmed",
	Updated:            "updated",
	Answered:           "answered",
	ProbeAnswered:      "probe_answered",
	Unchanged:          "unchanged",
	UnsolicitedIgnored: "unsolicited_ignored",
	NotOurs:            "not_ours",
	OtherHost:          "other_host",
	Own:                "own",
	Malformed:          "malformed",
	NotNeighbour:       "not_neighbour",
	NoPort:             "no_port",
	Queries:            "queries",
	Probes:             "probes",
	Announced:          "announced",
	SpoofRejected:      "spoof_rejected",
	Moved:              "moved",
	Unresolved:         "unresolved",
	Unreachable:        "unreachable",
	Expired:            "expired",
	Evicted:            "evicted",
	Queued:             "queued",
	QueueOverflow:      "queue_overflow",
	QueueDropped:       "queue_dropped",
	BadTarget:          "bad_target",
	NoSource:           "no_source",
}

// String is the reason's counter name, in lower_snake words.
func (r Reason) String() string {
	if int(r) < NumReasons {
		return reasonNames[r]
	}
	return "unknown"
}

// Counters are event counts since New, indexed by Reason.
type Counters [NumReasons]uint64
