package demo

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a child may take to begin or to end.
const patience = 10 * time.Second

// child is a process of this binary in a namespace.
type child struct {
	what  string
	cmd   *exec.Cmd
	lines chan string   // of its standard output; closed at its end
	done  chan struct{} // closed when it has ended
	tail  tail
	err   error // how it ended, once done is closed
}

// start runs this binary in a namespace. The child has a process group of its own, so
// that Ctrl-C reaches the demo alone, which ends its children in order; if the demo is
// killed they end with the thread that started them (prctl(2) PR_SET_PDEATHSIG).
func (l *lab) start(s *space, args ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{what: s.name + ": dirigo " + args[0], cmd: exec.Command(exe, args...), lines: make(chan string, 64), done: make(chan struct{})}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	c.cmd.Stderr = &c.tail
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.in(s, c.cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: %w", c.what, err)
	}
	l.children = append(l.children, c)
	go c.follow(stdout, l.died)
	return c, nil
}

// follow hands on the child's output and learns of its end.
func (c *child) follow(stdout io.Reader, died chan<- *child) {
	in := bufio.NewScanner(stdout)
	for in.Scan() {
		c.lines <- in.Text()
	}
	close(c.lines)
	c.err = c.cmd.Wait()
	close(c.done)
	died <- c
}

// ready waits for the line "ready" and lets the child talk on unheard.
func (c *child) ready(ctx context.Context) error {
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				return c.ended()
			}
			if line == "ready" {
				go c.ignore()
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return fmt.Errorf("%s: not ready after %v: %s", c.what, patience, c.tail.String())
		}
	}
}

func (c *child) ignore() {
	for range c.lines {
	}
}

// ended says how a child that should still run has ended.
func (c *child) ended() error {
	<-c.done
	return fmt.Errorf("%s has ended (%v): %s", c.what, c.cmd.ProcessState, c.tail.String())
}

func (c *child) terminate() { _ = c.cmd.Process.Signal(syscall.SIGTERM) } // it may have ended

// await waits for the end, which it forces at last.
func (c *child) await() {
	go c.ignore()
	select {
	case <-c.done:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// tail keeps the last of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailMax = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if n := t.buf.Len(); n > tailMax {
		t.buf.Next(n - tailMax)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.buf.String())
}
