package arp

import (
	"math"
	"time"
)

// Timing of the states. The names in net.ipv4.neigh.*, net.ipv6.neigh.* are the
// kernel's sysctls, whose defaults these are.
const (
	// ReachableTime is how long an answer is believed (base_reachable_time_ms; RFC 4861
	// section 10 REACHABLE_TIME). The kernel spreads it over 15 to 45 s at random; here
	// it is fixed, so that a replay repeats itself.
	ReachableTime = 30 * time.Second
	// DelayFirstProbe is how long a stale entry is used before it is probed
	// (delay_first_probe_time; RFC 4861 DELAY_FIRST_PROBE_TIME).
	DelayFirstProbe = 5 * time.Second
	// Retrans is the time between two queries (retrans_time_ms; RFC 4861 RETRANS_TIMER).
	Retrans = time.Second
	// McastSolicit is how many queries an unknown address gets (mcast_solicit).
	McastSolicit = 3
	// UcastSolicit is how many unicast probes a stale one gets (ucast_solicit).
	UcastSolicit = 3
	// GCStale is how long an unused stale entry, or a failed one, is kept (gc_stale_time).
	GCStale = 60 * time.Second
	// LockTime is how long after an answer no announcement can question it (locktime).
	// Where the kernel ignores such an announcement, here its check is put off.
	LockTime = time.Second
)

// Timing of our own policies.
const (
	// VerifySolicit and VerifyInterval: an announcement against a proven MAC is accepted
	// when that MAC leaves this many unicast probes unanswered. 0.9 s keeps a failover
	// without virtual MAC short, and two lost frames do not decide for the announcer.
	VerifySolicit  = 3
	VerifyInterval = 300 * time.Millisecond

	// AnnounceInterval separates the announcements of one VIP (arping -U sends one a
	// second; RFC 5227 section 1.1 ANNOUNCE_INTERVAL is 2 s).
	AnnounceInterval = time.Second
	// AnnounceBurst announcements are sent at once, then AnnounceGap passes: 3200 a
	// second, so that ten thousand VIPs flood neither switch nor ring.
	AnnounceBurst = 32
	AnnounceGap   = 10 * time.Millisecond
)

// Never is the NextStep of a cache with nothing to do.
const Never time.Duration = math.MaxInt64

// stepTimers bounds the timers one Step serves, and so its result and the time other
// callers wait; NextStep then stays in the past.
const stepTimers = 1024

// Defaults of Config.
const (
	defaultMaxEntries    = 65536
	defaultQueueFrames   = 64     // RFC 4861 section 7.2.2 asks for at least one; a datagram in pieces must fit
	defaultQueueBytes    = 212992 // unres_qlen_bytes
	defaultQueueTotal    = 8 << 20
	defaultAnnouncements = 2 // RFC 5227 section 1.1 ANNOUNCE_NUM
)
