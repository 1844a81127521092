package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

// grace is how long a command that took too long may take to end by itself: keepalived
// kills two seconds after it has asked.
const grace = 2 * time.Second

// commands are the argv of what is to be run for an event: the one for just this, which
// gets no arguments of ours, and the one for any, which gets the words of keepalived's
// notify fifo, each name being one argument:
//
//	VS [192.0.2.1]:tcp:80 UP
//	RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 DOWN
//
// A service of a firewall mark is "FWM 3" there.
func commands(e *health.Event) (list [][]string) {
	to, vs := e.Notify, service(e.ID.Service)
	own, words := "", []string(nil)
	switch e.Kind {
	case health.KindUp:
		own, words = to.Up, []string{"RS", server(e.ID), vs, "UP"}
	case health.KindDown:
		own, words = to.Down, []string{"RS", server(e.ID), vs, "DOWN"}
	case health.KindQuorumUp:
		own, words = to.QuorumUp, []string{"VS", vs, "UP"}
	case health.KindQuorumDown:
		own, words = to.QuorumDown, []string{"VS", vs, "DOWN"}
	default:
		return nil
	}
	if own != "" {
		list = append(list, strings.Split(own, "\x00"))
	}
	if to.Any != "" {
		list = append(list, append(strings.Split(to.Any, "\x00"), words...))
	}
	return list
}

// service and server are the names that keepalived gives them.
func service(k conf.ServiceKey) string {
	if k.Fwmark != 0 {
		return fmt.Sprintf("FWM %d", k.Fwmark)
	}
	return trio(k.Addr.String(), k.Proto, k.Port)
}

func server(id health.ID) string {
	return trio(id.Server.Addr.String(), id.Service.Proto, id.Server.Port)
}

func trio(addr string, proto uint8, port uint16) string {
	name := map[uint8]string{packet.TCP: "tcp", packet.UDP: "udp", packet.SCTP: "sctp"}[proto]
	if name == "" {
		name = "none" // of a firewall mark
	}
	return fmt.Sprintf("[%s]:%s:%d", addr, name, port)
}

// environment is what a command is told besides: all that the event says, under names of
// its own, and nothing of the director's environment but PATH.
func environment(e *health.Event) []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	env := []string{
		"PATH=" + path,
		"DIRIGO_EVENT=" + e.Kind, // "up", "down", "quorum_up", "quorum_down"
		"DIRIGO_TIME=" + e.At.UTC().Format(time.RFC3339Nano),
		"DIRIGO_SERVICE=" + e.ID.Service.String(), // "tcp/192.0.2.1:80", "fwmark 3"
		"DIRIGO_SERVICE_NAME=" + e.ServiceName,
		"DIRIGO_WHY=" + string(e.Why), // of a server that is down: "refused", "timeout", …
		"DIRIGO_TEXT=" + e.Text,
	}
	if !e.OfService {
		env = append(env, "DIRIGO_SERVER="+e.ID.Server.Addr.String(), "DIRIGO_SERVER_PORT="+strconv.Itoa(int(e.ID.Server.Port)),
			"DIRIGO_SERVER_NAME="+e.ServerName)
	}
	return env
}

// command runs what is to be run for an event, one after the other.
func (n *Notifier) command(ctx context.Context, e *health.Event) (err error) {
	for _, argv := range commands(e) {
		err = errors.Join(err, run(ctx, argv, environment(e), n.cfg.Timeout))
	}
	return err
}

// run runs a command without a shell, in a process group of its own: if it takes too long
// the group is asked to end and then killed, so that no child of it is left.
func run(ctx context.Context, argv, env []string, timeout time.Duration) error {
	limit, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(limit, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said tail
	cmd.Stderr = &said
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	if limit.Err() != nil && cmd.Process != nil {
		// The number stays the group's as long as a child is in it.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if ctx.Err() == nil {
			return fmt.Errorf("%s: killed after %v%s", argv[0], timeout, said.text())
		}
		return fmt.Errorf("%s: killed: the director stops", argv[0])
	}
	if errors.Is(err, exec.ErrWaitDelay) { // it ended well and left something behind that holds its output
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w%s", argv[0], err, said.text())
	}
	return nil
}

// tail keeps the end of what a command says.
type tail struct{ end []byte }

const tailBytes = 512

func (t *tail) Write(b []byte) (int, error) {
	t.end = append(t.end, b[max(0, len(b)-tailBytes):]...)
	t.end = slices.Delete(t.end, 0, max(0, len(t.end)-tailBytes))
	return len(b), nil
}

func (t *tail) text() string {
	if s := strings.TrimSpace(string(t.end)); s != "" {
		return fmt.Sprintf(" (it said %q)", s)
	}
	return ""
}
