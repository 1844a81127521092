package probe

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// shell is a probe by a line of sh(1).
func shell(line string) conf.Probe {
	return conf.Probe{Type: conf.ProbeScript, Command: strings.Join([]string{"/bin/sh", "-c", line}, "\x00")}
}

func TestScriptExitStatus(t *testing.T) {
	noLeaks(t)
	for _, c := range []struct {
		line    string
		dynamic bool
		want    health.Why
		text    string
		weight  int // -1: none
	}{
		{"exit 0", false, "", "", -1},
		{"exit 1", false, health.WhyExit, "exit status 1", -1},
		{"exit 7", false, health.WhyExit, "exit status 7", -1},
		{"echo one; echo two; exit 1", false, health.WhyExit, `exit status 1: "one"`, -1},
		{"echo 'no\tdb' >&2; exit 3", false, health.WhyExit, `exit status 3: "no\tdb"`, -1},
		{"yes | head -c 1000000; exit 1", false, health.WhyExit, `exit status 1: "y"`, -1},
		{"kill -9 $$", false, health.WhyExit, "killed by signal: killed", -1},
		// keepalived's MISC_CHECK with misc_dynamic.
		{"exit 0", true, "", "", -1},
		{"exit 1", true, health.WhyExit, "exit status 1", -1},
		{"exit 2", true, "", "", 0},
		{"exit 3", true, "", "", 1},
		{"exit 255", true, "", "", 253},
		{"kill -9 $$", true, health.WhyExit, "killed by signal: killed", -1},
	} {
		p := shell(c.line)
		p.Dynamic = c.dynamic
		r := ask(t, p, netip.AddrPort{}, enough)
		weight := -1
		if r.HasWeight {
			weight = r.Weight
		}
		if r.Why != c.want || r.Text != c.text || weight != c.weight {
			t.Errorf("%s (dynamic %v): %q, %q, weight %d; want %q, %q, weight %d", c.line, c.dynamic, r.Why, r.Text, weight, c.want, c.text, c.weight)
		}
	}
}

func TestScriptMissing(t *testing.T) {
	dir := t.TempDir()
	noX, noFormat := filepath.Join(dir, "nox"), filepath.Join(dir, "noformat")
	if err := os.WriteFile(noX, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(noFormat, []byte("exit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{dir + "/none", "no-such-command-anywhere", noX, noFormat, dir, noX + "/x"} {
		r := ask(t, conf.Probe{Type: conf.ProbeScript, Command: command}, netip.AddrPort{}, enough)
		wantBad(t, r, health.WhyMissing)
	}
}

// ldirectord's arguments: virtual address and port, real address and port; a mark and 0
// where there is no address.
func TestExternalArguments(t *testing.T) {
	for _, c := range []struct {
		service conf.ServiceKey
		want    string
	}{
		{conf.ServiceKey{Proto: packet.TCP, Addr: netip.MustParseAddr("192.0.2.1"), Port: 80}, "extra 192.0.2.1 80 10.0.0.1 8080"},
		{conf.ServiceKey{Fwmark: 7}, "extra 7 0 10.0.0.1 8080"},
	} {
		x, err := New(conf.Probe{Type: conf.ProbeExternal, Command: "/bin/sh\x00-c\x00echo \"$@\"; exit 1\x00sh\x00extra"},
			health.Target{Service: c.service, Server: conf.ServerID{Addr: netip.MustParseAddr("10.0.0.1"), Port: 8080}}, Plain{})
		if err != nil {
			t.Fatal(err)
		}
		if r := once(t, x, enough); r.Text != fmt.Sprintf("exit status 1: %q", c.want) {
			t.Errorf("got %s, want %s", r.Text, c.want)
		}
	}
}

// A script that hangs is ended with all its children, politely first.
func TestScriptTimeout(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	for _, c := range []struct {
		name, line string
		asked      bool // the script notes that it was asked to end
		want       health.Why
	}{
		{"ends when asked", `trap 'echo > DIR/asked; exit 0' TERM; echo $$ >> DIR/pids; sleep 600 & echo $! >> DIR/pids; wait`, true, health.WhyTimeout},
		{"does not end when asked", `trap '' TERM; echo $$ >> DIR/pids; while :; do sleep 600 & echo $! >> DIR/pids; wait; done`, false, health.WhyTimeout},
		{"children that write", `echo $$ >> DIR/pids; (trap '' TERM; echo $$ >> DIR/pids; while :; do echo x; sleep 0.1; done) & wait`, false, health.WhyTimeout},
		{"leaves a child behind", `sleep 600 >/dev/null 2>&1 & echo $! >> DIR/pids`, false, health.WhyNone},
		{"leaves a child behind that holds the pipe", `sleep 600 & echo $! >> DIR/pids; exit 1`, false, health.WhyExit},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range []string{"asked", "pids"} {
				os.Remove(filepath.Join(dir, f))
			}
			timeout := time.Second
			if c.want != health.WhyTimeout {
				timeout = enough
			}
			r := ask(t, shell(strings.ReplaceAll(c.line, "DIR", dir)), netip.AddrPort{}, timeout)
			if r.Why != c.want {
				t.Errorf("got %q: %s; want %q", r.Why, r.Text, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "asked")); c.asked != (err == nil) {
				t.Errorf("asked to end: %v", err)
			}
			b, err := os.ReadFile(filepath.Join(dir, "pids"))
			if err != nil {
				t.Fatal(err)
			}
			for _, pid := range strings.Fields(string(b)) {
				// Killed ones may wait a moment for init to reap them.
				lab.Until(t, 5*time.Second, func() (bool, string) { return gone(pid), "process " + pid + " lives" })
			}
		})
	}
}

// gone says that a process has ended, reaped or not.
func gone(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path, fifo := filepath.Join(dir, "up"), filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	is := func(path string, want health.Why) {
		t.Helper()
		if r := ask(t, conf.Probe{Type: conf.ProbeFile, Path: path}, netip.AddrPort{}, enough); r.Why != want {
			t.Errorf("%s: got %q: %s; want %q", path, r.Why, r.Text, want)
		}
	}
	is(path, health.WhyMissing)
	is(path+"/x", health.WhyMissing)
	is(dir, health.WhyMissing)
	is(fifo, health.WhyMissing)
	for text, want := range map[string]health.Why{
		"": "", "1": "", "up\n": "", "00": "", "downtown": "", strings.Repeat("0", 1000): "",
		"0": health.WhyStatus, " 0\n": health.WhyStatus, "down": health.WhyStatus, "DOWN\r\n": health.WhyStatus,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		is(path, want)
	}
	is(path+"x", health.WhyMissing)
}

func TestNone(t *testing.T) {
	wantGood(t, ask(t, conf.Probe{Type: conf.ProbeNone}, netip.AddrPort{}, enough))
}
