package control

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// Commanded is what became of one command of a replay's script.
type Commanded struct {
	Command
	Time   time.Time
	Output string // what it printed
	Err    error  // why it was refused; nil if it was obeyed
}

// obey carries out the commands that are due at the instant at since the first frame.
func (r *replay) obey(at time.Duration) error {
	for len(r.script) > 0 && r.script[0].At <= at {
		c := r.script[0]
		r.script = r.script[1:]
		if err := r.goTo(r.zero + c.At); err != nil {
			return err
		}
		done := Commanded{Command: c, Time: r.at}
		done.Output, done.Err = r.command(c.Words)
		r.sum.Commands++
		if done.Err != nil {
			r.sum.Failed++
		}
		if r.opt.Commanded != nil {
			if err := r.opt.Commanded(done); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *replay) command(words []string) (string, error) {
	var out bytes.Buffer
	if words[0] == "sysctl" {
		err := r.sysctl(words[1:], &out)
		return out.String(), err
	}
	var said bytes.Buffer
	b := &atRest{d: r.director}
	code := ipvsadm.Run(words, ipvsadm.Stdio{In: strings.NewReader(""), Out: &out, Err: &said}, ipvsadm.Env{}, b)
	if b.changed {
		r.publish()
		r.orphans = r.now + conntrack.TickLen
	}
	if code != 0 {
		return out.String(), errors.New(strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}

// publish lets the workers and the neighbour cache see what a command changed.
func (r *replay) publish() {
	r.cfg.Services = r.cfg.Services[:0]
	for _, s := range r.plane.Services() {
		r.cfg.Services = append(r.cfg.Services, s.Service)
	}
	r.director.publishTable(r.cfg, r.cfg.Services)
}

// sysctl obeys sysctl [-w] NAME=VALUE and prints the values of names alone, for the
// names of net.ipv4.vs.
func (r *replay) sysctl(args []string, out *bytes.Buffer) error {
	args = slices.DeleteFunc(slices.Clone(args), func(s string) bool { return s == "-w" })
	if len(args) == 0 {
		return errors.New("nothing to set; write sysctl -w net.ipv4.vs.NAME=VALUE")
	}
	for _, arg := range args {
		name, value, set := strings.Cut(arg, "=")
		short, ours := strings.CutPrefix(name, "net.ipv4.vs.")
		if !ours {
			return fmt.Errorf("%s: only names of net.ipv4.vs mean something here", name)
		}
		if !set {
			n, err := r.cfg.Sysctl.Get(short)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s = %s\n", name, n)
			continue
		}
		if err := r.cfg.Sysctl.Set(short, value); err != nil {
			return err
		}
		r.plane.SetSysctl(r.cfg.Sysctl)
		r.plane.Publish()
	}
	return nil
}
