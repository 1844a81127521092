package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// rulesOf are lines for ipvsadm -R: so many services, each with so many servers.
func rulesOf(services, servers int) string {
	var b strings.Builder
	for i := range services {
		vip := fmt.Sprintf("10.%d.%d.%d:80", 100+i>>16, i>>8&0xff, i&0xff)
		fmt.Fprintf(&b, "-A -t %s -s rr\n", vip)
		for k := range servers {
			fmt.Fprintf(&b, "-a -t %s -r 10.9.1.%d:80 -m -w 1\n", vip, k+1)
		}
	}
	return b.String()
}

// loneDirector is a director with ports and without services.
func loneDirector(t *testing.T) (*cluster, *director) {
	t.Helper()
	c := newCluster(t, shape{method: "nat", arms: 2, plain: true})
	return c, startDirector(t, c.director, c.config(1, ""))
}

// However early or late ipvsadm -R is killed, all its lines have taken effect or none.
func TestKilledRestoreIsAllOrNothing(t *testing.T) {
	const services, servers = 2000, 10
	_, d := loneDirector(t)
	sh := d.shell()
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte(rulesOf(services, servers)), 0o644); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	sh.must("ipvsadm -R < " + rules)
	whole := time.Since(start)
	outcomes := map[int]int{}
	for try := range 12 {
		sh.must("ipvsadm -C")
		p := d.ns.Start(sh.command("/bin/sh", "-c", "exec ipvsadm -R < "+rules)...)
		if time.Sleep(whole * time.Duration(try) / 10); try < 11 { // the last one may live
			p.Kill()
		}
		_ = p.Wait(time.Minute)
		// A change waits for the one under way.
		sh.must("ipvsadm --set 0 0 0")
		list := d.services()
		outcomes[len(list)]++
		for _, s := range list {
			if len(s.Servers) != servers {
				t.Fatalf("killed after %v of %v: %v has %d servers", whole*time.Duration(try)/10, whole, s.Service.Service, len(s.Servers))
			}
		}
	}
	t.Logf("a restore takes %v; services after it was killed: %v", whole, outcomes)
	if outcomes[0] == 0 || outcomes[services] == 0 || outcomes[0]+outcomes[services] != 12 {
		t.Errorf("services left: %v; want %d now and then, or none", outcomes, services)
	}
}

// A director that was killed leaves its socket; the next one replaces it. A file of
// another kind it leaves alone.
func TestSocketLeftovers(t *testing.T) {
	_, d := loneDirector(t)
	d.Kill()
	_ = d.Wait(5 * time.Second)
	sh := d.shell()
	if _, err := os.Stat(d.socket); err != nil {
		t.Fatalf("the socket of a killed director: %v", err)
	}
	unreachable(t, sh, "no director runs at "+d.socket)
	d.start()
	sh.must("ipvsadm -A -t 10.1.1.1:80")
	d.stop()
	unreachable(t, sh, "no director runs at "+d.socket)

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	sh.env = append(sh.env, "DIRIGO_CONTROL="+file)
	unreachable(t, sh, "no director runs at "+file)
	if out, err := d.command("run", "-c", d.file, "--control", file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a director on a file: %v: %s", err, out)
	}
	if b, err := os.ReadFile(file); string(b) != "mine" {
		t.Errorf("the file has %q, %v", b, err)
	}
}

// unreachable checks what ipvsadm says where a kernel without IPVS would be.
func unreachable(t *testing.T, sh *shell, why string) {
	t.Helper()
	for _, cmd := range []string{"ipvsadm -Ln", "ipvsadm -Lnc", "ipvsadm -A -t 10.1.1.1:80", "echo -A -t 10.1.1.1:80 | ipvsadm -R", "ipvsadm -C"} {
		text, rc := sh.do(cmd)
		if rc != 2 || !strings.Contains(text, "Can't initialize ipvs: ") || !strings.Contains(text, why) ||
			!strings.HasSuffix(text, "\nAre you sure that IP Virtual Server is built in the kernel or as module?\n") {
			t.Errorf("%s: exit code %d: %s; want 2 and %q", cmd, rc, text, why)
		}
	}
}

// Only root reaches the socket.
func TestSocketIsForRoot(t *testing.T) {
	_, d := loneDirector(t)
	sh := d.shell()
	for dir := filepath.Dir(d.socket); dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // so that it is the socket that refuses
			t.Fatal(err)
		}
	}
	for _, cmd := range []string{"-Ln", "-A -t 10.1.1.1:80"} {
		text, rc := sh.do("setpriv --reuid=65534 --regid=65534 --clear-groups ipvsadm " + cmd)
		if rc != 2 || !strings.Contains(text, d.socket+": permission denied") {
			t.Errorf("ipvsadm %s as nobody: exit code %d: %s", cmd, rc, text)
		}
	}
	if n := len(d.services()); n != 0 {
		t.Errorf("%d services", n)
	}
}

// post sends a body to the director as it is.
func (d *director) post(body io.Reader) (status int, answer string, err error) {
	c := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
		}}}
	resp, err := c.Post("http://director/v1/changes", "application/json", body)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// Bodies that are no request are refused, each in a word of its own, and change nothing.
