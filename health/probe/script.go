package probe

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// script runs a command, whose exit status decides: 0 is good. If dynamic, 1 is bad and e
// from 2 to 255 is good with weight e-2, as keepalived's MISC_CHECK with misc_dynamic.
type script struct {
	argv    []string
	dynamic bool
}

func newScript(p *conf.Probe) (asker, error) {
	if p.Command == "" {
		return nil, errors.New("no command")
	}
	return script{strings.Split(p.Command, "\x00"), p.Dynamic}, nil
}

// newExternal makes a script with ldirectord's arguments: virtual address (or mark) and
// port, real address and port.
func newExternal(p *conf.Probe, t health.Target) (asker, error) {
	a, err := newScript(p)
	if err != nil {
		return nil, err
	}
	s := a.(script)
	vip := t.Service.Addr.String()
	if t.Service.Proto == 0 {
		vip = strconv.FormatUint(uint64(t.Service.Fwmark), 10)
	}
	s.argv = append(s.argv, vip, fmt.Sprint(t.Service.Port), t.Server.Addr.String(), fmt.Sprint(t.Server.Port))
	return s, nil
}

// killAfter is how long a script that is out of time may clean up. keepalived waits 2 s;
// here the probe has to end soon.
const killAfter = 500 * time.Millisecond

func (a script) ask(ctx context.Context, r *health.Result) error {
	cmd := exec.Command(a.argv[0], a.argv[1:]...)
	out := &firstBytes{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = killAfter // for the pipe, if a stranger holds it
	if err := cmd.Start(); err != nil {
		return missing(err)
	}
	timedOut := wait(ctx, cmd.Process.Pid)
	err := cmd.Wait()
	switch {
	case timedOut:
		return fail(health.WhyTimeout, "the script did not end in time%s", out)
	case err != nil && cmd.ProcessState == nil:
		return err
	}
	return a.judge(cmd.ProcessState.Sys().(syscall.WaitStatus), out.String(), r)
}

// wait returns when the process has ended, and has ended its children: those it left
// behind, and all of them when time is up. The leader is not reaped yet, so that the
// number of the group cannot have become another's.
func wait(ctx context.Context, pid int) (timedOut bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		timedOut = true
		unix.Kill(-pid, unix.SIGTERM)
		grace := time.NewTimer(killAfter)
		defer grace.Stop()
		select {
		case <-ended:
		case <-grace.C:
		}
	}
	unix.Kill(-pid, unix.SIGKILL)
	<-ended
	return timedOut
}

func (a script) judge(s syscall.WaitStatus, out string, r *health.Result) error {
	switch code := s.ExitStatus(); {
	case s.Signaled():
		return fail(health.WhyExit, "killed by signal: %v%s", s.Signal(), out)
	case code == 0:
		return nil
	case a.dynamic && code >= 2:
		r.Weight, r.HasWeight = code-2, true
		return nil
	default:
		return fail(health.WhyExit, "exit status %d%s", code, out)
	}
}

// firstBytes keeps the beginning of what a script says, for people.
type firstBytes struct{ b []byte }

func (f *firstBytes) Write(b []byte) (int, error) {
	f.b = append(f.b, b[:min(len(b), 200-len(f.b))]...)
	return len(b), nil
}

func (f *firstBytes) String() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(f.b)), "\n")
	if line == "" {
		return ""
	}
	return ": " + quote(line)
}
