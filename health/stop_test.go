package health

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// reader asks a server for a line and gives up with its context.
type reader struct{ addr string }

func (r reader) Probe(ctx context.Context) Result {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return Result{Why: WhyTimeout, Text: err.Error()}
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return Result{Why: WhyTimeout, Text: err.Error()}
	}
	return Result{OK: true}
}

// TestStoppedDirector is run again by TestNothingFlipsBecauseTheDirectorWasStopped as the
// process that is stopped. It prints its events and, at the end of its input, its counts.
func TestStoppedDirector(t *testing.T) {
	addr := os.Getenv("HEALTH_STOP_TEST")
	if addr == "" {
		return
	}
	m := New(Config{
		Prober: func(conf.Probe, Target) (Prober, error) { return reader{addr}, nil },
		Event:  func(e Event) { println("event", e.Kind) },
	})
	svc := web(conf.HealthCheck{Interval: 50 * time.Millisecond, Rise: 1, Fall: 1, Probe: conf.Probe{Type: conf.ProbeTCP, Timeout: 3 * time.Second}}, 200)
	for i := range svc.Servers {
		svc.Servers[i].Port = uint16(1000 + i) // questions of their own
	}
	m.Update([]conf.Service{svc}, nil)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		stop()
	}()
	_ = m.Run(ctx)
	println("stalls", m.Stats().Stalls)
}

// A director that was stopped for longer than its probes' timeouts finds them expired
// when it goes on. No server is taken out for it.
func TestNothingFlipsBecauseTheDirectorWasStopped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // answers after 100 ms, so that many are asking at any time
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			time.AfterFunc(100*time.Millisecond, func() { c.Write([]byte("x")); c.Close() })
		}
	}()
	cmd := exec.Command(os.Args[0], "-test.run=^TestStoppedDirector$")
	cmd.Env = append(os.Environ(), "HEALTH_STOP_TEST="+l.Addr().String())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	time.Sleep(700 * time.Millisecond)
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(3500 * time.Millisecond)
	_ = cmd.Process.Signal(syscall.SIGCONT)
	time.Sleep(700 * time.Millisecond)
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	got := out.String()
	if strings.Contains(got, "event down") || !strings.Contains(got, "event "+KindStall) || strings.Contains(got, "stalls 0") {
		t.Errorf("a stopped director said\n%s", got)
	}
}
