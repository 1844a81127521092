package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a running director on one screen",
		Long: `Show a running director: its ports, its services with their servers, what they carry, and
why frames were dropped. Of a port's workers it shows the mean batch they take from their
receive ring, and how full that was at most in the last two seconds. Rates are per second,
by the estimator of the kernel's IPVS, which takes a turn every two seconds. With --json all of it is one object.`,
		Example: "  dirigo status\n  dirigo status --json",
		Args:    cobra.NoArgs,
	}
	socket := controlFlag(cmd)
	raw := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		s, err := takeSnapshot(c.Context(), api.NewClient(*socket))
		if err != nil {
			return err
		}
		if *raw {
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(s)
		}
		return printStatus(c.OutOrStdout(), &s)
	}
	return cmd
}

// printStatus writes the screen.
func printStatus(w io.Writer, s *snapshot) error {
	st := &s.Status
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s, dirigo %s, up %s, %d workers, %d of %d connections\n", st.Name, st.Version, since(st.Uptime), st.Workers, st.Connections, st.Max)
	if st.ReloadError != "" {
		fmt.Fprintf(t, "the last reload was refused: %s\n", st.ReloadError)
	}
	if st.Health != nil {
		fmt.Fprintf(t, "health  %s\n", healthText(st.Health))
	}
	fmt.Fprintf(t, "\nPORT / WORKER\tRECEIVED\tBATCH\tRING FULL\tDROPPED\tSENT\tLOST\n")
	for _, p := range st.Ports {
		fmt.Fprintf(t, "%s\t%d\t\t\t%d\t%d\t%s\n", p.Name, p.Received, p.Dropped, p.Sent, lostText(&p))
		for i, q := range p.Queues {
			fmt.Fprintf(t, "  %d\t%d\t%.1f\t%d%%\t%d\n", i, q.Received, float64(q.Received)/float64(max(q.Batches, 1)), q.Peak, q.Dropped)
		}
	}
	fmt.Fprintf(t, "\nSERVICE / SERVER\tFORWARD\tWEIGHT\tACTIVE\tINACTIVE\tCONN/S\tPKT/S IN\tOUT\tBYTE/S IN\tOUT\n")
	for i := range s.Services {
		svc := &s.Services[i]
		key := ""
		if svc.Name != "" {
			key = " " + svc.Service.Service.String()
		}
		fmt.Fprintf(t, "%s%s %s\t\t\t\t\t%s\n", serviceName(svc), key, svc.Scheduler, rateCells(&svc.Rates))
		states, out := s.states(svc)
		for j := range svc.Servers {
			d := &svc.Servers[j]
			mark := spaced(states[d.Address])
			if d.Overloaded {
				mark += " overloaded"
			}
			fmt.Fprintf(t, "  %s%s\t%v\t%d\t%d\t%d\t%s\n", serverName(d), mark, d.Forward, d.Weight, d.Active, d.Inactive, rateCells(&d.Rates))
		}
		for j := range out {
			fmt.Fprintf(t, "  %s %s\t\tout of %d\n", addressText(out[j].Server, out[j].Name), out[j].State, out[j].Weight.File)
		}
	}
	if drops := dropsOf(st.Reasons); len(drops) > 0 {
		fmt.Fprintf(t, "\nDROPPED\tFRAMES\n")
		for _, d := range drops {
			fmt.Fprintf(t, "%s\t%d\n", d.reason, d.n)
		}
	}
	return t.Flush()
}

// lostText says how many frames a port did not take, and why.
func lostText(p *api.Port) string {
	if p.Lost == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (full %d, refused %d, link down %d)", p.Lost, p.LostFull, p.LostRefused, p.LostDown)
}

// spaced is a word with a space before it.
func spaced(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

func rateCells(r *api.Rates) string {
	return strings.Join([]string{short(r.Connections), short(r.InPackets), short(r.OutPackets), short(r.InBytes), short(r.OutBytes)}, "\t")
}

type dropped struct {
	reason string
	n      uint64
}

// dropsOf are the reasons of drops among all reasons, the most frequent first.
func dropsOf(reasons map[string]uint64) (list []dropped) {
	for _, name := range slices.Sorted(maps.Keys(reasons)) {
		if r, ok := dataplane.ParseReason(name); ok && r.Drops() && reasons[name] > 0 {
			list = append(list, dropped{name, reasons[name]})
		}
	}
	slices.SortStableFunc(list, func(a, b dropped) int { return cmp.Compare(b.n, a.n) })
	return list
}
