package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dirigo-lb/dirigo/test/lab"
)

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == "bare" {
		err = runBare(os.Args[2:])
	} else {
		err = peers(os.Args[1:])
	}
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rounds  int
	quick   bool
	only    string
	out     string
	latency string
	binary  string
}

func peers(args []string) (err error) {
	var o options
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 0, "rounds; 0: 5, or 2 with -quick")
	f.BoolVar(&o.quick, "quick", false, "two short rounds: to see that it works, not to quote")
	f.StringVar(&o.only, "only", "", "names of measures and forwarders, comma-separated: only these")
	f.StringVar(&o.out, "out", "bench/results/peers", "the results, without .md, .svg and .json; \"\": print the table")
	f.StringVar(&o.latency, "latency", "", "settings of latency to measure Dirigo NAT with besides its default, comma-separated")
	f.StringVar(&o.binary, "dirigo", "", "a built director; default: built from this source")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("what is %q? see -help", f.Args())
	}
	p, err := o.plan()
	if err != nil {
		return err
	}
	if err := tools(p); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := lab.Sweep(false); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	defer func() { err = errors.Join(err, lab.Sweep(true)) }()
	go func() { // a sample in the middle is not worth waiting for
		<-ctx.Done()
		stop()
	}()
	if err := o.prepare(p.env); err != nil {
		return err
	}
	samples := p.run(ctx, os.Stderr)
	_ = samples
	return ctx.Err()
}

// plan is the run that the flags ask for.
func (o *options) plan() (*plan, error) {
	var latencies []string
	if o.latency != "" {
		latencies = strings.Split(o.latency, ",")
	}
	p := &plan{env: &env{cpus: placement(), times: fullTimes}, rounds: o.rounds, measures: measures(), forwarders: forwarders(latencies)}
	if o.quick {
		p.env.times = quickTimes
	}
	if o.rounds < 0 || o.rounds > 1000 {
		return nil, fmt.Errorf("-rounds %d: want 1 to 1000", o.rounds)
	}
	if o.rounds == 0 {
		p.rounds = 5
		if o.quick {
			p.rounds = 2
		}
	}
	return p, p.only(o.only)
}

// prepare builds the director and settles where everything runs.
func (o *options) prepare(e *env) (err error) {
	if e.self, err = os.Executable(); err != nil {
		return err
	}
	e.binary = o.binary
	if e.binary == "" {
		dir, err := lab.Dir()
		if err != nil {
			return err
		}
		e.binary = filepath.Join(dir, "dirigo")
		if err := lab.Build("dirigo", e.binary, false); err != nil {
			return err
		}
	}
	return pinSelf(e.ends)
}

// tools looks for what the plan runs.
func tools(p *plan) error {
	want := []string{"ip", "nft", "taskset"}
	for _, m := range p.measures {
		switch m.name {
		case "bulk1", "bulk8":
			want = append(want, "iperf3")
		case "conns":
			want = append(want, "wrk", "nginx")
		case "flood":
			want = append(want, "nginx")
		}
	}
	for _, f := range p.forwarders {
		if f.proxy {
			want = append(want, f.name)
		}
	}
	for _, t := range want {
		if _, err := exec.LookPath(t); err != nil {
			return fmt.Errorf("%w: \"make tools\" installs it", err)
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	return nil
}
