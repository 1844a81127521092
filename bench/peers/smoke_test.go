package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

var built string

// This binary is its own bare forwarder, as the command is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "bare" {
		if err := runBare(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-end
		_ = lab.Sweep(true)
		os.Exit(1)
	}()
	os.Exit(lab.Main(m, &built))
}

// Each kind of forwarder and each measure works, in moments: no figure of these means
// anything but that there is one.
func TestSmoke(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	where, err := placement("")
	if err != nil {
		t.Fatal(err)
	}
	e := &env{cpus: where, binary: built, self: self, times: times{
		step: 100 * time.Millisecond, hold: 50 * time.Millisecond, trip: 40 * time.Millisecond,
		bulk: time.Second, conns: time.Second, flood: 500 * time.Millisecond,
	}}
	rows, all := map[string]*forwarder{}, measures()
	for _, f := range forwarders(nil) {
		rows[f.name] = &f
	}
	for _, c := range []struct{ forwarder, measure, want string }{
		{"nft-rps", "pps1k", "load_p50"},
		{"bare-batch", "triptcp", "p50"},
		{"bare-xdp", "triptcp", "p50"},
		{"ebpf-nat", "bulk1", "rate"},
		{"ebpf-nat-rps", "trip", "p50"},
		{"dirigo-tun", "trip", "p50"},
		{"haproxy", "conns", "rate"},
		{"nginx", "bulk1", "rate"},
		{"dirigo-nat", "flood", "requests"},
	} {
		t.Run(c.forwarder+"/"+c.measure, func(t *testing.T) {
			for _, m := range all {
				if m.name == c.measure {
					v := m.run(open(t, e, rows[c.forwarder]))
					if v[c.want] <= 0 {
						t.Errorf("%s: no %s: %v", c.forwarder, c.want, v)
					}
				}
			}
		})
	}
}
