package dataplane

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// IPv4 option types: RFC 791 section 3.1.
const (
	optEnd         = 0
	optNop         = 1
	optRecordRoute = 7
	optLSRR        = 131
	optSSRR        = 137
)

// hasOptions reports whether f's header is longer than the fixed one of IPv4.
func hasOptions(f *packet.Frame) bool { return !f.Flow.V6 && f.Buf[f.L3]&0xf > 5 }

// options walks the IPv4 options of f and calls each with type and bytes, until it
// returns false.
func options(f *packet.Frame, each func(typ uint8, opt []byte) bool) {
	if !hasOptions(f) {
		return
	}
	for b := f.Buf[f.L3+20 : f.L3+4*uint32(f.Buf[f.L3]&0xf)]; len(b) > 0 && b[0] != optEnd; {
		n := 1
		if b[0] != optNop {
			if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
				return
			}
			n = int(b[1])
		}
		if !each(b[0], b[:n]) {
			return
		}
		b = b[n:]
	}
}

// sourceRouted reports whether f says itself which way it goes. The kernel drops such
// packets (sysctl accept_source_route, off on routers).
func sourceRouted(f *packet.Frame) (found bool) {
	options(f, func(typ uint8, _ []byte) bool {
		found = typ == optLSRR || typ == optSSRR
		return !found
	})
	return found
}

// recordRoute writes the director's address into a record route option with room left
// (RFC 791 section 3.1), and mends the header checksum.
func recordRoute(f *packet.Frame, addr *packet.Addr) {
	changed := false
	options(f, func(typ uint8, opt []byte) bool {
		if typ == optRecordRoute && len(opt) >= 3 {
			if at := int(opt[2]); at >= 4 && at+3 <= len(opt) {
				copy(opt[at-1:], addr[12:])
				opt[2] += 4
				changed = true
			}
		}
		return true
	})
	if changed {
		head := f.Buf[f.L3:][:4*(f.Buf[f.L3]&0xf)]
		head[10], head[11] = 0, 0
		binary.BigEndian.PutUint16(head[10:], packet.Checksum(head))
	}
}
