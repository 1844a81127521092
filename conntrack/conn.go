package conntrack

import (
	"sync/atomic"
	"unsafe"

	"github.com/dirigo-lb/dirigo/packet"
)

// Ref names an entry of a Table: an index into its slab. The zero Ref is none. A Ref
// is good while the entry's shard is locked, or while the holder counts as a child.
type Ref uint32

// NoServer is the Server of an entry that is bound to none.
const NoServer = ^uint32(0)

// Conn is one connection or one persistence template. Ports are in host byte order.
// The first 64 bytes are what a lookup reads. Fields are guarded by the lock of the
// entry's shard, but for children, which is atomic.
type Conn struct {
	Client, Virtual, Dest             packet.Addr
	ClientPort, VirtualPort, DestPort uint16
	Proto                             uint8 // 0 for the template of a fwmark service
	State                             uint8 // TCP…; always 0 for UDP; a template's state is Assured
	Flags                             Flags
	next                              Ref // of a bucket beyond its lanes, newest first; free list
	Timeout                           Tick
	expires                           Tick
	Server                            uint32 // id of the bound real server, or NoServer
	InPkts                            uint32 // packets from the client; stops at the maximum
	parent                            Ref
	children                          uint32 // entries that name this one as parent, and bitAssured
	timerNext                         Ref
	timerPrev                         Ref // or, with slotBit, the wheel slot this entry heads
}

// A silent growth of Conn breaks the build.
var _ [96]byte = [unsafe.Sizeof(Conn{})]byte{}

// Flags of an entry; the low 17 bits are the kernel's IP_VS_CONN_F_… values, which are
// on the wire in the sync protocol.
type Flags uint32

const (
	FlagMethod    Flags = 0x0007          // forwarding method: conf.Forward
	FlagSync      Flags = 0x0020          // made by a sync message
	FlagNoOutput  Flags = 0x0080          // no packet from the server side has been seen
	FlagInactive  Flags = 0x0100          // counted as inactive
	FlagOutSeq    Flags = 0x0200          // sequence numbers of server packets are adjusted
	FlagInSeq     Flags = 0x0400          // sequence numbers of client packets are adjusted
	FlagNoCPort   Flags = 0x0800          // client port not known yet
	FlagTemplate  Flags = 0x1000          // persistence template
	FlagOnePacket Flags = 0x2000          // never in the table
	flagRefusals  Flags = 7 << refusalsAt // how many servers refused its client before (ours); see Refusals
	FlagRefused   Flags = 1 << 28         // its server refused it, and the client does not know (ours)
	FlagApp       Flags = 1 << 29         // an application helper reads along (ours)
	FlagV6        Flags = 1 << 30         // client and virtual addresses are IPv6 (ours, not the kernel's)
	FlagDestV6    Flags = 1 << 31         // the server's address is IPv6 (differs with tunnels only)
)

const refusalsAt = 25

// Method is the forwarding method bits.
func (c *Conn) Method() uint8 { return uint8(c.Flags & FlagMethod) }

// Refusals is how many servers have refused the client before, without its knowledge: 0 to 7.
func (c *Conn) Refusals() int { return int(c.Flags & flagRefusals >> refusalsAt) }

// SetRefusals sets Refusals of a new entry.
func (c *Conn) SetRefusals(n int) {
	c.Flags = c.Flags&^flagRefusals | Flags(min(n, 7))<<refusalsAt
}

// Template reports whether c is a persistence template.
func (c *Conn) Template() bool { return c.Flags&FlagTemplate != 0 }

// Expires is the instant at which c's timer fires.
func (c *Conn) Expires() Tick { return c.expires }

// Parent is the template or control connection that c belongs to; 0 if none.
func (c *Conn) Parent() Ref { return c.parent }

const bitAssured = 1 << 31 // IP_VS_CTPL_S_ASSURED, kept beside the count so that both are atomic

// Children is the number of entries whose parent c is (kernel: n_control).
func (c *Conn) Children() int { return int(atomic.LoadUint32(&c.children) &^ bitAssured) }

// Assured reports whether a child of template c was seen to be answered.
func (c *Conn) Assured() bool { return atomic.LoadUint32(&c.children)&bitAssured != 0 }

// Assure marks template c as used by a real client. It needs no lock.
func (c *Conn) Assure() {
	if !c.Assured() {
		atomic.OrUint32(&c.children, bitAssured)
	}
}

// copy is what a listing may know of c; its children may change meanwhile.
func (c *Conn) copy() Conn {
	return Conn{
		Client: c.Client, Virtual: c.Virtual, Dest: c.Dest,
		ClientPort: c.ClientPort, VirtualPort: c.VirtualPort, DestPort: c.DestPort,
		Proto: c.Proto, State: c.State, Flags: c.Flags, Timeout: c.Timeout, expires: c.expires,
		Server: c.Server, InPkts: c.InPkts, parent: c.parent, children: atomic.LoadUint32(&c.children),
	}
}
