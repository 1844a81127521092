package conntrack

import (
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// SCTP states, with the kernel's numbers (enum in ip_vs.h: IP_VS_SCTP_S_…).
const (
	SCTPNone uint8 = iota
	SCTPInit1
	SCTPInit
	SCTPCookieSent
	SCTPCookieReplied
	SCTPCookieWait
	SCTPCookie
	SCTPCookieEchoed
	SCTPEstablished
	SCTPShutdownSent
	SCTPShutdownReceived
	SCTPShutdownAckSent
	SCTPRejected
	SCTPClosed
	SCTPStates
)

// sctpNames are the states as ipvsadm -Lc lists them (sctp_state_name_table).
var sctpNames = [SCTPStates]string{
	"NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED", "ESTABLISHED",
	"S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED",
}

// defaultSCTP are sctp_timeouts of ip_vs_proto_sctp.c; no command changes them.
func defaultSCTP() (to [SCTPStates]Tick) {
	for state := range to {
		to[state] = Ticks(61 * time.Second) // a second beyond RTO.Max, RFC 9260 section 16
	}
	to[SCTPNone] = Ticks(2 * time.Second)
	to[SCTPInit1] = Ticks(4 * time.Second)
	to[SCTPEstablished] = Ticks(15 * time.Minute)
	to[SCTPRejected] = Ticks(4 * time.Second)
	return to
}

// sctpEvent is what a chunk means to the tables (enum ipvs_sctp_event_t).
type sctpEvent uint8

const (
	evDATA sctpEvent = iota
	evINIT
	evINITACK
	evCOOKIEECHO
	evCOOKIEACK
	evSHUTDOWN
	evSHUTDOWNACK
	evSHUTDOWNDONE
	evERROR
	evABORT
	sctpEvents
)

// sctpEventOf is sctp_events: chunk types without an event of their own, SACK and
// heartbeats among them, are as DATA.
var sctpEventOf = [...]sctpEvent{
	packet.ChunkInit:             evINIT,
	packet.ChunkInitAck:          evINITACK,
	packet.ChunkAbort:            evABORT,
	packet.ChunkShutdown:         evSHUTDOWN,
	packet.ChunkShutdownAck:      evSHUTDOWNACK,
	packet.ChunkError:            evERROR,
	packet.ChunkCookieEcho:       evCOOKIEECHO,
	packet.ChunkCookieAck:        evCOOKIEACK,
	packet.ChunkShutdownComplete: evSHUTDOWNDONE,
}

const (
	aNO = SCTPNone
	aI1 = SCTPInit1
	aIN = SCTPInit
	aCS = SCTPCookieSent
	aCR = SCTPCookieReplied
	aCW = SCTPCookieWait
	aCO = SCTPCookie
	aCE = SCTPCookieEchoed
	aES = SCTPEstablished
	aSS = SCTPShutdownSent
	aSR = SCTPShutdownReceived
	aSA = SCTPShutdownAckSent
	aRJ = SCTPRejected
	aCL = SCTPClosed
)

// sctpNext is sctp_states of ip_vs_proto_sctp.c.
var sctpNext = [directions][sctpEvents][SCTPStates]uint8{
	Input: {
		/*               aNO, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL */
		evDATA:         {aES, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evINIT:         {aI1, aIN, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aIN, aIN},
		evINITACK:      {aCW, aCW, aCW, aCS, aCR, aCO, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evCOOKIEECHO:   {aCR, aIN, aIN, aCR, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evCOOKIEACK:    {aES, aI1, aIN, aCS, aCR, aCW, aCO, aES, aES, aSS, aSR, aSA, aRJ, aCL},
		evSHUTDOWN:     {aSR, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aSR, aSS, aSR, aSA, aRJ, aCL},
		evSHUTDOWNACK:  {aCL, aIN, aIN, aCS, aCR, aCW, aCO, aCE, aES, aCL, aSR, aCL, aRJ, aCL},
		evSHUTDOWNDONE: {aCL, aCL, aCL, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aCL, aRJ, aCL},
		evERROR:        {aCL, aI1, aIN, aCS, aCR, aCW, aCO, aCL, aES, aSS, aSR, aSA, aRJ, aCL},
		evABORT:        {aCL, aCL, aCL, aCL, aCL, aRJ, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL},
	},
	Output: {
		evDATA:         {aES, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evINIT:         {aCW, aCW, aCW, aCW, aCW, aCW, aCW, aCW, aES, aCW, aCW, aCW, aCW, aCW},
		evINITACK:      {aCS, aCS, aCS, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evCOOKIEECHO:   {aCE, aCE, aCE, aCE, aCE, aCE, aCE, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evCOOKIEACK:    {aES, aES, aES, aES, aES, aES, aES, aES, aES, aSS, aSR, aSA, aRJ, aCL},
		evSHUTDOWN:     {aSS, aSS, aSS, aSS, aSS, aSS, aSS, aSS, aSS, aSS, aSR, aSA, aRJ, aCL},
		evSHUTDOWNACK:  {aSA, aSA, aSA, aSA, aSA, aCW, aCO, aCE, aES, aSA, aSA, aSA, aRJ, aCL},
		evSHUTDOWNDONE: {aCL, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evERROR:        {aCL, aCL, aCL, aCL, aCL, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evABORT:        {aCL, aRJ, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL},
	},
	InputOnly: {
		evDATA:         {aES, aI1, aIN, aCS, aCR, aES, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evINIT:         {aI1, aIN, aIN, aIN, aIN, aIN, aCO, aCE, aES, aSS, aSR, aSA, aIN, aIN},
		evINITACK:      {aCE, aCE, aCE, aCE, aCE, aCE, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evCOOKIEECHO:   {aES, aES, aES, aES, aES, aES, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evCOOKIEACK:    {aES, aI1, aIN, aES, aES, aCW, aES, aES, aES, aSS, aSR, aSA, aRJ, aCL},
		evSHUTDOWN:     {aSR, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aSR, aSS, aSR, aSA, aRJ, aCL},
		evSHUTDOWNACK:  {aCL, aIN, aIN, aCS, aCR, aCW, aCO, aCE, aCL, aCL, aSR, aCL, aRJ, aCL},
		evSHUTDOWNDONE: {aCL, aCL, aCL, aCL, aCL, aCW, aCO, aCE, aES, aSS, aCL, aCL, aRJ, aCL},
		evERROR:        {aCL, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		evABORT:        {aCL, aCL, aCL, aCL, aCL, aRJ, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL},
	},
}

// nextSCTP is the state after a packet whose chunk type is chunk (Frame.SCTPChunk).
func nextSCTP(dir Direction, chunk, state uint8) uint8 {
	ev := evDATA
	if int(chunk) < len(sctpEventOf) {
		ev = sctpEventOf[chunk]
	}
	return sctpNext[dir][ev][state]
}

// advanceSCTP is Advance for an SCTP entry: set_sctp_state. Only ESTABLISHED counts as
// active.
func (c *Conn) advanceSCTP(dir Direction, chunk uint8, to *[SCTPStates]Tick) (ch Change) {
	if dir == Output {
		c.Flags &^= FlagNoOutput
	} else if c.Flags&FlagNoOutput != 0 {
		dir = InputOnly
	}
	next := nextSCTP(dir, chunk, c.State)
	c.Timeout = to[next]
	if next == c.State {
		return 0
	}
	c.State = next
	switch inactive := c.Flags&FlagInactive != 0; {
	case inactive && next == SCTPEstablished:
		c.Flags &^= FlagInactive
		ch = Activated
	case !inactive && next != SCTPEstablished:
		c.Flags |= FlagInactive
		ch = Deactivated
	}
	if next == SCTPEstablished {
		ch |= Answered
	}
	return ch
}
