package conntrack

import "github.com/dirigo-lb/dirigo/packet"

// TCP states, with the kernel's numbers (enum in ip_vs.h: IP_VS_TCP_S_…).
const (
	TCPNone uint8 = iota
	TCPEstablished
	TCPSynSent
	TCPSynRecv
	TCPFinWait
	TCPTimeWait
	TCPClose
	TCPCloseWait
	TCPLastAck
	TCPListen
	TCPSynAck
	TCPStates
)

// Direction of a packet through a connection.
type Direction uint8

const (
	Input     Direction = iota // from the client, while the server's packets are seen too (NAT)
	Output                     // from the server
	InputOnly                  // from the client, the server's packets are not seen (DR, tunnel)
	directions
)

// tcpEvent is what a segment means to the tables: the first of RST, SYN, FIN, ACK
// that is set (tcp_state_idx).
type tcpEvent uint8

const (
	evSYN tcpEvent = iota
	evFIN
	evACK
	evRST
	tcpEvents
)

const (
	sNO = TCPNone
	sES = TCPEstablished
	sSS = TCPSynSent
	sSR = TCPSynRecv
	sFW = TCPFinWait
	sTW = TCPTimeWait
	sCL = TCPClose
	sCW = TCPCloseWait
	sLA = TCPLastAck
	sLI = TCPListen
	sSA = TCPSynAck
)

type tcpTable [directions][tcpEvents][TCPStates]uint8

// tcpNext is tcp_states of ip_vs_proto_tcp.c.
var tcpNext = tcpTable{
	Input: {
		/*        sNO, sES, sSS, sSR, sFW, sTW, sCL, sCW, sLA, sLI, sSA */
		evSYN: {sSR, sES, sES, sSR, sSR, sSR, sSR, sSR, sSR, sSR, sSR},
		evFIN: {sCL, sCW, sSS, sTW, sTW, sTW, sCL, sCW, sLA, sLI, sTW},
		evACK: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sCL, sLI, sES},
		evRST: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sSR},
	},
	Output: {
		evSYN: {sSS, sES, sSS, sSR, sSS, sSS, sSS, sSS, sSS, sLI, sSR},
		evFIN: {sTW, sFW, sSS, sTW, sFW, sTW, sCL, sTW, sLA, sLI, sTW},
		evACK: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sLA, sES, sES},
		evRST: {sCL, sCL, sSS, sCL, sCL, sTW, sCL, sCL, sCL, sCL, sCL},
	},
	InputOnly: {
		evSYN: {sSR, sES, sES, sSR, sSR, sSR, sSR, sSR, sSR, sSR, sSR},
		evFIN: {sCL, sFW, sSS, sTW, sFW, sTW, sCL, sCW, sLA, sLI, sTW},
		evACK: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sCL, sLI, sES},
		evRST: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sCL},
	},
}

// tcpNextSecure is tcp_states_dos of ip_vs_proto_tcp.c, in force while secure_tcp is.
var tcpNextSecure = tcpTable{
	Input: {
		/*        sNO, sES, sSS, sSR, sFW, sTW, sCL, sCW, sLA, sLI, sSA */
		evSYN: {sSR, sES, sES, sSR, sSR, sSR, sSR, sSR, sSR, sSR, sSA},
		evFIN: {sCL, sCW, sSS, sTW, sTW, sTW, sCL, sCW, sLA, sLI, sSA},
		evACK: {sES, sES, sSS, sSR, sFW, sTW, sCL, sCW, sCL, sLI, sSA},
		evRST: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sCL},
	},
	Output: {
		evSYN: {sSS, sES, sSS, sSA, sSS, sSS, sSS, sSS, sSS, sLI, sSA},
		evFIN: {sTW, sFW, sSS, sTW, sFW, sTW, sCL, sTW, sLA, sLI, sTW},
		evACK: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sLA, sES, sES},
		evRST: {sCL, sCL, sSS, sCL, sCL, sTW, sCL, sCL, sCL, sCL, sCL},
	},
	InputOnly: {
		evSYN: {sSA, sES, sES, sSR, sSA, sSA, sSA, sSA, sSA, sSA, sSA},
		evFIN: {sCL, sFW, sSS, sTW, sFW, sTW, sCL, sCW, sLA, sLI, sTW},
		evACK: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sCL, sLI, sES},
		evRST: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sCL},
	},
}

// tcpActive says which states count as active (tcp_state_active_table).
var tcpActive = [TCPStates]bool{
	TCPEstablished: true, TCPSynSent: true, TCPSynRecv: true, TCPSynAck: true,
}

// nextTCP is the state after a segment with flags; without RST, SYN, FIN and ACK the
// connection is CLOSE.
func nextTCP(secure bool, dir Direction, flags, state uint8) uint8 {
	var ev tcpEvent
	switch {
	case flags&packet.RST != 0:
		ev = evRST
	case flags&packet.SYN != 0:
		ev = evSYN
	case flags&packet.FIN != 0:
		ev = evFIN
	case flags&packet.ACK != 0:
		ev = evACK
	default:
		return TCPClose
	}
	if secure {
		return tcpNextSecure[dir][ev][state]
	}
	return tcpNext[dir][ev][state]
}
