package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

func traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show the journey of live packets, stage by stage",
		Long: `Show what becomes of the packets that a running director receives, stage by stage: as it
came; the connection that it belongs to; the service and who chose the server; as it left;
by which port and to which next hop; and the verdict with its reason and the rule or
setting that decided so.

` + watchHelp + `

With --json there is one JSON object a line, a "journey" each and at last the "end".`,
		Example: `  dirigo trace --src 192.0.2.7 --count 10
  dirigo trace --verdict drop --duration 30s
  dirigo trace --dst :443 --reason no_dest --json`,
		Args: cobra.NoArgs,
	}
	socket, flags := controlFlag(cmd), newWatchFlags(cmd)
	raw := cmd.Flags().Bool("json", false, "print one JSON object a line")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		s, closed, err := openStream(*socket, "/v1/trace", flags.query())
		if err != nil {
			return err
		}
		defer closed()
		if *raw {
			_, err := io.Copy(c.OutOrStdout(), s)
			return brokenOff(err)
		}
		fmt.Fprintln(c.ErrOrStderr(), "dirigo: tracing")
		for d := json.NewDecoder(s); ; {
			var line api.TraceLine
			switch err := d.Decode(&line); {
			case errors.Is(err, io.EOF):
				return errors.New("the trace was broken off")
			case err != nil:
				return brokenOff(err)
			case line.End != nil:
				fmt.Fprintf(c.ErrOrStderr(), "dirigo: %d told\n", line.End.Told)
				tellDropped(c.ErrOrStderr(), "packets", line.End.Dropped)
				return nil
			case line.Journey != nil:
				if _, err := io.WriteString(c.OutOrStdout(), journeyText(line.Journey)); err != nil {
					return err
				}
			}
		}
	}
	return cmd
}

// brokenOff words the error of a stream that did not end well.
func brokenOff(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("broken off: %w", err)
}

// journeyText is a journey for people: a line for each stage that the packet came to.
func journeyText(j *api.Journey) string {
	var b strings.Builder
	stage := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s", name)
		fmt.Fprintf(&b, format+"\n", args...)
	}
	fmt.Fprintf(&b, "%s in by %s, worker %d: %s %s\n", j.Time.Local().Format(clock), j.Port, j.Worker, j.Verdict, j.Reason)
	if j.Packet == nil {
		stage("parse", "no IP packet in a frame of %d bytes", j.Bytes)
	} else {
		stage("parse", "%s", packetText(j.Packet))
	}
	switch c := j.Connection; {
	case c == nil && j.Packet != nil:
		stage("lookup", "no connection")
	case c != nil && j.Found:
		stage("lookup", "connection %v to %v by %v at %v, %s, expires in %.0f s", c.Client, c.Virtual, c.Forward, c.Server, c.State, c.Expires)
	case c != nil:
		stage("lookup", "no connection: a new one")
	}
	switch j.EndedBy {
	case "":
	case "redispatch":
		stage("", "its server refused the connection before (redispatch)")
	default:
		stage("", "the older one was ended (sysctl %s)", j.EndedBy)
	}
	switch {
	case j.ChosenBy != "" && j.Connection != nil:
		stage("schedule", "%v: %s chose %v", serviceText(j), j.ChosenBy, j.Connection.Server)
	case !j.Found && j.Service != nil:
		stage("schedule", "%v: no server", serviceText(j))
	}
	for i, s := range j.Sent {
		if s.Packet != nil && j.Packet != nil {
			stage("rewrite", "%s%s", method(j), packetText(s.Packet))
		}
		to := ""
		switch {
		case s.Packet == nil:
			to = ", which asks for a link address"
			if j.NextHop.IsValid() {
				to = fmt.Sprintf(", which asks for the link address of %v", j.NextHop)
			}
		case s.To != "" && i == 0 && j.NextHop.IsValid():
			to = fmt.Sprintf(", next hop %v at %s", j.NextHop, s.To)
		case s.To != "":
			to = " to " + s.To
		}
		stage("send", "out by %s, %d bytes%s", s.Port, s.Bytes, to)
	}
	stage("verdict", "%s %s: %s", j.Verdict, j.Reason, j.Rule)
	return b.String()
}

func serviceText(j *api.Journey) string {
	if j.Service == nil {
		return "service"
	}
	return j.Service.String()
}

func method(j *api.Journey) string {
	if j.Connection == nil {
		return ""
	}
	return j.Connection.Forward.String() + ": "
}

func packetText(p *api.Packet) string {
	var b strings.Builder
	source, dest := p.Source.String(), p.Dest.String()
	if p.Source.Port() == 0 && p.Dest.Port() == 0 {
		source, dest = p.Source.Addr().String(), p.Dest.Addr().String()
	}
	fmt.Fprintf(&b, "%s %s > %s", p.Proto, source, dest)
	if len(p.Flags) > 0 {
		b.WriteString(" " + strings.Join(p.Flags, ","))
	}
	fmt.Fprintf(&b, ", %d bytes, TTL %d", p.Bytes, p.TTL)
	if p.DF && p.Dest.Addr().Is4() {
		b.WriteString(", DF")
	}
	if p.Fragment {
		b.WriteString(", fragment")
	}
	return b.String()
}
