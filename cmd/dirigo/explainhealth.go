package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dirigo-lb/dirigo/control/api"
)

// explainHealth writes all that is known of a server, in each service that checks it.
func explainHealth(ctx context.Context, w io.Writer, client *api.Client, path string) error {
	for s, err := range api.Lines[api.ServiceHealth](ctx, client, path) {
		if err != nil {
			return err
		}
		for i := range s.Servers {
			explainServer(w, &s, &s.Servers[i])
		}
	}
	return nil
}

func explainServer(w io.Writer, s *api.ServiceHealth, d *api.ServerHealth) {
	fmt.Fprintf(w, "%s of %s\n", addressText(d.Server, d.Name), serviceTitle(s))
	held := ""
	if d.Held != nil {
		held = fmt.Sprintf(", held down for %s more", until(d.Held))
	}
	fmt.Fprintf(w, "  state   %s for %s, %d changes%s\n", d.State, ago(d.Since), d.Changes, held)
	fmt.Fprintf(w, "  weight  %s\n", productText(&d.Weight))
	state := "has its quorum"
	if !s.Up {
		state = "has no quorum"
	}
	fmt.Fprintf(w, "  service %s: weight %d of %s\n", state, s.Weight, quorumText(s))
	for i := range d.Checks {
		c := &d.Checks[i]
		verdict := "up"
		switch {
		case !c.Up:
			verdict = "down"
		case c.Unchecked && c.Last != nil && c.Last.Why == "local":
			verdict = "up, but it cannot be asked"
		case c.Unchecked:
			verdict = "up, not asked yet"
		}
		row := fmt.Sprintf("%d good in a row", c.Good)
		if c.Bad > 0 {
			row = fmt.Sprintf("%d bad in a row", c.Bad)
		}
		fmt.Fprintf(w, "  check   %s %s: %s, %s\n", checkName(c), c.Target, verdict, row)
		if c.Last != nil {
			fmt.Fprintf(w, "          %s ago, in %s: %s\n", ago(c.Last.At), tookText(c.Last.Took), resultText(c.Last))
		}
		if c.Next != nil {
			fmt.Fprintf(w, "          next in %s\n", until(c.Next))
		}
	}
}

// productText says how a weight comes about.
func productText(w *api.WeightHealth) string {
	first := fmt.Sprintf("file %d", w.File)
	if w.Dynamic != nil {
		first = fmt.Sprintf("asked for %d (file %d)", *w.Dynamic, w.File)
	}
	text := fmt.Sprintf("%d = %s x health %d x ramp %.2f x drain %d", w.InForce, first, w.Health, w.Ramp, w.Drain)
	if w.Reason != "" {
		text += "; " + w.Reason
	}
	if !w.Present {
		text += "; not in the list"
	}
	return text
}
