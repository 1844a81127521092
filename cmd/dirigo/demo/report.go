package demo

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dirigo-lb/dirigo/control/api"
)

// answers are counted from what the client received.
type answers struct {
	from   map[string]int
	errors []string
}

func (a *answers) total() (n int) {
	for _, k := range a.from {
		n += k
	}
	return n
}

// print is the table of shares.
func (a *answers) print(out io.Writer, m *method) {
	n := a.total()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tserver\tweight\tshare expected\tanswers\tshare seen\t")
	for _, s := range m.servers {
		seen := "-"
		if n > 0 {
			seen = fmt.Sprintf("%.1f %%", 100*float64(a.from[s.name])/float64(n))
		}
		fmt.Fprintf(w, "\t%s\t%d\t%.1f %%\t%d\t%s\t\n", s.name, s.weight, m.share(s.weight, 100), a.from[s.name], seen)
	}
	w.Flush()
}

// statistics are what the director says of itself.
type statistics struct {
	service api.ServiceStatus
	states  map[string]int
	status  api.Status
}

func readStatistics(c *api.Client) (*statistics, error) {
	var services []api.ServiceStatus
	st := &statistics{states: map[string]int{}}
	for s, err := range api.Lines[api.ServiceStatus](context.Background(), c, "/v1/services") {
		if err != nil {
			return nil, err
		}
		services = append(services, s)
	}
	if len(services) != 1 {
		return nil, fmt.Errorf("the director has %d services, not one", len(services))
	}
	st.service = services[0]
	if err := c.Get("/v1/status", &st.status); err != nil {
		return nil, err
	}
	for conn, err := range api.Lines[api.Connection](context.Background(), c, "/v1/connections") {
		if err != nil {
			return nil, fmt.Errorf("connections: %w", err)
		}
		st.states[conn.State]++
	}
	return st, nil
}

func (s *statistics) print(out io.Writer, m *method) {
	c := s.service.Counts
	fmt.Fprintf(out, "  virtual service %s, scheduler %s: %d connections\n", s.service.Service.Service, s.service.Scheduler, c.Connections)
	fmt.Fprintf(out, "    client to server  %6d packets %9d bytes\n", c.InPackets, c.InBytes)
	fmt.Fprintf(out, "    server to client  %6d packets %9d bytes", c.OutPackets, c.OutBytes)
	if m.realserver != nil {
		fmt.Fprint(out, "   (they do not pass through the director)")
	}
	fmt.Fprintf(out, "\n  connection entries  %s\n", list(s.states, ", "))
	fmt.Fprintf(out, "  frames by reason    %s\n", list(s.status.Reasons, ", "))
}

// list is a tally as text, the greatest first.
func list[N int | uint64](tally map[string]N, sep string) string {
	keys := slices.SortedFunc(maps.Keys(tally), func(a, b string) int {
		if tally[a] != tally[b] {
			return int(tally[b]) - int(tally[a])
		}
		return strings.Compare(a, b)
	})
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%s %d", k, tally[k])
	}
	if len(keys) == 0 {
		return "none"
	}
	return strings.Join(keys, sep)
}
