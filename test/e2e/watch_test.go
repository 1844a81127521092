package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// watched starts a director with a service and one without a server, on port 81.
func watched(t *testing.T) (*cluster, *director) {
	t.Helper()
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	return c, startDirector(t, c.director, c.config(2, c.web("rr", "name = \"web\"", 1, 1)+"[[service]]\nlisten = \"tcp/VIP:81\"\nscheduler = \"wlc\"\n"))
}

// begin starts a command that goes on, and waits until it has said that it does.
func (d *director) begin(said string, args ...string) *lab.Proc {
	d.t.Helper()
	p := d.ns.Start(append(append([]string{binary}, args...), "--control", d.socket)...)
	lab.Until(d.t, 5*time.Second, func() (bool, string) { return strings.Contains(p.Out.String(), said), p.Out.String() })
	return p
}

func refused(c *cluster) {
	if _, err := c.client.Run("curl", "-s", "--max-time", "3", "http://"+c.vip.String()+":81/"); err == nil {
		c.t.Error("a service without a server has answered")
	}
}

func TestTraceOfLivePackets(t *testing.T) {
	c, d := watched(t)
	fetch(c, c.client, 2, 1, c.url("/")) // link addresses are known from here on
	p := d.begin("tracing", "trace", "--host", clientIP)
	fetch(c, c.client, 1, 1, c.url("/"))
	refused(c)
	time.Sleep(100 * time.Millisecond)
	p.Signal(syscall.SIGINT)
	if err := p.Wait(5 * time.Second); err != nil {
		t.Fatalf("trace: %v\n%s", err, p.Out)
	}
	for _, want := range []string{
		`in by out, worker \d: send forward_nat\n  parse     tcp 198\.18\.0\.10:\d+ > 198\.18\.1\.100:80 SYN, 60 bytes, TTL 63, DF\n  lookup    no connection: a new one\n` +
			`  schedule  tcp/198\.18\.1\.100:80: rr chose 10\.9\.0\.1[12]:80\n  rewrite   nat: tcp 198\.18\.0\.10:\d+ > 10\.9\.0\.1[12]:80 SYN, 60 bytes, TTL 62, DF\n`,
		`  send      out by in, \d+ bytes, next hop 10\.9\.0\.1[12] at ([0-9a-f]{2}:){5}[0-9a-f]{2}\n`,
		`in by in, worker \d: send forward_reply\n  parse     tcp 10\.9\.0\.1[12]:80 > 198\.18\.0\.10:\d+ SYN,ACK,`,
		`  lookup    connection 198\.18\.0\.10:\d+ to 198\.18\.1\.100:80 by nat at 10\.9\.0\.1[12]:80, `,
		`drop no_dest\n(.*\n)*?  verdict   drop no_dest: tcp/198\.18\.1\.100:81 has no server; the client is told port unreachable\n`,
		`dirigo: \d+ told\n`,
	} {
		if !regexp.MustCompile(want).MatchString(p.Out.String()) {
			t.Errorf("no\n%s\nin\n%s", want, p.Out)
		}
	}
	// A reader that is killed leaves nothing behind, and holds up nobody meanwhile.
	p = d.begin("tracing", "trace")
	p.Signal(syscall.SIGSTOP)
	fetch(c, c.client, 50, 8, c.url("/"))
	p.Kill()
	fetch(c, c.client, 5, 1, c.url("/"))
	// A director that stops does not wait for readers, and they hear the end.
	p = d.begin("tracing", "trace", "--port", "in")
	d.stop()
	if err := p.Wait(2 * time.Second); err != nil {
		t.Errorf("trace of a director that has stopped: %v\n%s", err, p.Out)
	}
}

