package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/dirigo-lb/dirigo/bench/peers/bare"
	"github.com/dirigo-lb/dirigo/bench/peers/fastpath"
	"github.com/dirigo-lb/dirigo/packet"
)

// runBare is this program as a forwarder of its own: the harness starts itself so.
func runBare(args []string) error {
	c := bare.Config{}
	f := flag.NewFlagSet("bare", flag.ContinueOnError)
	mode := f.String("mode", "ring", "ring, batch, blocks or xdp; or ebpf: package fastpath")
	vip := f.String("vip", "", "address that clients send to")
	server := f.String("server", "", "address of the server")
	clientMAC := f.String("client-mac", "", "next hop of answers")
	serverMAC := f.String("server-mac", "", "next hop of requests")
	err := f.Parse(args)
	if err == nil && f.NArg() != 2 {
		err = fmt.Errorf("bare: want two interfaces, the clients' and the server's: %v", f.Args())
	}
	if err != nil {
		return err
	}
	c.Outside, c.Inside = f.Arg(0), f.Arg(1)
	if c.VIP, err = netip.ParseAddr(*vip); err != nil {
		return fmt.Errorf("bare: -vip: %w", err)
	}
	if c.Server, err = netip.ParseAddr(*server); err != nil {
		return fmt.Errorf("bare: -server: %w", err)
	}
	for _, m := range []struct {
		flag, text string
		to         *packet.MAC
	}{{"client-mac", *clientMAC, &c.ClientMAC}, {"server-mac", *serverMAC, &c.ServerMAC}} {
		mac, err := net.ParseMAC(m.text)
		if err != nil || len(mac) != len(m.to) {
			return fmt.Errorf("bare: -%s %q: want an Ethernet address", m.flag, m.text)
		}
		copy(m.to[:], mac)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ready := func() { fmt.Fprintln(os.Stderr, "ready") }
	if *mode == "ebpf" {
		return fastpath.Run(ctx, fastpath.Config(c), ready)
	}
	return bare.Run(ctx, *mode, c, ready)
}
