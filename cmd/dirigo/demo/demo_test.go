package demo

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	testlab "github.com/dirigo-lb/dirigo/test/lab"
)

var binary string // the built dirigo

func TestMain(m *testing.M) { os.Exit(testlab.Main(m, &binary)) }

// running is a demo at work.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stdout io.ReadCloser
	out    strings.Builder // what was read so far
	err    bytes.Buffer
	tmp    string
}

func begin(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: exec.Command(binary, append([]string{"demo"}, args...)...), tmp: t.TempDir()}
	r.cmd.Env = append(os.Environ(), "TMPDIR="+r.tmp)
	r.cmd.Stderr = &r.err
	var err error
	if r.stdout, err = r.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	r.lines = bufio.NewScanner(r.stdout)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(90*time.Second, func() { _ = r.cmd.Process.Signal(syscall.SIGTERM) })
	t.Cleanup(func() { limit.Stop() })
	return r
}

// until reads up to a line that contains text, and returns it.
func (r *running) until(text string) string {
	r.t.Helper()
	for r.lines.Scan() {
		r.out.WriteString(r.lines.Text() + "\n")
		if strings.Contains(r.lines.Text(), text) {
			return r.lines.Text()
		}
	}
	r.t.Fatalf("the demo never said %q; it said\n%s\n%s", text, r.out.String(), r.err.String())
	return ""
}

// end reads the rest and returns the exit status.
func (r *running) end() int {
	for r.lines.Scan() {
		r.out.WriteString(r.lines.Text() + "\n")
	}
	_ = r.cmd.Wait() // a status that is not 0 is an error here, and the caller's business
	return r.cmd.ProcessState.ExitCode()
}

func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// nothingLeft looks for what a demo that has ended must have removed.
func (r *running) nothingLeft() {
	r.t.Helper()
	prefix := fmt.Sprintf("dirigo-demo-%d-", r.cmd.Process.Pid)
	for _, line := range strings.Split(run(r.t, "ip", "netns", "list"), "\n") {
		if strings.HasPrefix(line, prefix) {
			r.t.Errorf("namespace left: %s", line)
		}
	}
	if links := run(r.t, "ip", "-o", "link"); strings.Contains(links, "dirigo-decap") || strings.Contains(links, "director-eth") {
		r.t.Errorf("link left:\n%s", links)
	}
	if rules := run(r.t, "nft", "list", "ruleset"); regexp.MustCompile(`table \S+ \S*demo`).MatchString(rules) {
		r.t.Errorf("nftables table left:\n%s", rules)
	}
	if files, err := os.ReadDir(r.tmp); err != nil || len(files) > 0 {
		r.t.Errorf("files left: %v, %v", files, err)
	}
	for pid, args := range processes(r.t) {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)) // it may end meanwhile
		if strings.Contains(string(env), "TMPDIR="+r.tmp) {         // which all of this demo's have
			r.t.Errorf("process %d left: %s", pid, args)
		}
	}
}

// processes are the command lines of all processes of the binary, but for zombies.
func processes(t *testing.T) map[int]string {
	t.Helper()
	found := map[int]string{}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !strings.HasPrefix(string(b), binary+"\x00") {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
		found[pid] = strings.ReplaceAll(string(b), "\x00", " ")
	}
	return found
}

