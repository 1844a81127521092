package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
)

// Options say what to show.
type Options struct {
	Method   string // nat, dr, tun or all
	Requests int    // for each method
	Keep     bool   // leave the last network up until the context ends
}

// turn is how long the director's counters may be behind: see control.Counts.
const turn = 2 * time.Second

var errLeft = errors.New("not all was removed")

// Run shows each method in turn and leaves nothing behind, also when ctx ends before.
func Run(ctx context.Context, opt Options, out io.Writer) error {
	list, err := selected(opt.Method)
	if err != nil {
		return err
	}
	if opt.Requests < 1 || opt.Requests > 20000 {
		return fmt.Errorf("--requests %d: want 1 to 20000", opt.Requests)
	}
	if os.Geteuid() != 0 {
		return errors.New("it makes network namespaces, so it needs root: sudo dirigo demo")
	}
	// A thread is what is in a namespace, and children end with the thread that started
	// them. It is never given back: should it ever be lost in a namespace, nobody else
	// gets it.
	runtime.LockOSThread()
	for i := range list {
		if err := show(ctx, &list[i], opt, opt.Keep && i == len(list)-1, out); err != nil {
			if ctx.Err() != nil && !errors.Is(err, errLeft) {
				return errors.New("interrupted; everything was removed")
			}
			return fmt.Errorf("%s: %w", list[i].name, err)
		}
	}
	fmt.Fprintln(out, "Nothing is left of it.")
	return nil
}

// show builds the network of m, sends requests, reports, and takes all down.
func show(ctx context.Context, m *method, opt Options, keep bool, out io.Writer) (err error) {
	fmt.Fprintf(out, "== %s\n", m.title)
	for _, lines := range [][]string{m.explain, m.picture} {
		for _, line := range lines {
			fmt.Fprintf(out, "  %s\n", line)
		}
		fmt.Fprintln(out)
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer func() {
		if e := l.close(); e != nil {
			err = errors.Join(err, fmt.Errorf("%w: %w", errLeft, e))
		}
	}()
	step := func(format string, args ...any) { fmt.Fprintf(out, "  - "+format+"\n", args...) }

	step("network: %d namespaces %s*", len(m.nodes)+1, l.prefix)
	if err := l.build(m); err != nil {
		return err
	}
	step("%d real servers", len(m.servers))
	if err := l.startServers(ctx, m); err != nil {
		return err
	}
	step("director: dirigo run -c %s", l.path("dirigo.toml"))
	client, err := l.startDirector(ctx, m)
	if err != nil {
		return err
	}
	atClient, err := l.watch(l.space("client"))
	if err != nil {
		return err
	}
	defer atClient.close()
	name := m.servers[len(m.servers)-1].name // the heaviest gets the first connection
	atServer, err := l.watch(l.space(name))
	if err != nil {
		return err
	}
	defer atServer.close()

	step("%d HTTP requests to http://%s/", opt.Requests, vip)
	got, err := l.request(ctx, opt.Requests)
	if err != nil {
		return err
	}
	st, err := statisticsAfter(ctx, client, opt.Requests)
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	got.print(out, m)
	fmt.Fprintln(out)
	st.print(out, m)
	fmt.Fprintln(out, "\n  one connection, from > to by MAC address, then IP:")
	lines := journey(atClient, atServer, name)
	if len(lines) == 0 {
		lines = []string{"none was seen"}
	}
	for _, line := range lines {
		fmt.Fprintf(out, "    %s\n", line)
	}
	fmt.Fprintln(out)
	if n := len(got.errors); n > 0 {
		return fmt.Errorf("%d of %d requests failed, the first: %s", n, n+got.total(), got.errors[0])
	}
	if keep {
		l.keep(ctx, out)
	}
	return nil
}

// startServers runs an HTTP server on each real server, and what its forwarding method
// needs.
func (l *lab) startServers(ctx context.Context, m *method) error {
	for _, s := range m.servers {
		at := l.space(s.name)
		web, err := l.start(at, "demo", "server", "--listen", ":80", "--name", s.name)
		if err != nil {
			return err
		}
		if err := web.ready(ctx); err != nil {
			return err
		}
		if m.realserver == nil {
			continue
		}
		args := append([]string{"realserver", "--vip", vip, "--state", l.dir}, m.realserver...)
		rs, err := l.start(at, args...)
		if err != nil {
			return err
		}
		if err := rs.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// startDirector runs the director and waits until it answers.
func (l *lab) startDirector(ctx context.Context, m *method) (*api.Client, error) {
	file, socket := l.path("dirigo.toml"), l.path("control.sock")
	if err := os.WriteFile(file, []byte(m.config(socket)), 0o600); err != nil {
		return nil, err
	}
	c, err := l.start(l.space("director"), "run", "-c", file, "--control", socket)
	if err != nil {
		return nil, err
	}
	client := api.NewClient(socket)
	for end := time.Now().Add(patience); ; {
		var st api.Status
		err := client.Get("/v1/status", &st)
		if err == nil {
			go c.ignore()
			return client, nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%s: %w: %s", c.what, err, c.tail.String())
		}
		select {
		case <-c.done:
			return nil, c.ended()
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// request lets the client make n requests and counts its answers.
func (l *lab) request(ctx context.Context, n int) (*answers, error) {
	c, err := l.start(l.space("client"), "demo", "client", "--url", "http://"+vip+"/", "--requests", fmt.Sprint(n))
	if err != nil {
		return nil, err
	}
	got := &answers{from: map[string]int{}}
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case dead := <-l.died:
			if dead != c {
				return nil, dead.ended()
			}
			continue // its last lines are still to be read
		case line, ok := <-c.lines:
			if what, failed := strings.CutPrefix(line, "error "); failed {
				got.errors = append(got.errors, what)
			} else if ok {
				got.from[line]++
			}
			if ok {
				continue
			}
		}
		if <-c.done; c.err != nil {
			return nil, c.ended()
		}
		if lines := got.total() + len(got.errors); lines != n && len(got.errors) < giveUp {
			return nil, fmt.Errorf("the client made %d requests of %d", lines, n)
		}
		return got, nil
	}
}

// statisticsAfter reads what the director counted once its counters have caught up.
func statisticsAfter(ctx context.Context, c *api.Client, requests int) (*statistics, error) {
	wait, end := turn+turn/4, time.Now().Add(3*turn)
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
		st, err := readStatistics(c)
		if err != nil {
			return nil, err
		}
		if st.service.Counts.Connections >= uint64(requests) || time.Now().After(end) {
			return st, nil
		}
		wait = turn / 4
	}
}

// keep leaves the network up for people to look around.
func (l *lab) keep(ctx context.Context, out io.Writer) {
	fmt.Fprintln(out, "  The network stays up. In other terminals, for example:")
	for _, line := range []string{
		"ip netns exec " + l.prefix + "client curl -s http://" + vip + "/",
		"ip netns exec " + l.prefix + "director bash",
		"curl -s --unix-socket " + l.path("control.sock") + " http://director/v1/status",
		"cat " + l.path("dirigo.toml"),
	} {
		fmt.Fprintf(out, "    %s\n", line)
	}
	fmt.Fprintln(out, "  Ctrl-C removes it.")
	<-ctx.Done()
	fmt.Fprintln(out)
}
