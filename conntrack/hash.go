package conntrack

import (
	"encoding/binary"
	"math/bits"

	"github.com/dirigo-lb/dirigo/packet"
)

// Key is the client's end of a connection with the other end as one side sees it:
// the virtual service's for packets from the client, the packet's source for packets
// from a server.
type Key struct {
	Client, Other         packet.Addr
	ClientPort, OtherPort uint16 // host byte order
	Proto                 uint8
	V6                    bool
}

// FromClient is the key of a packet of a client. Like FromServer it writes field by field:
// a Key built first and then copied waits for its own stores.
func (k *Key) FromClient(fl *packet.Flow) {
	k.Client, k.ClientPort, k.Other, k.OtherPort = fl.Src, fl.SrcPort, fl.Dst, fl.DstPort
	k.Proto, k.V6 = fl.Proto, fl.V6
}

// FromServer is the key of a packet of a server.
func (k *Key) FromServer(fl *packet.Flow) {
	k.Client, k.ClientPort, k.Other, k.OtherPort = fl.Dst, fl.DstPort, fl.Src, fl.SrcPort
	k.Proto, k.V6 = fl.Proto, fl.V6
}

// hash mixes what both directions share: the client's address, port and the
// protocol (ip_vs_conn_hashkey). Two secret words keep a client from choosing its chain.
func (t *Table) hash(proto uint8, addr *packet.Addr, port uint16) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(addr[8:])^t.seed[0], binary.LittleEndian.Uint64(addr[:])^t.seed[1])
	hi, lo = bits.Mul64(hi^lo^t.seed[1], uint64(port)<<8^uint64(proto)^t.seed[0])
	return hi ^ lo
}

// hashOf is the hash that c is stored under.
func (t *Table) hashOf(c *Conn) uint64 { return t.hash(c.Proto, &c.Client, c.ClientPort) }
