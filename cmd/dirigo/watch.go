package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

// watchHelp is what the help of trace and capture have in common.
const watchHelp = `Only frames that all the given options fit are told. ADDR is an address, a network
(10.0.0.0/8), either with a port (192.0.2.7:443, [2001:db8::1]:443, [2001:db8::/64]:443),
or a port alone (:443). Addresses, protocol and port are those of the frame as it came: an
answer of a NAT server has the server's address as its source.

The director never waits for whoever reads: frames for which there is no room in its
buffer are left out, and their number is told at the end. The end is --count, --duration
or Ctrl-C; without a reader nothing of it is left in the director.`

// watchFlags are the options by which frames are chosen.
type watchFlags struct {
	words    map[string]*string
	count    int
	duration time.Duration
}

func newWatchFlags(cmd *cobra.Command) *watchFlags {
	w := &watchFlags{words: map[string]*string{}}
	f := cmd.Flags()
	for _, o := range [][3]string{
		{"src", "ADDR", "source"}, {"dst", "ADDR", "destination"}, {"host", "ADDR", "source or destination"},
		{"proto", "P", "tcp, udp, sctp, icmp, icmpv6 or a number"}, {"port", "NAME", "port of the director by which the frame came"},
		{"reason", "R", "reason, as no_dest"}, {"verdict", "V", "pass, send, taken or drop"},
		{"service", "S", "service, by name or as tcp/192.0.2.1:80"},
	} {
		w.words[o[0]] = f.String(o[0], "", "`"+o[1]+"`: "+o[2])
	}
	f.IntVar(&w.count, "count", 0, "end after so many")
	f.DurationVar(&w.duration, "duration", 0, "end after this time, as 30s")
	return w
}

// query is the request's.
func (w *watchFlags) query() url.Values {
	q := url.Values{}
	for name, value := range w.words {
		if *value != "" {
			q.Set(name, *value)
		}
	}
	if w.count != 0 {
		q.Set("count", fmt.Sprint(w.count))
	}
	if w.duration != 0 {
		q.Set("duration", w.duration.String())
	}
	return q
}

// openStream begins the stream of a path, which SIGINT and SIGTERM end: the first asks the
// director to, so that its last words are heard; with the second it is broken off.
func openStream(socket, path string, q url.Values) (s *api.Stream, closed func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	if s, err = api.NewClient(socket).Open(ctx, path); err != nil {
		cancel()
		return nil, nil, err
	}
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		if s.End() != nil {
			cancel()
		}
		select {
		case <-signals:
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
		}
		cancel()
	}()
	return s, func() {
		signal.Stop(signals)
		s.Close()
		cancel()
	}, nil
}

// tellDropped says what a slow reader has missed.
func tellDropped(w io.Writer, what string, n uint64) {
	if n > 0 {
		fmt.Fprintf(w, "dirigo: %d %s left out: the reader was too slow\n", n, what)
	}
}
