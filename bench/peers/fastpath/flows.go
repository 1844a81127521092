package fastpath

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
)

// key is a flow as its packets come in, laid out as the headers have it.
type key struct {
	Src, Dst         [4]byte
	SrcPort, DstPort [2]byte
	Proto            uint32 // of the host's byte order
}

// entry is what becomes of a flow's packets. The program reads it by the offsets below,
// which a test holds against the fields.
type entry struct {
	Src, Dst         [4]byte
	SrcPort, DstPort [2]byte
	Device           uint32   // index of the interface to send by
	MACs             [12]byte // destination and source
	// What checksums change by, as sums of 16-bit words in memory's order (RFC 1624): the
	// IP header's, by the address and TTL; the transport's, by the address, which its
	// pseudo-header has, and by the port.
	IPDiff, AddrDiff, PortDiff uint32
	Packets                    uint64 // so that who expires the flow sees that it lives
}

const (
	entrySrc, entryDst, entryPorts            = 0, 4, 8
	entryDevice, entryMACs                    = 12, 16
	entryIPDiff, entryAddrDiff, entryPortDiff = 28, 32, 36
	entryPackets, entrySize                   = 40, 48
	keySize                                   = 16
)

// maxFlows is room for both directions of 100,000 flows.
const maxFlows = 1 << 18

func newFlows() (*ebpf.Map, error) {
	return ebpf.NewMap(&ebpf.MapSpec{Name: "flows", Type: ebpf.Hash, KeySize: keySize, ValueSize: entrySize, MaxEntries: maxFlows})
}

// diffs sets what checksums change by when one address and one port are replaced and the
// TTL is one less.
func (e *entry) diffs(old, new [4]byte, oldPort, newPort uint16) {
	e.AddrDiff = diff(old[:], new[:])
	e.PortDiff = diff(binary.BigEndian.AppendUint16(nil, oldPort), binary.BigEndian.AppendUint16(nil, newPort))
	e.IPDiff = e.AddrDiff + diff([]byte{1, 0}, []byte{0, 0}) // TTL is the first byte of its word
}

// diff is the sum of what words lose and get; len(old) is even and len(new) the same.
func diff(old, new []byte) (d uint32) {
	for i := 0; i < len(old); i += 2 {
		d += uint32(^binary.NativeEndian.Uint16(old[i:])) + uint32(binary.NativeEndian.Uint16(new[i:]))
	}
	return d
}
