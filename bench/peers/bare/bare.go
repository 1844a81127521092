// Package bare is the forwarder that does no work: it receives and sends as the director's
// driver does, or by AF_XDP, and between the two writes addresses only. No table, no clock,
// no choice, no counters. What it reaches is the ceiling of a director over the same driver.
//
// It knows one VIP and one server; it must not learn more.
package bare

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/dirigo-lb/dirigo/dataplane/afpacket"
	"github.com/dirigo-lb/dirigo/packet"
)

// Config says between what the forwarder stands.
type Config struct {
	Outside, Inside      string     // interfaces: the clients', the server's
	VIP, Server          netip.Addr // IPv4
	ClientMAC, ServerMAC packet.MAC
}

// A hop is what happens to the frames that come in by one port.
type hop struct {
	in, out  queue
	at       uint32 // offset of the address to rewrite, from the IP header
	old, new uint32
	diff     uint32   // of the addresses, for checksums
	macs     [12]byte // the next frame's destination and source
}

// Where an IPv4 header has its addresses.
const fromAt, toAt = 12, 16

// batch is how many frames a hop takes at a time, as the director's workers do.
const batch = 64

// Run forwards in one of open's modes until ctx ends. ready is called when frames are taken.
func Run(ctx context.Context, mode string, c Config, ready func()) (err error) {
	if !c.VIP.Is4() || !c.Server.Is4() {
		return fmt.Errorf("bare: VIP %v, server %v: want IPv4 addresses", c.VIP, c.Server)
	}
	queues, shut, err := open(mode, c)
	if err != nil {
		return fmt.Errorf("bare: %w", err)
	}
	defer func() { err = errors.Join(err, shut()) }()
	vip, server := value(c.VIP), value(c.Server)
	hops := [2]hop{
		{in: queues[0], out: queues[1], at: toAt, old: vip, new: server, macs: macs(c.ServerMAC, queues[1].mac)},
		{in: queues[1], out: queues[0], at: fromAt, old: server, new: vip, macs: macs(c.ClientMAC, queues[0].mac)},
	}
	for i := range hops {
		hops[i].diff = packet.Diff32(hops[i].old, hops[i].new, 0)
	}
	runtime.GOMAXPROCS(2) // see afpacket.Poll
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ready()
	return forward(ctx, hops[:])
}

func forward(ctx context.Context, hops []hop) error {
	var frames [batch]packet.Frame
	list := make([]*packet.Frame, 0, batch)
	fds := []int{hops[0].in.FD(), hops[1].in.FD()}
	for ctx.Err() == nil {
		total := 0
		for i := range hops {
			h := &hops[i]
			n, err := h.in.Receive(frames[:])
			if err != nil {
				return fmt.Errorf("bare: receive: %w", err)
			}
			if n == 0 {
				continue
			}
			total += n
			list = list[:0]
			for j := range frames[:n] {
				if h.rewrite(&frames[j]) {
					list = append(list, &frames[j])
				}
			}
			if _, err := h.out.Transmit(list); err != nil {
				return fmt.Errorf("bare: transmit: %w", err)
			}
			h.in.Release()
		}
		if total == 0 {
			if _, err := afpacket.Poll(fds, afpacket.RawPollMax, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// rewrite makes f the next hop's and reports whether it goes on: only TCP and UDP over
// IPv4 with the expected address do, the rest is the host's. UDP is expected to have a
// checksum (RFC 768 lets it be 0 for none).
func (h *hop) rewrite(f *packet.Frame) bool {
	b := f.Bytes()
	const eth, ip = 14, 20
	if len(b) < eth+ip+8 || b[12] != 8 || b[13] != 0 || b[eth] != 0x45 || binary.BigEndian.Uint32(b[eth+h.at:]) != h.old {
		return false
	}
	check := eth + ip + 6
	switch b[eth+9] {
	case packet.UDP:
	case packet.TCP:
		if check = eth + ip + 16; len(b) < check+2 {
			return false
		}
	default:
		return false
	}
	copy(b, h.macs[:])
	binary.BigEndian.PutUint32(b[eth+h.at:], h.new)
	head := b[eth+10:][:2]
	binary.BigEndian.PutUint16(head, packet.UpdateComplete(binary.BigEndian.Uint16(head), h.diff))
	sum := b[check:][:2]
	c := binary.BigEndian.Uint16(sum)
	if f.Vnet.Flags&packet.VnetNeedsCsum != 0 {
		c = packet.UpdatePartial(c, h.diff)
	} else {
		c = packet.UpdateComplete(c, h.diff)
	}
	binary.BigEndian.PutUint16(sum, c)
	return true
}

func value(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func macs(to, from packet.MAC) (m [12]byte) {
	copy(m[:], to[:])
	copy(m[6:], from[:])
	return m
}
