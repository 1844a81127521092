package conntrack

import (
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// Timeouts by state, in ticks. SetUser changes the three that ipvsadm --set changes.
type Timeouts struct {
	TCP    [TCPStates]Tick
	UDP    Tick
	SCTP   [SCTPStates]Tick
	Secure bool // the secure_tcp state table is in force
}

// DefaultTimeouts are tcp_timeouts and udp_timeouts of ip_vs_proto_{tcp,udp}.c.
func DefaultTimeouts() Timeouts {
	s := func(n int) Tick { return Ticks(time.Duration(n) * time.Second) }
	return Timeouts{
		TCP: [TCPStates]Tick{
			TCPNone: s(2), TCPEstablished: s(15 * 60), TCPSynSent: s(2 * 60), TCPSynRecv: s(60),
			TCPFinWait: s(2 * 60), TCPTimeWait: s(2 * 60), TCPClose: s(10), TCPCloseWait: s(60),
			TCPLastAck: s(30), TCPListen: s(2 * 60), TCPSynAck: s(120),
		},
		UDP:  s(5 * 60),
		SCTP: defaultSCTP(),
	}
}

// Initial is the timeout of an entry before its first packet has set a state's:
// 3*HZ in ip_vs_conn_new.
const Initial = Tick(3 * time.Second / TickLen)

// Change is what a packet did to a connection, beyond its timeout.
type Change uint8

const (
	Activated   Change = 1 << iota // counts as active from now on
	Deactivated                    // counts as inactive from now on
	Answered                       // TCP became ESTABLISHED, or a UDP server answered: its template is assured
)

// Advance takes a packet's effect on the state, flags and Timeout of c; the caller
// arms the timer (Touch) and moves the server's counts. dir is Input or Output; event is
// a TCP packet's flags, an SCTP packet's chunk type, and nothing for UDP. Entries of other
// protocols keep what they have.
func (c *Conn) Advance(dir Direction, event uint8, to *Timeouts) (ch Change) {
	switch c.Proto {
	case packet.TCP:
		if dir == Output {
			c.Flags &^= FlagNoOutput
		} else if c.Flags&FlagNoOutput != 0 {
			dir = InputOnly
		}
		next := nextTCP(to.Secure, dir, event, c.State)
		c.Timeout = to.TCP[next]
		if next == c.State {
			return 0
		}
		c.State = next
		switch inactive := c.Flags&FlagInactive != 0; {
		case inactive && tcpActive[next]:
			c.Flags &^= FlagInactive
			ch = Activated
		case !inactive && !tcpActive[next]:
			c.Flags |= FlagInactive
			ch = Deactivated
		}
		if next == TCPEstablished {
			ch |= Answered
		}
	case packet.SCTP:
		return c.advanceSCTP(dir, event, &to.SCTP)
	case packet.UDP:
		c.Timeout = to.UDP
		if dir == Output {
			ch = Answered
		}
	}
	return ch
}

var tcpNames = [TCPStates]string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT",
	"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK",
}

// StateName is the state as ipvsadm -Lc lists it.
func (c *Conn) StateName() string {
	switch {
	case c.Template():
		if c.Assured() {
			return "ASSURED"
		}
		return "NONE"
	case c.Proto == packet.TCP && c.State < TCPStates:
		return tcpNames[c.State]
	case c.Proto == packet.UDP:
		return "UDP"
	case c.Proto == packet.SCTP && c.State < SCTPStates:
		return sctpNames[c.State]
	}
	return "NONE"
}
