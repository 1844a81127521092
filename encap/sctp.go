package encap

import (
	"encoding/binary"

	"github.com/dirigo-lb/dirigo/packet"
)

// rewriteSCTP brings the CRC32c (RFC 9260 section 6.8) up to date after a rewrite. It
// does not cover addresses: the kernel (sctp_dnat_handler) computes it only when the
// port changed. An unfinished one is finished in any case: a virtio_net_hdr has no word
// for it, so that nobody after us would. Fragments hold only a part of what it covers.
func rewriteSCTP(f *packet.Frame, ported bool) {
	switch {
	case f.Fragment():
	case unfinished(f):
		f.FinishChecksum()
	case ported:
		b := f.Buf[f.L4:f.IPEnd]
		binary.LittleEndian.PutUint32(b[8:], packet.SCTPChecksum(b))
	}
}