// parent is a process's parent, 0 if it has gone.
func parent(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m := regexp.MustCompile(`PPid:\t(\d+)`).FindSubmatch(b)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

var (
	row     = regexp.MustCompile(`^ +server(\d) +(\d) +[\d.]+ % +(\d+) +([\d.]+) %$`)
	counted = regexp.MustCompile(`(client to server|server to client) +(\d+) packets +(\d+) bytes`)
)

// Each method serves every request, and wrr gives each server its weight's share, to
// within one round: of any 6 connections in a row, servers of weights 1, 2, 3 get 1, 2
// and 3.
func TestEachMethodBalancesByWeight(t *testing.T) {
	const requests = 130 // no multiple of 6
	r := begin(t, "--requests", strconv.Itoa(requests))
	if code := r.end(); code != 0 {
		t.Fatalf("exit %d: %s\n%s", code, r.err.String(), r.out.String())
	}
	parts := strings.Split(r.out.String(), "== ")[1:]
	if len(parts) != 3 {
		t.Fatalf("%d methods shown, not 3:\n%s", len(parts), r.out.String())
	}
	for i, part := range parts {
		title, _, _ := strings.Cut(part, "\n")
		total, rows := 0, 0
		bytesOf := map[string]int{}
		for _, line := range strings.Split(part, "\n") {
			if m := row.FindStringSubmatch(line); m != nil {
				weight, _ := strconv.Atoi(m[2])
				n, _ := strconv.Atoi(m[3])
				seen, _ := strconv.ParseFloat(m[4], 64)
				if m[1] != m[2] {
					t.Errorf("%s: server%s has weight %s", title, m[1], m[2])
				}
				if want := requests * float64(weight) / 6; math.Abs(float64(n)-want) > float64(weight) {
					t.Errorf("%s: server%s answered %d times, want %.1f within a round", title, m[1], n, want)
				}
				if want := 100 * float64(n) / requests; math.Abs(seen-want) > 0.051 {
					t.Errorf("%s: server%s: share %.1f %% of %d answers, want %.1f %%", title, m[1], seen, n, want)
				}
				total, rows = total+n, rows+1
			}
			if m := counted.FindStringSubmatch(line); m != nil {
				bytesOf[m[1]], _ = strconv.Atoi(m[3])
			}
		}
		if rows != 3 || total != requests {
			t.Errorf("%s: %d rows, %d answers, want 3 and %d", title, rows, total, requests)
		}
		// A request is a SYN, an ACK, the GET and the end: more than 4 headers of 40 bytes.
		if in := bytesOf["client to server"]; in < requests*160 {
			t.Errorf("%s: only %d bytes from the client counted", title, in)
		}
		if out, nat := bytesOf["server to client"], i == 0; nat != (out > 0) {
			t.Errorf("%s: %d bytes from servers counted", title, out)
		}
		if !strings.Contains(part, fmt.Sprintf("scheduler wrr: %d connections", requests)) {
			t.Errorf("%s: the director did not count %d connections:\n%s", title, requests, part)
		}
	}
	// What each method does to a packet, as LVS-HOWTO has it: NAT rewrites the
	// destination, DR nothing, TUN puts DIP > RIP before it; the client never sees a RIP.
	for i, want := range []string{
		`server3 receives +director > server3 +192\.0\.2\.1:\d+ > 10\.77\.0\.13:80`,
		`server3 receives +director > server3 +192\.0\.2\.1:\d+ > 192\.0\.2\.10:80`,
		`server3 receives +router > server3 +\[192\.0\.2\.2 > 10\.77\.0\.13 IPIP\] 192\.0\.2\.1:\d+ > 192\.0\.2\.10:80`,
	} {
		if !regexp.MustCompile(want).MatchString(parts[i]) {
			t.Errorf("no line like %q in\n%s", want, parts[i])
		}
		sender := []string{"director", "server3", "router"}[i]
		if want := `client receives +` + sender + ` > client +192\.0\.2\.10:80 > 192\.0\.2\.1:`; !regexp.MustCompile(want).MatchString(parts[i]) {
			t.Errorf("no line like %q in\n%s", want, parts[i])
		}
	}
	r.nothingLeft()
}

// Whenever it is told to end, it says so, fails, and leaves nothing behind.
func TestInterruptedLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		at     string
		signal syscall.Signal
	}{
		{"- network", syscall.SIGINT},
		{"real servers", syscall.SIGTERM},
		{"- director", syscall.SIGINT},
		{"HTTP requests", syscall.SIGINT},
		{"HTTP requests", syscall.SIGHUP},
	} {
		t.Run(c.at+" "+c.signal.String(), func(t *testing.T) {
			r := begin(t, "--method", "tun", "--requests", "20000")
			r.until(c.at)
			r.signal(c.signal)
			if code := r.end(); code != 1 || !strings.Contains(r.err.String(), "interrupted; everything was removed") {
				t.Errorf("exit %d, %q", code, r.err.String())
			}
			r.nothingLeft()
		})
	}
}

// "dirigo demo | head" ends it at its next line.
func TestClosedOutputLeavesNothing(t *testing.T) {
	r := begin(t, "--method", "dr")
	r.until("- network")
	if err := r.stdout.Close(); err != nil {
		t.Fatal(err)
	}
	if code := r.end(); code != 1 {
		t.Errorf("exit %d, %q", code, r.err.String())
	}
	r.nothingLeft()
}

// A director that dies is named at once, and nothing is left.
func TestDirectorDies(t *testing.T) {
	r := begin(t, "--method", "nat", "--requests", "20000")
	r.until("HTTP requests")
	killed := false
	for pid, args := range processes(t) {
		if parent(pid) == r.cmd.Process.Pid && strings.Contains(args, " run -c ") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			killed = true
		}
	}
	if !killed {
		t.Error("no director among the children")
	}
	if code := r.end(); code != 1 || !strings.Contains(r.err.String(), "director: dirigo run has ended (signal: killed)") {
		t.Errorf("exit %d, %q", code, r.err.String())
	}
	r.nothingLeft()
}

func TestTwoAtOnce(t *testing.T) {
	a, b := begin(t, "--method", "dr", "--requests", "60"), begin(t, "--method", "tun", "--requests", "60")
	for _, r := range []*running{a, b} {
		if code := r.end(); code != 0 {
			t.Errorf("exit %d: %s\n%s", code, r.err.String(), r.out.String())
		}
		r.nothingLeft()
	}
}

// --keep leaves a cluster that works until it is interrupted, which then is no failure.
func TestKeep(t *testing.T) {
	r := begin(t, "--method", "dr", "--requests", "6", "--keep")
	line := r.until("netns exec")
	r.until("Ctrl-C removes it")
	name := regexp.MustCompile(`dirigo-demo-\d+-client`).FindString(line)
	out := run(t, "ip", "netns", "exec", name, binary, "demo", "client", "--url", "http://192.0.2.10/", "--requests", "6")
	if n := strings.Count(out, "server3"); n != 3 {
		t.Errorf("server3, of weight 3 in 6, answered %d of 6 requests:\n%s", n, out)
	}
	r.signal(syscall.SIGINT)
	if code := r.end(); code != 0 {
		t.Errorf("exit %d: %s", code, r.err.String())
	}
	r.nothingLeft()
}

func TestRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		uid  uint32
		want string
	}{
		{[]string{"demo"}, 65534, "needs root"},
		{[]string{"demo", "--method", "fullnat"}, 0, "want nat, dr, tun or all"},
		{[]string{"demo", "--requests", "0"}, 0, "want 1 to 20000"},
		{[]string{"demo", "client", "--url", "http://127.0.0.1:1/"}, 0, ""},
	} {
		cmd := exec.Command(binary, c.args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid}}
		out, err := cmd.CombinedOutput()
		if c.want == "" { // the client reports what failed as an answer
			if err != nil || !strings.HasPrefix(string(out), "error ") {
				t.Errorf("%v: %v, %q", c.args, err, out)
			}
			continue
		}
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: %v, %q; want %q", c.args, err, out, c.want)
		}
	}
}
