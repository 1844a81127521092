package packet

import "encoding/binary"

// SCTP chunk types, RFC 9260 section 3.2: those that move an association's state.
const (
	ChunkData             = 0
	ChunkInit             = 1
	ChunkInitAck          = 2
	ChunkAbort            = 6
	ChunkShutdown         = 7
	ChunkShutdownAck      = 8
	ChunkError            = 9
	ChunkCookieEcho       = 10
	ChunkCookieAck        = 11
	ChunkShutdownComplete = 14
)

// chunkLen is the length of a chunk header in bytes, the least that a chunk's length
// field may say: RFC 9260 section 3.2.
const chunkLen = 4

// SCTPFirst returns the type of the first chunk of the parsed frame f. This decides
// whether a packet may begin an association. ok is false for another protocol, a
// fragment that is not the first, and a packet that ends before a whole chunk header.
func (f *Frame) SCTPFirst() (typ uint8, ok bool) {
	if f.Flow.Proto != SCTP || f.FragOff != 0 || f.L4+sctpLen+chunkLen > f.IPEnd {
		return 0, false
	}
	return f.Buf[f.L4+sctpLen], true
}

// SCTPChunk returns the chunk type that the parsed frame f means to the state of its
// association (set_sctp_state in ip_vs_proto_sctp.c). It is the first chunk's, but a
// COOKIE ECHO or COOKIE ACK with an ABORT right behind it is that ABORT: of the chunks
// that open an association only these may be bundled (RFC 9260 section 6.10), and a
// server without room refuses by such a packet. ok is as for SCTPFirst; a packet for
// which it is false changes neither state nor timeout.
func (f *Frame) SCTPChunk() (typ uint8, ok bool) {
	typ, ok = f.SCTPFirst()
	if !ok || typ != ChunkCookieEcho && typ != ChunkCookieAck {
		return typ, ok
	}
	at := f.L4 + sctpLen
	size := uint32(binary.BigEndian.Uint16(f.Buf[at+2:]))
	if size < chunkLen {
		return typ, true
	}
	at += (size + 3) &^ 3 // padding to four bytes is not in the length field
	if at+chunkLen <= f.IPEnd && f.Buf[at] == ChunkAbort {
		typ = ChunkAbort
	}
	return typ, true
}
