package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// commandTime bounds every command that is expected to end.
const commandTime = 2 * time.Minute

// output runs a command and returns what it printed; an error quotes it.
func output(args ...string) (string, error) { return run(nil, args...) }

func run(stdin []byte, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second // a grandchild may hold the pipe
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), err
}

// batch runs lines of ip(8) in a namespace.
func batch(ns string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := run([]byte(strings.Join(lines, "\n")+"\n"), "ip", "-n", ns, "-batch", "-")
	return err
}

func (n *NS) inside(args []string) []string {
	return append([]string{"ip", "netns", "exec", n.Name}, args...)
}

// Run runs a command in the namespace to its end and returns its standard output. An
// error quotes its standard error and, by errors.As, holds the exit status.
func (n *NS) Run(args ...string) (string, error) { return output(n.inside(args)...) }

// Must is Run for commands that have to succeed.
func (n *NS) Must(args ...string) string {
	n.t.Helper()
	out, err := n.Run(args...)
	if err != nil {
		n.t.Fatalf("%s: %v", n.Role, err)
	}
	return out
}

// Proc is a process that runs until it is stopped; at the end of the test it is killed.
type Proc struct {
	Out  *Text // standard output and error
	cmd  *exec.Cmd
	done chan struct{}
	err  error // after done
}

// Start starts a command in the namespace.
func (n *NS) Start(args ...string) *Proc {
	n.t.Helper()
	return start(n.t, n.inside(args))
}

func start(t testing.TB, args []string) *Proc {
	t.Helper()
	p := &Proc{Out: &Text{}, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p.cmd.WaitDelay = time.Second
	p.cmd.Stdout, p.cmd.Stderr = p.Out, p.Out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", strings.Join(args, " "), err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		if !p.Ended() {
			_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // its children too: nginx's workers hold our pipe
		}
		<-p.done
	})
	return p
}

// PID is the process's id: ip-netns(8) becomes the command it runs.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal, also to a process that has ended.
func (p *Proc) Signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// Kill ends the process at once.
func (p *Proc) Kill() { p.Signal(syscall.SIGKILL) }

// Ended reports whether the process has ended.
func (p *Proc) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait waits for the end, at most for the given time, and returns what the process
// ended with: nil for exit status 0.
func (p *Proc) Wait(within time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		return fmt.Errorf("process %d has not ended within %v", p.PID(), within)
	}
}

// Text collects what a process prints.
type Text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *Text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *Text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// Until polls until ok says so; after the given time the test fails, with what ok said
// last.
func Until(t testing.TB, within time.Duration, ok func() (bool, string)) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		good, said := ok()
		if good {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, said)
		}
	}
}
