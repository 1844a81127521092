package dataplane

import "github.com/dirigo-lb/dirigo/packet"

// An arena lends frames for what the director makes itself within a batch: segments,
// fragments, ICMP errors, neighbour queries. It keeps its memory, so a worker that has
// seen its largest batch allocates no more.
type arena struct {
	chunks [][]byte
	chunk  int // in use
	off    int
	frames []*packet.Frame
	used   int
}

const (
	arenaChunk = 256 << 10 // more than any frame
	arenaKept  = 32        // chunks kept from one batch to the next
)

// frame lends a frame with a zeroed header and a buffer of n bytes, until reset.
func (a *arena) frame(n int) *packet.Frame {
	if a.chunk < len(a.chunks) && a.off+n > arenaChunk {
		a.chunk, a.off = a.chunk+1, 0
	}
	if a.chunk == len(a.chunks) {
		a.chunks = append(a.chunks, make([]byte, arenaChunk))
	}
	if a.used == len(a.frames) {
		block := make([]packet.Frame, 64)
		for i := range block {
			a.frames = append(a.frames, &block[i])
		}
	}
	f := a.frames[a.used]
	a.used++
	*f = packet.Frame{Buf: a.chunks[a.chunk][a.off : a.off+n : a.off+n]}
	a.off += n
	return f
}

// reset takes all frames back.
func (a *arena) reset() {
	if len(a.chunks) > arenaKept {
		a.chunks = a.chunks[:arenaKept:arenaKept]
	}
	a.chunk, a.off, a.used = 0, 0, 0
}
