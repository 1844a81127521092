package twin

import "encoding/binary"

// known are differences that are the pipeline's and not yet mended. One that is no
// longer seen is to be deleted here.
var known = []struct {
	name  string
	match func(got result, want outcome) bool
}{}

// martians says whether packets are sent whose source is not one host's address: they
// are dropped.
const martians = true

// ipLength is what the length field says.
func ipLength(b []byte) int {
	if b[0]>>4 == 6 {
		return 40 + int(binary.BigEndian.Uint16(b[4:]))
	}
	return int(binary.BigEndian.Uint16(b[2:]))
}
