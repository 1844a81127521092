// Package bare is the forwarder that does no work: it receives and sends as the director's
// driver does and between the two writes addresses only. No table, no clock, no choice,
// no counters. What it reaches is the ceiling of a director over the same driver.
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

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/afpacket"
	"github.com/dirigo-lb/dirigo/packet"
)

// Config says between what the forwarder stands.
type Config struct {
	Outside, Inside      string // interfaces: the clients', the server's
	Mode                 afpacket.Mode
	VIP, Server          netip.Addr // IPv4
	ClientMAC, ServerMAC packet.MAC
}

// A hop is what happens to the frames that come in by one port.
type hop struct {
	in, out  dataplane.Queue
	at       uint32 // offset of the address to rewrite, from the IP header
	old, new uint32
	diff     uint32   // of the addresses, for checksums
	macs     [12]byte // the next frame's destination and source
}

// batch is how many frames a hop takes at a time, as the director's workers do.
const batch = 64

// Run forwards until ctx ends. ready is called when frames are taken.
func Run(ctx context.Context, c Config, ready func()) (err error) {
	if !c.VIP.Is4() || !c.Server.Is4() {
		return fmt.Errorf("bare: VIP %v, server %v: want IPv4 addresses", c.VIP, c.Server)
	}
	outside, err := open(c.Outside, c.Mode)
	if err != nil {
		return err
	}
	defer outside.close(&err)
	inside, err := open(c.Inside, c.Mode)
	if err != nil {
		return err
	}
	defer inside.close(&err)
	vip, server := value(c.VIP), value(c.Server)
	hops := [2]hop{
		{in: outside.Queue, out: inside.Queue, at: 16, old: vip, new: server, macs: macs(c.ServerMAC, inside.mac)},
		{in: inside.Queue, out: outside.Queue, at: 12, old: server, new: vip, macs: macs(c.ClientMAC, outside.mac)},
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

// port is an open queue and its interface's address.
type port struct {
	dataplane.Queue
	mac packet.MAC
}

func open(name string, mode afpacket.Mode) (p port, err error) {
	d, err := afpacket.New(afpacket.Config{Interface: name, Mode: mode})
	if err != nil {
		return p, err
	}
	queues, err := d.Open(1)
	if err != nil {
		return p, err
	}
	return port{queues[0], d.Link().MAC}, nil
}

func (p port) close(err *error) { *err = errors.Join(*err, p.Close()) }

func value(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func macs(to, from packet.MAC) (m [12]byte) {
	copy(m[:], to[:])
	copy(m[6:], from[:])
	return m
}
