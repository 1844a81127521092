package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/cmd/dirigo/realserver"
)

func realserverCommand() *cobra.Command {
	var vips []string
	var printOnly, undo bool
	var cfg realserver.Config
	cmd := &cobra.Command{
		Use:   "realserver --vip ADDRESS [--vip ADDRESS...]",
		Short: "Make this host a real server of a DR or tunnel service",
		Long: `Run this on a real server whose forwarding method is dr or tun, not on the director. It
has the VIP on lo, keeps the host from answering ARP for it (arp_ignore, arp_announce), and
until SIGINT or SIGTERM stays there; then it takes back exactly what it changed. A value
that was right already is left alone. Servers behind NAT need none of this.

With --decap it also takes the director's tunnel headers off (IPIP, IPv6 in IP, GRE, and
with --gue-port GUE), without any kernel module, and gives the packets inside to the
host's own stack through a TUN device. Only packets for the VIPs are taken. Answers leave
by the host's own routes. Its counters are printed at the end and on SIGUSR1.

--print shows the commands that do the same and those that undo it, and changes nothing.
--undo takes back what a killed one left; so does the next start.`,
		Example: "  dirigo realserver --vip 192.0.2.10\n" +
			"  dirigo realserver --vip 192.0.2.10 --vip 2001:db8::10 --decap --gue-port 6080\n" +
			"  dirigo realserver --vip 192.0.2.10 --print",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringSliceVar(&vips, "vip", nil, "address of the virtual service; may be repeated")
	f.StringSliceVar(&cfg.Interfaces, "interface", nil, "interface where ARP is asked; may be repeated (default: those of the default routes, else all with IPv4 addresses)")
	f.BoolVar(&cfg.Decap, "decap", false, "take tunnel headers off in userspace")
	f.StringVar(&cfg.TUN, "tun", realserver.DefaultTUN, "name of the TUN device of --decap")
	f.Uint16Var(&cfg.GUEPort, "gue-port", 0, "UDP port of GUE packets (default: no GUE)")
	f.BoolVar(&printOnly, "print", false, "print the equivalent commands and change nothing")
	f.BoolVar(&undo, "undo", false, "take back what a killed one left")
	f.StringVar(&cfg.State, "state", realserver.DefaultState, "directory of the file that remembers what was changed")
	cmd.MarkFlagsMutuallyExclusive("print", "undo")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		for _, s := range vips {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("--vip %q: not an IP address", s)
			}
			cfg.VIPs = append(cfg.VIPs, a)
		}
		out := c.OutOrStdout()
		switch {
		case undo:
			return realserver.Undo(cfg, out)
		case printOnly:
			return realserver.Print(cfg, out)
		}
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		show := make(chan os.Signal, 1)
		signal.Notify(show, syscall.SIGUSR1)
		defer signal.Stop(show)
		return realserver.Run(ctx, cfg, show, out)
	}
	return cmd
}