func TestCaptureOfLivePackets(t *testing.T) {
	c, d := watched(t)
	dir := t.TempDir()
	all, drops := filepath.Join(dir, "all.pcapng"), filepath.Join(dir, "drops.pcapng")
	fetch(c, c.client, 2, 1, c.url("/")) // link addresses are known from here on
	p := d.begin("capturing", "capture", "-w", all, "--proto", "tcp", "--service", "web")
	q := d.begin("capturing", "capture", "-w", drops, "--reason", "no_dest", "--count", "1")
	fetch(c, c.client, 1, 1, c.url("/"))
	refused(c)
	time.Sleep(100 * time.Millisecond)
	p.Signal(syscall.SIGINT)
	for _, p := range []*lab.Proc{p, q} {
		if err := p.Wait(5 * time.Second); err != nil {
			t.Fatalf("capture: %v\n%s", err, p.Out)
		}
	}
	seen := map[string]int{}
	for _, rec := range records(t, all) {
		seen[rec.Interface]++
	}
	// Of each frame both sides were captured, so both ports have as many.
	if seen["out"] < 8 || seen["out"] != seen["in"] || len(seen) != 2 {
		t.Errorf("frames by port: %v", seen)
	}
	if n := strings.Count(c.director.Must("sh", "-c", "tcpdump -nr - < "+all), "\n"); n != seen["out"]+seen["in"] {
		t.Errorf("tcpdump reads %d frames of %v", n, seen)
	}
	list := records(t, drops)
	if b, err := os.ReadFile(drops); err != nil || !strings.Contains(string(b), "received; drop no_dest: tcp/198.18.1.100:81 has no server") {
		t.Errorf("no comment that says why: %v", err)
	}
	if len(list) != 2 || list[0].Interface != "out" || list[1].Interface != "out" { // the SYN and the ICMP error
		t.Errorf("captured drops: %+v", list)
	}
	if out, err := d.command("capture", "-w", all, "--count", "1", "--control", d.socket); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a file that is there: %v %s", err, out)
	}
}

func records(t *testing.T, path string) (list []pcap.Record) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcap.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rec)
	}
}

func TestStatusTopAndConns(t *testing.T) {
	c, d := watched(t)
	fetch(c, c.client, 4, 1, c.url("/"))
	refused(c)
	d.waitReason("no_dest", 1)
	out, err := d.command("status", "--control", d.socket)
	for _, want := range []string{"up ", "2 workers", "PORT", "web tcp/198.18.1.100:80 rr", "  10.9.0.11:80", "no_dest"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("status: %v; no %q in\n%s", err, want, out)
		}
	}
	var both struct {
		Status   api.Status
		Services []api.ServiceStatus
	}
	if out, err = d.command("status", "--json", "--control", d.socket); err != nil || json.Unmarshal([]byte(out), &both) != nil || len(both.Services) != 2 || both.Status.Workers != 2 {
		t.Errorf("status --json: %v\n%s", err, out)
	}
	out, err = d.command("conns", "--client", clientIP, "--server", "10.9.0.11:80", "--control", d.socket)
	if n := strings.Count(out, "10.9.0.11:80"); err != nil || n != 2 || !strings.HasPrefix(out, "PROTO") {
		t.Errorf("conns: %v\n%s", err, out)
	}
	if out, err = d.command("top", "--control", d.socket); err != nil || !strings.Contains(out, "web tcp/198.18.1.100:80") || strings.Contains(out, "\x1b") {
		t.Errorf("top without a terminal: %v\n%s", err, out)
	}
	for name, end := range map[string]func(*os.File, *exec.Cmd){
		"q":       func(master *os.File, _ *exec.Cmd) { _, _ = master.WriteString("q") },
		"SIGTERM": func(_ *os.File, cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run("top, "+name, func(t *testing.T) { topOnTerminal(t, d, end) })
	}
}

// topOnTerminal runs top on a terminal of 80x24, makes it smaller, and ends it.
func topOnTerminal(t *testing.T, d *director, end func(*os.File, *exec.Cmd)) {
	master, slave := openPTY(t)
	size := func(w, h uint16) {
		if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: w, Row: h}); err != nil {
			t.Fatal(err)
		}
	}
	size(80, 24)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "top", "--control", d.socket)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	var shown lab.Text
	go func() { _, _ = io.Copy(&shown, master) }()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	wait := func(want string) {
		t.Helper()
		lab.Until(t, 5*time.Second, func() (bool, string) {
			return strings.Contains(shown.String(), want), fmt.Sprintf("%q", shown.String())
		})
	}
	wait("\x1b[?1049h")
	wait("web tcp/198.18.1.100:80")
	size(30, 6)
	wait("\x1b[3;1H\x1b[KSERVICE/SERVER   WEIGHT ACTIVE\x1b[4;1H")
	_, _ = master.WriteString("n")
	wait("SERVICE/SERVER*")
	end(master, cmd)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("top: %v", err)
		}
	case <-time.After(5 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatal("top goes on")
	}
	wait("\x1b[?25h\x1b[?1049l")
	if after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS); err != nil || *after != *before {
		t.Errorf("the terminal is not what it was: %v %+v, was %+v", err, after, before)
	}
}

// openPTY makes a terminal.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
