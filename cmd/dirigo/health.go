package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health [SERVER]",
		Short: "Show which real servers serve, and why the others do not",
		Long: `Show the services with health checks: for each server its state, since when, its weight
in force, how long its last answer took, when it is asked next, and what the answer was.

  up         it serves
  unchecked  it serves, but has not been asked yet, or the last time the director could not ask
  down       its checks say no
  starting   it has not been asked yet, and gets nothing before (alpha)
  hold       it came and went too often, and is held down for a while (flap)

With SERVER (its address, its address and port, or its name) there is all that is known of
it, in every service that checks it: how its weight comes about, and each check.
With --json there is one JSON object a line, for each service.`,
		Example: "  dirigo health\n  dirigo health --down\n  dirigo health 10.0.0.1 --service web\n  dirigo health check 10.0.0.1\n  dirigo health history --server 10.0.0.1 --since 24h",
		Args:    cobra.MaximumNArgs(1),
	}
	socket := controlFlag(cmd)
	f := cmd.Flags()
	service := f.String("service", "", "service, by name or as tcp/192.0.2.1:80 (default: all)")
	down := f.Bool("down", false, "only servers that are not up, and services without their quorum")
	raw := f.Bool("json", false, "print one JSON object a line")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		q := url.Values{}
		setIf(q, "service", *service)
		if len(args) > 0 {
			q.Set("server", args[0])
		}
		if *down {
			q.Set("down", "true")
		}
		path, client := withQuery("/v1/health", q), api.NewClient(*socket)
		switch {
		case *raw:
			return client.Stream(c.Context(), path, c.OutOrStdout())
		case len(args) > 0:
			return explainHealth(c.Context(), c.OutOrStdout(), client, path)
		}
		return printHealth(c.Context(), c.OutOrStdout(), client, path)
	}
	cmd.AddCommand(healthHistoryCommand(), healthCheckCommand())
	return cmd
}

func healthCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check SERVER",
		Short: "Ask a real server now",
		Long: `Ask a real server now, out of turn, by all its checks, and print the answers. They count
as any others. Exit status: 0 all answers are good, 1 a mistake, 3 one is bad.`,
		Example: "  dirigo health check 10.0.0.1\n  dirigo health check web2 --service web",
		Args:    cobra.ExactArgs(1),
	}
	socket := controlFlag(cmd)
	service := cmd.Flags().String("service", "", "service, by name or as tcp/192.0.2.1:80 (default: all that check the server)")
	raw := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		var all api.HealthAnswers
		if err := api.NewClient(*socket).Post("/v1/health/check", api.HealthCheckRequest{Server: args[0], Service: *service}, &all); err != nil {
			return err
		}
		out := c.OutOrStdout()
		if *raw {
			if err := printJSON(out, all); err != nil {
				return err
			}
		}
		bad := 0
		for i := range all.Services {
			s := &all.Services[i]
			for j := range s.Servers {
				for k := range s.Servers[j].Checks {
					check := &s.Servers[j].Checks[k]
					if check.Last == nil || !check.Last.OK {
						bad++
					}
					if !*raw {
						fmt.Fprintf(out, "%s of %s: %s %s: %s\n", addressText(s.Servers[j].Server, s.Servers[j].Name), healthService(s), checkName(check), check.Target, resultText(check.Last))
					}
				}
			}
		}
		if bad > 0 {
			return &exitError{fmt.Errorf("%d bad answers", bad), 3}
		}
		return nil
	}
	return cmd
}

