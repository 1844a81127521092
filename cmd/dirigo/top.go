package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

// topEvery is how often top asks the director.
const topEvery = time.Second

func topCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch services and servers live",
		Long: `Watch the services and servers of a running director, refreshed each second. Rates are per
second, by the estimator of the kernel's IPVS, which takes a turn every two seconds.

  c p b   sort by connections, packets or bytes a second
  a w n   sort by active connections, weight or name
  /TEXT   show only what has TEXT in its name or address; Esc: all again
  j k     down, up (arrows too)
  q       quit

If standard output is no terminal there is one plain snapshot.`,
		Example: "  dirigo top",
		Args:    cobra.NoArgs,
	}
	socket := controlFlag(cmd)
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		client := api.NewClient(*socket)
		first, err := takeSnapshot(c.Context(), client)
		if err != nil {
			return err
		}
		screen := topScreen{snap: first, sort: 'c'}
		t, ok := openTerminal(os.Stdin, os.Stdout)
		if !ok {
			_, err := io.WriteString(c.OutOrStdout(), screen.plain())
			return err
		}
		return runTop(c.Context(), t, client, &screen)
	}
	return cmd
}

// taken is an answer of the director.
type taken struct {
	snap snapshot
	err  error
}

// runTop shows the screen until q or a signal; the terminal is then as it was.
func runTop(ctx context.Context, t *terminal, client *api.Client, screen *topScreen) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	if err := t.enter(); err != nil {
		return err
	}
	defer func() {
		if e := t.leave(); err == nil {
			err = e
		}
	}()
	keys, answers := make(chan string), make(chan taken)
	go t.read(ctx, keys)
	go func() {
		for tick := time.NewTicker(topEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			var a taken
			a.snap, a.err = takeSnapshot(ctx, client)
			select {
			case answers <- a:
			case <-ctx.Done():
			}
		}
	}()
	for {
		w, h := t.size()
		if err := t.draw(screen.render(w, h)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
		case a := <-answers:
			if screen.err = a.err; a.err == nil {
				screen.snap = a.snap
			}
		case k, open := <-keys:
			if !open || screen.key(k) {
				return nil
			}
		}
	}
}

// plain is a snapshot for a pipe: every row, as wide as it takes.
func (s *topScreen) plain() string {
	var b strings.Builder
	rows := s.rows()
	for _, line := range s.render(100, len(rows)+topFixed) {
		if line = strings.TrimRight(line, " "); !strings.HasPrefix(line, topHelp[:10]) {
			fmt.Fprintln(&b, line)
		}
	}
	return b.String()
}