func TestBadBodies(t *testing.T) {
	_, d := loneDirector(t)
	const add = `{"op":"add_service","definition":{"service":"tcp/10.1.1.1:80","scheduler":"rr"}}`
	for _, row := range []struct {
		name, body, want string
	}{
		{"nothing", "", "EOF"},
		{"garbage", "\x00\xff\x13garbage", "invalid character"},
		{"half a request", `{"changes":[` + add, "unexpected EOF"},
		{"an unknown key", `{"changes":[` + add + `],"chagnes":[]}`, `unknown field \"chagnes\"`},
		{"an unknown key of a service", `{"changes":[` + strings.Replace(add, "scheduler", "sheduler", 1) + `]}`, `unknown field \"sheduler\"`},
		{"two requests", `{"changes":[` + add + `]}{"changes":[]}`, "more than one"},
		{"100 MB", `{"changes":[` + add + strings.Repeat(" ", 100<<20) + `]}`, "more than 64 MiB"},
		{"100 MB of a word", `{"changes":[{"op":"` + strings.Repeat("a", 100<<20) + `"}]}`, "more than 64 MiB"},
		{"1,000,000 lists", `{"changes":` + strings.Repeat("[", 1_000_000), "depth"},
	} {
		status, answer, err := d.post(strings.NewReader(row.body))
		// A server may end a connection on which more comes than it will ever read.
		gone := err != nil && len(row.body) > 32<<20
		if !gone && (err != nil || status != http.StatusBadRequest || !strings.Contains(answer, row.want)) {
			t.Errorf("%s: %d %s, %v; want 400 with %q", row.name, status, answer, err, row.want)
		}
		if n := len(d.services()); n != 0 {
			t.Fatalf("%s: %d services", row.name, n)
		}
	}
	// What ends in the middle, as a client does that is killed while it sends.
	conn, err := net.Dial("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/changes HTTP/1.1\r\nHost: d\r\nContent-Length: 1000\r\n\r\n{\"changes\":[%s]", add)
	conn.Close()
	if n := len(d.services()); n != 0 {
		t.Errorf("a client that went away while it sent: %d services", n)
	}
	if status, answer, err := d.post(strings.NewReader(`{"changes":[` + add + `]}`)); status != http.StatusOK || err != nil {
		t.Errorf("a good request: %d %s, %v", status, answer, err)
	}
}

// A line that is longer than any rule ends a restore with nothing changed before it
// undone, and a director that does not notice.
func TestLongLines(t *testing.T) {
	_, d := loneDirector(t)
	sh := d.shell()
	file := filepath.Join(t.TempDir(), "rules")
	for _, word := range []string{strings.Repeat("x", 1<<20), strings.Repeat("x ", 1<<19)} {
		if err := os.WriteFile(file, []byte("-A -t "+word+":80\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		text, rc := sh.do("ipvsadm -R < " + file)
		if rc != 2 || len(text) > 1000 || text == "" {
			t.Errorf("1 MiB: exit code %d, %d bytes: %.200q", rc, len(text), text)
		}
		if n := len(d.services()); n != 0 {
			t.Errorf("%d services", n)
		}
	}
}

// Clients that send their request a byte at a time, or never read the answer, hold up
// nobody.
func TestSlowClients(t *testing.T) {
	_, d := loneDirector(t)
	sh := d.shell()
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte(rulesOf(1000, 10)), 0o644); err != nil {
		t.Fatal(err)
	}
	sh.must("ipvsadm -R < " + rules)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 100 {
		conn, err := net.Dial("unix", d.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			fmt.Fprint(conn, "GET /v1/services HTTP/1.1\r\nHost: d\r\n\r\n") // and no reading
			continue
		}
		go func() {
			request := []byte("POST /v1/changes HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat(" ", 100000))
			for b := range bytes.SplitSeq(request, nil) {
				if _, err := conn.Write(b); err != nil || ctx.Err() != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
	}
	time.Sleep(200 * time.Millisecond)
	start := time.Now()
	sh.must("ipvsadm -A -t 10.1.1.1:80 -s rr && ipvsadm -Ln -t 10.1.1.1:80 && ipvsadm -D -t 10.1.1.1:80")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("three commands beside slow clients took %v", took)
	}
	if got := sh.must("ipvsadm -Ln | wc -l"); got != "11003\n" {
		t.Errorf("%s lines are listed", got)
	}
	cancel()
	start = time.Now()
	d.stop()
	t.Logf("stopped after %v", time.Since(start))
}

// 200 listings at once, while others change what is listed, of a director with the race
// detector: each is a listing, and nothing is lost.
func TestManyClients(t *testing.T) {
	program := filepath.Join(t.TempDir(), "dirigo")
	if err := lab.Build("dirigo", program, true); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, shape{method: "nat", arms: 2, plain: true})
	d := startProgram(t, program, c.director, c.config(2, ""))
	sh := d.shell()
	text := sh.must(`
for i in $(seq 10); do (for k in $(seq 10); do
	ipvsadm -A -t 10.1.$i.$k:80 -s rr && ipvsadm -a -t 10.1.$i.$k:80 -r 10.9.1.1:80 -m && ipvsadm -e -t 10.1.$i.$k:80 -r 10.9.1.1:80 -m -w $k || echo failed $i $k
done) & done
for i in $(seq 200); do ipvsadm -Ln > ` + t.TempDir() + `/$i || echo listing failed & done
wait`)
	if text != "" {
		t.Errorf("failed: %s", text)
	}
	list := d.services()
	for _, s := range list {
		if len(s.Servers) != 1 || s.Servers[0].Weight != int(s.Service.Service.Addr.As4()[3]) {
			t.Errorf("%v: servers %+v", s.Service.Service, s.Servers)
		}
	}
	if len(list) != 100 {
		t.Errorf("%d services, want 100", len(list))
	}
	lab.Until(t, 5*time.Second, func() (bool, string) { _, err := d.status(); return err == nil, fmt.Sprint(err) })
	d.stop()
}
