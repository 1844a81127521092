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
	"slices"
	"strings"
	"syscall"

	"github.com/dirigo-lb/dirigo/test/lab"
)

func main() {
	run, args := peers, os.Args[1:]
	if len(args) > 0 { // the harness starts itself as one of its own forwarders
		switch args[0] {
		case "bare":
			run, args = runBare, args[1:]
		case "director":
			run, args = runProfiled, args[1:]
		}
	}
	err := run(args)
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
	from    string
	cpus    string
}

func peers(args []string) (err error) {
	var o options
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 0, "rounds; 0: 5, or 2 with -quick")
	f.BoolVar(&o.quick, "quick", false, "two short rounds: to see that it works, not to quote")
	f.StringVar(&o.only, "only", "", "names of measures and forwarders, comma-separated: only these")
	f.StringVar(&o.out, "out", "bench/results/peers", "the results, without .md, .svg and .json; \"\": print the table")
	f.StringVar(&o.latency, "latency", "low,throughput", "settings of latency to measure Dirigo NAT with besides its default, comma-separated")
	f.StringVar(&o.binary, "dirigo", "", "a built director; default: built from this source")
	f.StringVar(&o.cpus, "cpus", "", "CPU of the ends and CPU of the director, like 0,1, which is the default; no siblings of one core, if you can")
	f.StringVar(&o.from, "from", "", "measure nothing: make report and picture again from this .json")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.from != "" {
		r, err := load(o.from)
		if err != nil {
			return err
		}
		return o.write(&r)
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
	if o.out != "" {
		if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
			return err
		}
	}
	if err := o.prepare(p.env); err != nil {
		return err
	}
	r := results{Rounds: p.rounds, Quick: o.quick}
	if r.Machine, err = thisMachine(); err != nil {
		return err
	}
	for _, f := range p.forwarders {
		r.Rows = append(r.Rows, row{f.name, f.title})
	}
	r.Samples = p.run(ctx, os.Stderr)
	r.Whole = ctx.Err() == nil
	if err := o.write(&r); err != nil {
		return err
	}
	if n := len(r.failures()); n > 0 {
		return fmt.Errorf("%d of %d samples failed", n, len(r.Samples))
	}
	return ctx.Err()
}

// write writes the report, the picture and the samples.
func (o *options) write(r *results) error {
	if o.out == "" {
		fmt.Print(markdown(r, ""))
		return nil
	}
	err := errors.Join(r.save(o.out+".json"),
		os.WriteFile(o.out+".svg", []byte(svg(r)), 0o644),
		os.WriteFile(o.out+".md", []byte(markdown(r, filepath.Base(o.out)+".svg")), 0o644))
	if err == nil {
		fmt.Fprintf(os.Stderr, "see %s.md\n", o.out)
	}
	return err
}

// plan is the run that the flags ask for.
func (o *options) plan() (*plan, error) {
	var latencies []string
	if o.latency != "" {
		latencies = strings.Split(o.latency, ",")
	}
	where, err := placement(o.cpus)
	if err != nil {
		return nil, err
	}
	p := &plan{env: &env{cpus: where, times: fullTimes, out: o.out}, rounds: o.rounds, measures: measures(), forwarders: forwarders(latencies)}
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
	if o.out == "" { // profiles are files
		p.measures = slices.DeleteFunc(p.measures, func(m measure) bool { return m.name == "profile" })
	}
	if err := p.only(o.only); err != nil {
		return nil, err
	}
	if len(p.jobs()) == 0 {
		return nil, fmt.Errorf("-only %s: these measures are not for these forwarders", o.only)
	}
	return p, nil
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
		switch {
		case f.proxy:
			want = append(want, f.name)
		case f.name == "bare-xdp":
			want = append(want, "ethtool")
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
