package realserver

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// outcome says what became of a tunnel packet.
type outcome uint8

const (
	delivered   outcome = iota // its inner packet was given to the host's stack
	notVIP                     // the inner packet is for an address that is no VIP
	refused                    // no tunnel packet we know, or a damaged one
	tooLong                    // its datagram was longer than an IP packet can be
	writeFailed                // the TUN device did not take it
	noRoom                     // the kernel had no room to keep it for us
	outcomes
)

var outcomeNames = [outcomes]string{"delivered", "not for a VIP", "not understood", "too long", "not taken by the device", "no room"}

// kind is a tunnel, by the protocol of the outer header.
type kind uint8

const (
	ipip kind = iota // IPv4 inside: RFC 2003, RFC 2473
	sit              // IPv6 inside: RFC 4213, RFC 2473
	gre              // RFC 2784
	gue              // draft-ietf-intarea-gue
	kinds
)

var (
	kindNames = [kinds]string{"IPIP", "IPv6 in IP", "GRE", "GUE"}
	kindProto = [kinds]uint8{packet.IPIP, packet.IPv6, packet.GRE, packet.UDP}
)

// counters has one writer, which prints it too.
type counters struct {
	packets [kinds][outcomes]uint64
	bytes   [kinds]uint64 // of inner packets delivered
}

func (c *counters) print(out io.Writer) {
	fmt.Fprintf(out, "%-10s", "tunnel")
	for _, name := range outcomeNames {
		fmt.Fprintf(out, "  %s", name)
	}
	fmt.Fprintln(out, "  bytes delivered")
	for k := range kinds {
		fmt.Fprintf(out, "%-10s", kindNames[k])
		for o, name := range outcomeNames {
			fmt.Fprintf(out, "  %*d", len(name), c.packets[k][o])
		}
		fmt.Fprintf(out, "  %*d\n", len("bytes delivered"), c.bytes[k])
	}
}

// opener takes tunnel headers off. It is a pure function of the packet.
type opener struct {
	vips    []packet.Addr
	guePort uint16
}

// open turns the tunnel packet in f, in place, into the packet inside, complete and
// ready for the host's stack if the outcome is delivered.
func (o *opener) open(f *packet.Frame) outcome {
	if f.Parse() != packet.None || !encap.Decapsulate(f, o.guePort) {
		return refused
	}
	if !slices.Contains(o.vips, f.Flow.Dst) {
		return notVIP
	}
	finish(f)
	f.End = f.IPEnd
	return delivered
}

// finish completes a transport checksum that the client's host left to its network
// device. Between virtual machines and namespaces no device ever does that: the kernel
// hands on a mark instead, which a socket does not show, but the field tells. One that
// is neither complete nor exactly the sum of the pseudo-header stays wrong, for the
// stack to count.
func finish(f *packet.Frame) {
	field := uint16(16) // RFC 9293 section 3.1
	if f.Flow.Proto == packet.UDP {
		field = 6 // RFC 768
	}
	if f.Flow.Proto != packet.TCP && f.Flow.Proto != packet.UDP || f.VerifyTransport() {
		return
	}
	f.Vnet = packet.Vnet{Flags: packet.VnetNeedsCsum, CsumStart: uint16(f.L4 - f.Start), CsumOffset: field}
	if f.VerifyTransport() {
		f.FinishChecksum()
	}
	f.Vnet = packet.Vnet{}
}

// Lengths of the headers that outer puts, RFC 791 section 3.1 and RFC 768.
const (
	ipLen  = 20
	udpLen = 8
)

// outer puts an IPv4 header of protocol proto, and for GUE a UDP header to port, before
// the bytes of f: what the kernel took off before a socket got the packet. Only the
// protocol and tos, of which congestion is read, are the real ones. False if the packet
// is too long for that.
func outer(f *packet.Frame, proto, tos uint8, port uint16) bool {
	if proto == packet.UDP {
		f.Start -= udpLen
		h := f.Buf[f.Start:][:udpLen]
		binary.BigEndian.PutUint16(h, port)
		binary.BigEndian.PutUint16(h[2:], port)
		binary.BigEndian.PutUint16(h[4:], uint16(f.End-f.Start))
		binary.BigEndian.PutUint16(h[6:], 0) // the kernel has seen to it
	}
	f.Start -= ipLen
	if f.End-f.Start > 0xffff {
		return false
	}
	h := f.Buf[f.Start:][:ipLen]
	clear(h)
	h[0], h[1], h[8], h[9] = 0x45, tos, 64, proto
	binary.BigEndian.PutUint16(h[2:], uint16(f.End-f.Start))
	binary.BigEndian.PutUint16(h[10:], packet.Checksum(h))
	return true
}
