package notify

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// keepalived section 5.6: notify_up/notify_down/quorum_* get no extra arguments; the words
// of a FIFO line are VS [192.168.201.15]:tcp:80 UP|DOWN and RS [1.2.3.4]:tcp:80
// [192.168.201.15]:tcp:80 UP|DOWN; a fwmark shows as FWM n.
func TestArgumentsAreKeepaliveds(t *testing.T) {
	v6 := conf.ServiceKey{Proto: 17, Addr: web.Addr, Port: 53}
	to := &conf.Notify{Up: "/u\x00a b", Down: "/d", QuorumUp: "/qu", QuorumDown: "/qd\x00x", Any: "/any\x00 y "}
	for _, c := range []struct {
		kind string
		key  conf.ServiceKey
		want [][]string
	}{
		{"up", web, [][]string{{"/u", "a b"}, {"/any", " y ", "RS", "[10.0.0.1]:tcp:8080", "[192.0.2.1]:tcp:80", "UP"}}},
		{"down", v6, [][]string{{"/d"}, {"/any", " y ", "RS", "[10.0.0.1]:udp:8080", "[192.0.2.1]:udp:53", "DOWN"}}},
		{"down", mark, [][]string{{"/d"}, {"/any", " y ", "RS", "[10.0.0.1]:none:8080", "FWM 3", "DOWN"}}},
		{"quorum_up", web, [][]string{{"/qu"}, {"/any", " y ", "VS", "[192.0.2.1]:tcp:80", "UP"}}},
		{"quorum_down", mark, [][]string{{"/qd", "x"}, {"/any", " y ", "VS", "FWM 3", "DOWN"}}},
		{"sorry_on", web, nil},
	} {
		e := event(c.kind, c.key, to)
		if got := commands(&e); !slices.EqualFunc(got, c.want, slices.Equal[[]string]) {
			t.Errorf("%s: %q, want %q", c.kind, got, c.want)
		}
	}
}

// script writes an executable shell script.
func script(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+lines), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// A command gets its arguments as they are, and what happened in its environment, which
// has nothing else of the director's.
func TestCommandIsToldWhatHappened(t *testing.T) {
	t.Setenv("DIRIGO_KEY", "secret")
	out := filepath.Join(t.TempDir(), "out")
	path := script(t, `printf '%s|' "$@" >`+out+"\nenv | grep -v '^PWD=\\|^_=\\|^SHLVL=' | sort >>"+out+"\n")
	n := New(Config{})
	e := event("down", web, &conf.Notify{Down: path + "\x00$HOME `id`\x00b"})
	if err := n.command(t.Context(), &e); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want := "$HOME `id`|b|" + strings.Join([]string{
		"DIRIGO_EVENT=down", "DIRIGO_SERVER=10.0.0.1", "DIRIGO_SERVER_NAME=a", "DIRIGO_SERVER_PORT=8080", "DIRIGO_SERVICE=tcp/192.0.2.1:80",
		"DIRIGO_SERVICE_NAME=web", "DIRIGO_TEXT=http: connection refused", "DIRIGO_TIME=2026-01-02T12:00:00Z", "DIRIGO_WHY=refused",
		"PATH=" + os.Getenv("PATH")}, "\n") + "\n"
	if string(got) != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
}

func TestFailedCommandSaysWhy(t *testing.T) {
	for _, c := range []struct{ name, argv, want string }{
		{"exit status and the end of what it said", script(t, "echo nothing; seq 1000 >&2; echo 'no such group' >&2; exit 3"), `: exit status 3 (it said "`},
		{"silent", script(t, "exit 1"), "notify.sh: exit status 1"},
		{"missing", "/no/such/command", "no such file"},
		{"not executable", os.DevNull, "permission denied"},
	} {
		err := run(t.Context(), []string{c.argv}, nil, time.Minute)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 1000 {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return len(after) > 0 && after[0] != 'Z' && syscall.Kill(pid, 0) == nil
}

// A command that hangs is killed with its children, even those that do not listen to
// SIGTERM, and so is one that runs when the director stops.
func TestHungCommandIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pids")
	// The child ignores SIGTERM and holds the output open.
	path := script(t, "sh -c 'trap \"\" TERM; echo $$ >>"+pids+"; while :; do sleep 1; done' &\necho $$ >>"+pids+"\nwait\nsleep 100\n")
	for _, stops := range []bool{false, true} {
		if err := os.WriteFile(pids, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		timeout := 5 * time.Second // enough for the script to have begun
		if stops {
			timeout = time.Hour
		}
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, []string{path}, []string{"PATH=" + os.Getenv("PATH")}, timeout) }()
		var list []string
		for i := 0; len(list) < 2; i++ {
			if i > 2000 {
				t.Fatal("the script does not run")
			}
			time.Sleep(5 * time.Millisecond)
			text, _ := os.ReadFile(pids)
			list = strings.Fields(string(text))
		}
		if stops {
			cancel()
		}
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), "killed") {
				t.Errorf("run: %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("run does not end")
		}
		for _, p := range list {
			pid, err := strconv.Atoi(p)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; alive(pid); i++ {
				if i > 2000 {
					t.Fatalf("process %d is left", pid)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
}

// A command may leave a daemon behind that holds its output.
func TestCommandMayLeaveADaemon(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pids")
	path := script(t, "sleep 60 &\necho $! >"+pids+"\nexit 0\n")
	if err := run(t.Context(), []string{path}, []string{"PATH=" + os.Getenv("PATH")}, time.Minute); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Error("the daemon was killed")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// A failure is logged with the service it was about.
func TestFailureIsLogged(t *testing.T) {
	var buf bytes.Buffer
	n := New(Config{Log: slog.New(slog.NewTextHandler(&buf, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.Tell(event("up", web, &conf.Notify{Up: "/no/such/command"}))
	for i := 0; n.Stats().Failed == 0; i++ {
		if i > 2000 {
			t.Fatal("not told")
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := buf.String(); !strings.Contains(got, `level=WARN msg="notification failed" vip=tcp/192.0.2.1:80 event=up err="fork/exec /no/such/command`) &&
		!strings.Contains(got, `vip=tcp/192.0.2.1:80 event=up err="/no/such/command: `) {
		t.Errorf("logged %s", got)
	}
}
