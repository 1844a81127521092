package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

const drainHelp = `Give a real server weight 0 in every service that has it, or with --service in one, so
that its connections go on and new ones go elsewhere. SERVER is its address, its address
and port, or its name. The director remembers the weights for "dirigo undrain". It forgets
them when it ends, and a reload of the file brings the file's weights back.

A persistent service sends clients it knows to a drained server as before, unless the
sysctl expire_quiescent_template is 1.

With --wait there are lines of progress until no connection is left: how many, an
estimate by how fast they have been ending, and the longest time until one ends of itself.
Closed connections that are kept for late packets do not count. At the --deadline

  keep   leaves those that are left alone; exit status 3
  rst    ends them. The director does not know the sequence numbers that a reset of its
         own would need, so it forgets the connections: to the next packet of each client
         the virtual service's address answers with a reset (with port unreachable for
         UDP), from the director, or from the host if the host has the address too.
         The server, which may be going away, is told nothing. Not with the sysctl
         sloppy_tcp, by which such a packet opens a connection with another server, which
         will reset it

The deadline is this command's: if it is interrupted the server stays drained.

Exit status: 0 drained (with --wait: and nothing left); 1 a mistake, or somebody gave the
server a weight meanwhile; 3 connections are left.`

func drainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain SERVER",
		Short: "Send no new connections to a real server",
		Long:  drainHelp,
		Example: `  dirigo drain 10.0.0.1 --wait --deadline 10m && deploy && dirigo undrain 10.0.0.1
  dirigo drain web2 --service web --wait --deadline 1m --then rst`,
		Args: cobra.ExactArgs(1),
	}
	socket := controlFlag(cmd)
	f := cmd.Flags()
	service := f.String("service", "", "service, by name or as tcp/192.0.2.1:80 (default: all that have the server)")
	wait := f.Bool("wait", false, "wait until no connection is left")
	deadline := f.Duration("deadline", 0, "wait no longer than this, as 10m (default: for ever)")
	then := f.String("then", api.ThenKeep, "what becomes at the deadline of connections that are left: keep or rst")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case *then != api.ThenKeep && *then != api.ThenReset:
			return fmt.Errorf("--then %s: keep or rst", *then)
		case !*wait && (f.Changed("deadline") || f.Changed("then")):
			return errors.New("--deadline and --then need --wait")
		case *then == api.ThenReset && !f.Changed("deadline"):
			return errors.New("--then rst needs a --deadline")
		}
		d := drainer{client: api.NewClient(*socket), request: api.DrainRequest{Server: args[0], Service: *service}, out: c.OutOrStdout()}
		if err := d.begin(c.ErrOrStderr()); err != nil || !*wait {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		left, err := d.wait(ctx, *deadline, f.Changed("deadline"))
		switch {
		case err != nil || left == 0:
			return err
		case *then == api.ThenReset:
			return d.reset()
		}
		return &exitError{fmt.Errorf("%d connections are left at the deadline", left), 3}
	}
	return cmd
}

func undrainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undrain SERVER",
		Short: "Give a drained real server its weight back",
		Long: `Give a drained real server the weight that it had before "dirigo drain", in every service
where it is drained, or with --service in one. If the director was started meanwhile it
does not know the weight any more: then --weight has to say it.`,
		Example: "  dirigo undrain 10.0.0.1\n  dirigo undrain 10.0.0.1 --weight 2",
		Args:    cobra.ExactArgs(1),
	}
	socket := controlFlag(cmd)
	service := cmd.Flags().String("service", "", "service, by name or as tcp/192.0.2.1:80 (default: all that have the server)")
	weight := cmd.Flags().Int("weight", 0, "this weight, and not the one from before")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		in := api.UndrainRequest{Server: args[0], Service: *service}
		if cmd.Flags().Changed("weight") {
			in.Weight = weight
		}
		var done api.Drains
		if err := api.NewClient(*socket).Post("/v1/undrain", in, &done); err != nil {
			if in.Weight == nil && strings.Contains(err.Error(), "give a weight") {
				return fmt.Errorf("%w (--weight N)", err)
			}
			return err
		}
		for _, d := range done.Drains {
			fmt.Fprintf(c.OutOrStdout(), "%s of %s has weight %d\n", serverText(&d), drainedService(&d), *d.Weight)
		}
		return nil
	}
	return cmd
}

// drainer carries a drain out.
type drainer struct {
	client  *api.Client
	request api.DrainRequest
	out     io.Writer
	mine    map[string]bool // the servers, in their services, that it is about
}

