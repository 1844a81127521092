package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// ttlDiff is what a sum changes by when the word of TTL and protocol becomes 0x100 less:
// ~m + m' of RFC 1624 section 3 is the same for every m.
const ttlDiff = 0xffff - 0x100

// DecTTL takes one from the TTL or hop limit and updates the IPv4 header checksum. It
// returns false, with nothing changed, when the packet may not travel on because the
// value is 1 or 0 already: the caller answers with time exceeded (RFC 1812 section
// 5.3.1, RFC 8200 section 3, RFC 4443 section 3.3).
func DecTTL(f *packet.Frame) bool {
	if f.TTL <= 1 {
		return false
	}
	f.TTL--
	if f.Flow.V6 {
		f.Buf[f.L3+7] = f.TTL
		return true
	}
	ip := f.Buf[f.L3:][:12]
	ip[8] = f.TTL
	check := binary.BigEndian.Uint16(ip[10:])
	binary.BigEndian.PutUint16(ip[10:], packet.UpdateComplete(check, ttlDiff))
	return true
}
