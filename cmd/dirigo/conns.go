package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

func connsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conns",
		Short: "List the connections of a running director",
		Long: `List the connection table of a running director as it is read, one connection a line. END
is an address, a network, or an address with a port. All given options have to fit. With
--json there is one JSON object a line.`,
		Example: "  dirigo conns --client 192.0.2.7 --state ESTABLISHED\n  dirigo conns --server 10.0.0.1:80 --limit 20 --json",
		Args:    cobra.NoArgs,
	}
	socket := controlFlag(cmd)
	f := cmd.Flags()
	words := map[string]*string{
		"client":    f.String("client", "", "`END` of the client"),
		"virtual":   f.String("virtual", "", "`END` of the virtual service"),
		"server":    f.String("server", "", "`END` of the real server"),
		"state":     f.String("state", "", "state, as ESTABLISHED"),
		"templates": f.String("templates", "", "only: persistence templates, no: none of them"),
	}
	limit := f.Int("limit", 0, "at most so many (default: all)")
	raw := f.Bool("json", false, "print one JSON object a line")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		q := url.Values{}
		for name, value := range words {
			if *value != "" {
				q.Set(name, *value)
			}
		}
		if f.Changed("limit") {
			q.Set("limit", strconv.Itoa(*limit))
		}
		path := "/v1/connections"
		if len(q) > 0 {
			path += "?" + q.Encode()
		}
		client := api.NewClient(*socket)
		if *raw {
			return client.Stream(c.Context(), path, c.OutOrStdout())
		}
		out := bufio.NewWriter(c.OutOrStdout())
		return errors.Join(printConns(c.Context(), out, client, path), out.Flush())
	}
	return cmd
}

// connLine has fixed widths, wide enough for IPv4: the table is never known as a whole.
const connLine = "%-6s %-12s %8s  %-22s %-22s %-22s %-7s %s\n"

func printConns(ctx context.Context, w io.Writer, client *api.Client, path string) error {
	first := true
	for c, err := range api.Lines[api.Connection](ctx, client, path) {
		if err != nil {
			return err
		}
		if first {
			fmt.Fprintf(w, connLine, "PROTO", "STATE", "EXPIRES", "CLIENT", "VIRTUAL", "SERVER", "FORWARD", "PACKETS")
			first = false
		}
		state := c.State
		if c.Template {
			state = "template"
		}
		expires := (time.Duration(c.Expires) * time.Second).String()
		if _, err := fmt.Fprintf(w, connLine, protoText(c.Proto), state, expires, endText(c.Client), endText(c.Virtual), endText(c.Server), c.Forward, strconv.FormatUint(uint64(c.Packets), 10)); err != nil {
			return err
		}
	}
	return nil
}

func protoText(p uint8) string {
	switch p {
	case 0:
		return "fwmark"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 132:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

func endText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}