func drainKey(d *api.Drain) string { return d.Service.String() + " " + d.Server.String() }

func serverText(d *api.Drain) string {
	if d.ServerName != "" {
		return d.ServerName
	}
	if d.Server.Port() == 0 {
		return d.Server.Addr().String()
	}
	return netip.AddrPortFrom(d.Server.Addr(), d.Server.Port()).String()
}

func drainedService(d *api.Drain) string {
	if d.ServiceName != "" {
		return d.ServiceName
	}
	return d.Service.String()
}

// begin drains the server and says what is left.
func (d *drainer) begin(warn io.Writer) error {
	var done api.Drains
	if err := d.client.Post("/v1/drain", d.request, &done); err != nil {
		return err
	}
	d.mine = map[string]bool{}
	for i := range done.Drains {
		one := &done.Drains[i]
		d.mine[drainKey(one)] = true
		fmt.Fprintf(d.out, "%s of %s is drained, %s\n", serverText(one), drainedService(one), leftText(one.Left))
		if one.Last {
			fmt.Fprintf(warn, "dirigo: %s has no other server with a weight: its new connections are refused\n", drainedService(one))
		}
		if one.Templates > 0 {
			fmt.Fprintf(warn, "dirigo: %s is persistent, and %d clients are bound to the server (see --help)\n", drainedService(one), one.Templates)
		}
	}
	return nil
}

func leftText(n int) string {
	if n == 1 {
		return "1 connection left"
	}
	return fmt.Sprintf("%d connections left", n)
}

// quietly is how often wait says something when nothing changes.
const quietly = 10 * time.Second

// wait waits until no connection is left or the deadline has come, and returns how many
// are left then.
func (d *drainer) wait(ctx context.Context, deadline time.Duration, bounded bool) (left int, err error) {
	began, said, last := time.Now(), time.Time{}, -1
	for {
		one, err := d.look()
		if err != nil {
			return 0, err
		}
		if one.Left == 0 {
			fmt.Fprintf(d.out, "no connection left after %v\n", time.Since(began).Round(time.Second))
			return 0, nil
		}
		if one.Left != last || time.Since(said) >= quietly {
			fmt.Fprintln(d.out, progressText(&one))
			last, said = one.Left, time.Now()
		}
		pause := time.Second
		if bounded {
			rest := deadline - time.Since(began)
			if rest <= 0 {
				return one.Left, nil
			}
			pause = min(pause, rest)
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("interrupted: the server stays drained, %s", leftText(one.Left))
		case <-time.After(pause):
		}
	}
}

// look sums up what the director says of the servers in question.
func (d *drainer) look() (sum api.Drain, err error) {
	var all api.Drains
	if err := d.client.Get("/v1/drain", &all); err != nil {
		return sum, err
	}
	found, known := 0, true
	longest := 0.0
	for i := range all.Drains {
		one := &all.Drains[i]
		if !d.mine[drainKey(one)] {
			continue
		}
		found++
		sum.Left += one.Left
		sum.Templates += one.Templates
		sum.Longest = max(sum.Longest, one.Longest)
		switch {
		case one.Left == 0:
		case one.Estimate == nil:
			known = false
		default:
			longest = max(longest, *one.Estimate)
		}
	}
	if found < len(d.mine) {
		return sum, errors.New("the server is no longer drained: it was given a weight, or removed")
	}
	if known {
		sum.Estimate = &longest
	}
	return sum, nil
}

// progressText is a line of progress.
func progressText(d *api.Drain) string {
	sec := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)).Round(time.Second) }
	s := leftText(d.Left)
	if d.Estimate != nil {
		s += fmt.Sprintf(", about %v", sec(*d.Estimate))
	}
	return s + fmt.Sprintf(", at most %v if silent", sec(d.Longest))
}

// reset ends the connections that are left. What others hang on (FTP's control connection,
// a persistence template) can only end after them, hence several turns.
func (d *drainer) reset() error {
	d.request.Then = api.ThenReset
	ended := 0
	for range 50 {
		var done api.Drains
		if err := d.client.Post("/v1/drain", d.request, &done); err != nil {
			return err
		}
		ended += done.Ended
		time.Sleep(50 * time.Millisecond)
		sum, err := d.look()
		if err != nil {
			return err
		}
		if sum.Left+sum.Templates == 0 {
			fmt.Fprintf(d.out, "%d table entries ended\n", ended)
			return nil
		}
	}
	return &exitError{errors.New("some connections could not be ended"), 3}
}
