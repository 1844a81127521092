package twin

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/dataplane"
)

// known are differences that are the pipeline's and not yet mended. One that is no
// longer seen is to be deleted here.
var known = []struct {
	name  string
	match func(got result, want outcome) bool
}{
	{"bytes behind the IP packet are sent on", func(got result, want outcome) bool {
		trimmed := got
		trimmed.frames = nil
		for _, f := range got.frames {
			trimmed.frames = append(trimmed.frames, frame{f.port, f.bytes[:etherLen+ipLength(f.bytes[etherLen:])]})
		}
		return compare(trimmed, want) == ""
	}},
	{"a tunnel that is too narrow is judged before the TTL", func(got result, want outcome) bool {
		return want.rule == "TTL spent" && got.reason == dataplane.TunnelTooSmall
	}},
}

// martians says whether packets are sent whose source is not one host's address. The
// pipeline opens connections for them; they are to be dropped.
const martians = false

// ipLength is what the length field says.
func ipLength(b []byte) int {
	if b[0]>>4 == 6 {
		return 40 + int(binary.BigEndian.Uint16(b[4:]))
	}
	return int(binary.BigEndian.Uint16(b[2:]))
}