// printHealth writes a table, service by service as they come.
func printHealth(ctx context.Context, w io.Writer, client *api.Client, path string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	n := 0
	for s, err := range api.Lines[api.ServiceHealth](ctx, client, path) {
		if err != nil {
			return errors.Join(t.Flush(), err)
		}
		if n++; n == 1 {
			fmt.Fprintf(t, "SERVICE / SERVER\tSTATE\tSINCE\tWEIGHT\tTOOK\tNEXT\tLAST ANSWER\n")
		}
		state := "up"
		if !s.Up {
			state = "down"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t\t\t%s\n", serviceTitle(&s), state, ago(s.Since), s.Weight, quorumText(&s))
		for i := range s.Servers {
			d := &s.Servers[i]
			last, next := lastAnswer(d)
			took := ""
			if last != nil {
				took = tookText(last.Took)
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", addressText(d.Server, d.Name), d.State, ago(d.Since), weightText(d), took, until(next), summary(d, last))
		}
	}
	if n == 0 {
		fmt.Fprintln(t, "no service has health checks, or none that is asked for")
	}
	return t.Flush()
}

// quorumText says what a service has and needs.
func quorumText(s *api.ServiceHealth) string {
	text := fmt.Sprintf("%d of %d servers up, quorum %d", s.Alive, s.Total, s.Quorum)
	switch {
	case s.Sorry == nil:
		return text
	case s.Sorry.Active:
		return text + ", the sorry server " + addressText(s.Sorry.Server, "") + " serves"
	}
	return text + ", sorry server " + addressText(s.Sorry.Server, "") + " stands by"
}

// lastAnswer is the one to show of a server: a check's that is down, else one's that cannot
// be asked, else the youngest; and when it is asked next.
func lastAnswer(d *api.ServerHealth) (last *api.ProbeResult, next *time.Time) {
	shown := 0
	for i := range d.Checks {
		c := &d.Checks[i]
		if c.Next != nil && (next == nil || c.Next.Before(*next)) {
			next = c.Next
		}
		if c.Last == nil {
			continue
		}
		rank := 1
		switch {
		case !c.Up:
			rank = 3
		case c.Unchecked:
			rank = 2
		}
		if rank > shown || rank == shown && c.Last.At.After(last.At) {
			last, shown = c.Last, rank
		}
	}
	return last, next
}

// weightText is the weight in force, with the one of the file where that is another.
func weightText(d *api.ServerHealth) string {
	switch w := &d.Weight; {
	case !w.Present:
		return fmt.Sprintf("out of %d", w.File)
	case w.InForce != w.File:
		return fmt.Sprintf("%d of %d", w.InForce, w.File)
	default:
		return fmt.Sprint(w.InForce)
	}
}

func summary(d *api.ServerHealth, last *api.ProbeResult) string {
	text := resultText(last)
	if len(d.Checks) == 0 {
		text = "it has no check"
	}
	if d.Held != nil {
		text += fmt.Sprintf("; held for %s more", until(d.Held))
	}
	return text
}

// resultText is an answer in words.
func resultText(r *api.ProbeResult) string {
	switch {
	case r == nil:
		return "not asked yet"
	case r.OK && r.Warning != "":
		return "ok; " + r.Warning
	case r.OK && r.Weight != nil:
		return fmt.Sprintf("ok, asks for weight %d", *r.Weight)
	case r.OK:
		return "ok"
	case r.Text == "":
		return r.Why
	}
	return r.Text
}

func checkName(c *api.CheckHealth) string {
	if c.Name != "" && c.Name != c.Type {
		return c.Name + " (" + c.Type + ")"
	}
	return c.Type
}

func healthService(s *api.ServiceHealth) string {
	if s.Name != "" {
		return s.Name
	}
	return s.Service.String()
}

func serviceTitle(s *api.ServiceHealth) string {
	return strings.TrimSpace(s.Name + " " + s.Service.String())
}

// addressText is a server's address, and behind it its name.
func addressText(a netip.AddrPort, name string) string {
	return strings.TrimSpace(endText(a) + " " + name)
}

// ago is how long something is since.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return since(max(0, time.Since(t).Seconds()))
}

// until is how long something is away, to a tenth of a second where it is near.
func until(t *time.Time) string {
	if t == nil {
		return ""
	}
	switch d := time.Until(*t); {
	case d <= 0:
		return "now"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return since(d.Seconds())
	}
}

// tookText is a latency in three places.
func tookText(seconds float64) string {
	switch ms := seconds * 1000; {
	case ms < 10:
		return fmt.Sprintf("%.2fms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0fms", ms)
	}
	return fmt.Sprintf("%.2fs", seconds)
}

func setIf(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
