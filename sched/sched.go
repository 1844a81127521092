// Package sched chooses among the weighted real servers of a virtual service. One
// file holds one algorithm, named as ipvsadm names it. It knows weights, connection
// counts and the order of the servers; it must not know flow state, health, files
// or clocks.
package sched

import (
	"sync/atomic"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// Server is what the schedulers see of a real server. The counters are written by
// the data plane while schedulers read them; Weight, LastWeight and Available are
// written by the control plane only, before it calls Add, Edit or Remove.
type Server struct {
	ID   uint32 // the caller's number for it; schedulers do not look at it
	Addr packet.Addr
	V6   bool
	Port uint16 // configured port, host byte order; 0 for a port-less server

	Available atomic.Bool // IP_VS_DEST_F_AVAILABLE: configured, not in the trash

	// New and ending connections write the counts, each from its worker's core. What every
	// packet reads is not on their cache line.
	_ [64]byte

	Weight     atomic.Int32 // 0: quiesced
	LastWeight atomic.Int32 // weight at the last add, or the last edit to non-zero (kernel: dest->last_weight)
	Active     atomic.Int32 // connections in an active state (kernel: activeconns)
	Inactive   atomic.Int32 // all others (kernel: inactconns)
	Overload   atomic.Bool  // IP_VS_DEST_F_OVERLOAD: the upper threshold is reached

	_ [64]byte
}

// Request is the packet that asks for a server. For an ICMP-triggered request the
// caller has swapped source and destination already.
type Request struct {
	Src, Dst packet.Addr
	SrcPort  uint16 // host byte order
	Proto    uint8
	V6       bool
	Now      time.Duration // on the data plane's clock; only differences matter
}

// Flags of a virtual service that reach its scheduler (ip_vs.h: IP_VS_SVC_F_SCHED1…3).
type Flags uint8

const (
	Flag1 Flags = 1 << iota // sh-fallback, mh-fallback
	Flag2                   // sh-port, mh-port
	Flag3
)

// Scheduler chooses servers for one service. Pick is safe for concurrent use, also
// beside the other methods, and does not allocate (lblc and lblcr may, for a new
// destination). The other methods have one caller at a time.
type Scheduler interface {
	// Pick returns the server for a new connection or a new persistence template,
	// or nil when none is eligible.
	Pick(r *Request) *Server
	// Besides returns an eligible server other than not, which has just failed: the one
	// with the fewest active connections for its weight, whatever the algorithm would
	// say; nil if there is none. Nothing is remembered of it.
	Besides(not *Server) *Server
	// Add puts a server at the head of the service's list (ip_vs_add_dest does so).
	Add(s *Server)
	// Edit says that s, already in the list, has a new weight.
	Edit(s *Server)
	// Remove takes s out of the list; its Available is false by then.
	Remove(s *Server)
	// SetFlags replaces the service's scheduler flags.
	SetFlags(f Flags)
	// Housekeep does periodic work; the caller calls it with the data plane's clock at
	// any pace, and the scheduler keeps its own period (lblc, lblcr: 60 s).
	Housekeep(now time.Duration)
}
