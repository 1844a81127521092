package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

func healthHistoryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List what became of servers and services",
		Long: `List the changes of servers and services, the oldest first: up and down with the reason,
quorum lost and gained, the sorry server coming and going, servers held down as they came
and went too often, certificates that end soon. The director remembers the last 10,000.`,
		Example: "  dirigo health history -n 20\n  dirigo health history --service web --since 1h\n  dirigo health history --server 10.0.0.1 --json",
		Args:    cobra.NoArgs,
	}
	socket := controlFlag(cmd)
	f := cmd.Flags()
	service := f.String("service", "", "only of this service, by name or as tcp/192.0.2.1:80")
	server := f.String("server", "", "only of this server, by address, address and port, or name")
	since := f.String("since", "", "only from then on: how long ago, as 90m, or a time, as 2026-01-31T12:00:00Z")
	last := f.IntP("last", "n", 0, "at most so many, the youngest (default: all)")
	raw := f.Bool("json", false, "print one JSON object")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		q := url.Values{}
		setIf(q, "service", *service)
		setIf(q, "server", *server)
		if *since != "" {
			t, err := pastTime(*since, time.Now())
			if err != nil {
				return err
			}
			q.Set("since", t.Format(time.RFC3339Nano))
		}
		if f.Changed("last") {
			q.Set("last", strconv.Itoa(*last))
		}
		var all api.HealthEvents
		if err := api.NewClient(*socket).Get(withQuery("/v1/health/history", q), &all); err != nil {
			return err
		}
		if *raw {
			return printJSON(c.OutOrStdout(), all)
		}
		return printHistory(c.OutOrStdout(), all.Events)
	}
	return cmd
}

// pastTime is a time, or a duration before now.
func pastTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("--since %q: neither how long ago, as 90m, nor a time, as 2026-01-31T12:00:00Z", s)
	}
	return t, nil
}

func printHistory(w io.Writer, events []api.HealthEvent) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range events {
		e := &events[i]
		of, server := e.ServiceName, ""
		if of == "" && e.Service != nil {
			of = e.Service.String()
		}
		if e.Server != nil {
			server = addressText(*e.Server, e.ServerName)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.At.Local().Format("2006-01-02 15:04:05.000"), of, server, e.Kind, e.Text)
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
