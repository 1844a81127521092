// Package fastpath is NAT of established flows inside the kernel: an eBPF program where
// packets come in (tcx) finds the flow in a table, rewrites addresses, ports, TTL and
// checksums and sends the packet out by the other interface. Nothing else sees it, and
// super-frames and unfinished checksums pass whole.
//
// It shows what such a path would bring beside a director that goes on to do everything
// else: to schedule, to follow a connection's states, to expire it, to answer for what
// cannot be forwarded. Here none of that is done; the program itself enters a flow to the
// VIP at its first packet, for its one server, and forgets none.
package fastpath

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/dirigo-lb/dirigo/packet"
)

// Config says between what the program stands.
type Config struct {
	Outside, Inside      string     // interfaces: the clients', the server's
	VIP, Server          netip.Addr // IPv4
	ClientMAC, ServerMAC packet.MAC
}

// Run forwards until ctx ends. ready is called when packets are taken. It fails where the
// kernel has no eBPF, no tcx (Linux 6.6), or refuses the program.
func Run(ctx context.Context, c Config, ready func()) (err error) {
	if !c.VIP.Is4() || !c.Server.Is4() {
		return fmt.Errorf("fastpath: VIP %v, server %v: want IPv4 addresses", c.VIP, c.Server)
	}
	var ports [2]*net.Interface
	for i, name := range []string{c.Outside, c.Inside} {
		if ports[i], err = net.InterfaceByName(name); err != nil {
			return fmt.Errorf("fastpath: %s: %w", name, err)
		}
	}
	flows, err := newFlows()
	if err != nil {
		return fmt.Errorf("fastpath: table of flows: %w", err)
	}
	defer func() { err = errors.Join(err, flows.Close()) }()
	p, err := load(flows, learning(c, ports[0], ports[1]))
	if err != nil {
		return fmt.Errorf("fastpath: %w", err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for _, i := range ports {
		l, err := link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: p, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return fmt.Errorf("fastpath: attach to %s: %w", i.Name, err)
		}
		defer l.Close()
	}
	ready()
	<-ctx.Done()
	return nil
}

// learning is what the program needs to enter flows itself.
func learning(c Config, outside, inside *net.Interface) learn {
	l := learn{vip: c.VIP.As4(), server: c.Server.As4()}
	l.request = entry{Dst: l.server, Device: uint32(inside.Index), MACs: macs(c.ServerMAC, inside)}
	l.request.diffs(l.vip, l.server, 0, 0)
	l.answer = entry{Src: l.vip, Device: uint32(outside.Index), MACs: macs(c.ClientMAC, outside)}
	l.answer.diffs(l.server, l.vip, 0, 0)
	return l
}

func macs(to packet.MAC, from *net.Interface) (m [12]byte) {
	copy(m[:], to[:])
	copy(m[6:], from.HardwareAddr)
	return m
}
