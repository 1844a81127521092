package main

import (
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/cmd/dirigo/demo"
)

func demoCommand() *cobra.Command {
	var opt demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a cluster at work on this machine",
		Long: `Build a client, a director and three real servers of weights 1, 2 and 3 in network
namespaces of their own, send HTTP requests to the virtual service, and show who answered,
what the director counted, and what the packets looked like: by NAT, by direct routing and
through IPIP tunnels. Nothing outside these namespaces is touched and nothing is left.
It needs root.

With --keep the last network stays up to look around in, until Ctrl-C.`,
		Example: "  dirigo demo\n  dirigo demo --method dr --keep",
		Args:    cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&opt.Method, "method", "all", "forwarding method: nat, dr, tun or all")
	f.IntVar(&opt.Requests, "requests", 300, "requests for each method")
	f.BoolVar(&opt.Keep, "keep", false, "leave the last network up until Ctrl-C")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		// SIGPIPE is the end of "dirigo demo | head": it has to clean up too.
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
		defer stop()
		return demo.Run(ctx, opt, c.OutOrStdout())
	}
	cmd.AddCommand(demoServerCommand(), demoClientCommand())
	return cmd
}

// demoServerCommand is the HTTP server in a real server's namespace.
func demoServerCommand() *cobra.Command {
	var listen, name string
	cmd := &cobra.Command{Use: "server", Short: "Answer HTTP requests with a name", Hidden: true, Args: cobra.NoArgs,
		Example: "  dirigo demo server --listen :80 --name server1"}
	cmd.Flags().StringVar(&listen, "listen", ":80", "address and port")
	cmd.Flags().StringVar(&name, "name", "server", "what to answer")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return demo.Serve(ctx, listen, name, c.OutOrStdout())
	}
	return cmd
}

// demoClientCommand makes the requests in the client's namespace.
func demoClientCommand() *cobra.Command {
	var url string
	var requests int
	cmd := &cobra.Command{Use: "client", Short: "Make HTTP requests and print the answers", Hidden: true, Args: cobra.NoArgs,
		Example: "  dirigo demo client --url http://192.0.2.10/ --requests 10"}
	cmd.Flags().StringVar(&url, "url", "", "what to ask for")
	cmd.Flags().IntVar(&requests, "requests", 1, "how often, each time on a new connection")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return demo.Request(ctx, url, requests, c.OutOrStdout())
	}
	return cmd
}
