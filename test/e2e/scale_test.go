package e2e

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// full reports whether the long tests run at their full size.
func full() bool { return os.Getenv("DIRIGO_E2E_FULL") == "1" }

// sinkPort is where floods end: nobody listens there.
const sinkPort = 9

const sunk = `[[service]]
listen = "udp/VIP:9"
scheduler = "rr"
forward = "nat"
[[service.server]]
address = "SERVER1"
`

// roomy is a cluster's configuration with rings for what comes in while a worker has no
// processor: the tests' programs share two with it.
func (c *cluster) roomy(rest string) string {
	const slots = "\nring_slots = 16384\nlatency = \"throughput\"\n"
	config := c.config(1, rest)
	return strings.NewReplacer("name = \"out\"\n", "name = \"out\""+slots, "name = \"in\"\n", "name = \"in\""+slots).Replace(config)
}

// flood sends from the router, so that only the director is on the way to the server.
func (c *cluster) flood(flows, rate, total int) *lab.Flood {
	f := &lab.Flood{To: netip.AddrPortFrom(c.vip, sinkPort), MAC: c.director.MAC("out"), Flows: flows, Rate: rate, Total: total}
	return f.Start(c.router, "outside")
}

// arrived waits until a sink has counted n, or counts no more.
func arrived(count func() int, n int) int {
	got := count()
	for quiet := 0; got < n && quiet < 20; quiet++ {
		time.Sleep(50 * time.Millisecond)
		if now := count(); now != got {
			got, quiet = now, 0
		}
	}
	return got
}

// under runs work with a flood of the given rate beside it and returns what was sent,
// what was lost, and the rate that was reached.
func (c *cluster) under(count func() int, rate int, work func()) (sent, lost int, reached float64) {
	c.t.Helper()
	before, start := count(), time.Now()
	f := c.flood(64, rate, 0)
	work()
	sent, err := f.Stop()
	reached = float64(sent) / time.Since(start).Seconds()
	if err != nil {
		c.t.Fatal(err)
	}
	return sent, sent - (arrived(count, before+sent) - before), reached
}

// begins runs a command of the shell to its end, and says when its first n bytes had
// come, and what came in all.
func (s *shell) begins(n int, words ...string) (first, whole time.Duration, bytes int64) {
	s.t.Helper()
	args := append([]string{"ip", "netns", "exec", s.ns.Name}, s.command(words...)...)
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	_, err = io.ReadFull(out, make([]byte, n))
	first = time.Since(start)
	rest, copyErr := io.Copy(io.Discard, out)
	if waitErr := cmd.Wait(); err != nil || copyErr != nil || waitErr != nil {
		s.t.Fatalf("%v: %v, %v, %v", words, err, copyErr, waitErr)
	}
	return first, time.Since(start), rest + int64(n)
}

// rss is the resident memory of the director in bytes; 0 when it has ended.
func (d *director) rss() int { return d.memory("VmRSS") }

// memory is a figure of proc_pid_status(5) in bytes. RssAnon leaves the rings out.
func (d *director) memory(figure string) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	var kb int
	if _, rest, found := strings.Cut(string(b), figure+":"); found {
		fmt.Sscan(rest, &kb)
	}
	return kb << 10
}

// attempts is how often a measurement is taken before it fails: others may use the
// processors too, and what takes long or is lost then is no fault of the director.
const attempts = 3

// measure calls f until it finds nothing wrong, each time after again.
func measure(t *testing.T, f func() (wrong []string), again func()) {
	t.Helper()
	for n := 1; ; n++ {
		wrong := f()
		if len(wrong) == 0 {
			return
		}
		load, _ := os.ReadFile("/proc/loadavg")
		if t.Logf("attempt %d: %s; load %s", n, strings.Join(wrong, "; "), load); n == attempts {
			t.Errorf("%d attempts, and still: %s", n, strings.Join(wrong, "; "))
			return
		}
		again()
	}
}

// Thousands of services are restored and listed fast, and forwarding goes on meanwhile
// as if nothing were.
func TestManyServices(t *testing.T) {
	services, rate, restore := 1000, 20_000, time.Second
	if full() {
		services, rate, restore = 10_000, 100_000, 2*time.Second
	}
	const servers = 10
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1, plain: true})
	count := c.servers[0].Sink(sinkPort)
	d := startDirector(t, c.director, c.roomy(""))
	sh := d.shell()
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte(rulesOf(services, servers)), 0o644); err != nil {
		t.Fatal(err)
	}
	again := func() { d.stop(); d.start() }

	measure(t, func() (wrong []string) {
		start := time.Now()
		sh.must("ipvsadm -R < " + rules)
		took := time.Since(start)
		if t.Logf("alone: restore: %v", took.Round(time.Millisecond)); took > restore {
			wrong = append(wrong, fmt.Sprintf("ipvsadm -R of %d services with %d servers took %v, want at most %v", services, servers, took, restore))
		}
		for _, row := range []struct {
			enough int
			words  []string
		}{{1, []string{"ipvsadm", "-Ln"}}, {1000, []string{"ipvsadm", "-Ln", "--nosort"}}} {
			first, whole, size := sh.begins(row.enough, row.words...)
			t.Logf("alone: %v: %v; %d of %d bytes after %v", row.words, whole.Round(time.Millisecond), row.enough, size, first.Round(time.Millisecond))
			if first > 200*time.Millisecond {
				wrong = append(wrong, fmt.Sprintf("%v: %d bytes came after %v", row.words, row.enough, first))
			}
		}
		return wrong
	}, again)
	start := time.Now()
	sh.must("ipvsadm-restore < " + rules) // removed servers come back to their connections
	t.Logf("alone: clear and restore: %v", time.Since(start).Round(time.Millisecond))

	again()
	measure(t, func() (wrong []string) {
		sh.must(c.fill("ipvsadm -A -u VIP:9 -s rr; ipvsadm -a -u VIP:9 -r SERVER1:9 -m"))
		for _, row := range []struct{ what, line string }{
			{"nothing", "sleep 3"},
			{"restore", "ipvsadm -R < " + rules},
			{"list", "ipvsadm -Ln > /dev/null"},
			{"add one more", "ipvsadm -A -t 10.1.1.1:80 -s rr"},
			{"list one", "ipvsadm -Ln -t 10.1.1.1:80"},
			{"delete one", "ipvsadm -D -t 10.1.1.1:80"},
		} {
			var took time.Duration
			sent, lost, reached := c.under(count, rate, func() {
				time.Sleep(200 * time.Millisecond)
				start := time.Now()
				sh.must(row.line)
				took = time.Since(start)
			})
			t.Logf("beside a flood: %s: %v; %d sent, %d lost, %.0f a second", row.what, took.Round(time.Millisecond), sent, lost, reached)
			if lost != 0 {
				wrong = append(wrong, fmt.Sprintf("%s: %d of %d datagrams are lost", row.what, lost, sent))
			}
		}
		return wrong
	}, again)
	d.stop()
}

// Very many connections are listed at once, without being in memory a second time.
func TestManyConnections(t *testing.T) {
	conns, growth := 100_000, 64<<20
	if full() {
		conns = 1_000_000
	}
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1, plain: true})
	count := c.servers[0].Sink(sinkPort)
	d := startDirector(t, c.director, c.roomy(sunk+"[conntrack]\nmax_connections = 1_100_000\n"))
	sh := d.shell()
	start := time.Now()
	for made := 0; made < conns; { // what is lost on the way is made up for
		if time.Since(start) > time.Minute {
			t.Fatalf("%d connections after a minute", made)
		}
		if _, err := c.flood(conns, 100_000, conns).Wait(); err != nil {
			t.Fatal(err)
		}
		s, err := d.status()
		if err != nil {
			t.Fatal(err)
		}
		made = s.Connections
	}
	t.Logf("%d connections after %v", conns, time.Since(start).Round(time.Millisecond))
	var size int64
	measure(t, func() (wrong []string) {
		var first, whole time.Duration
		before, top := d.rss(), 0
		ended, sampled := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(sampled)
			for {
				top = max(top, d.rss())
				select {
				case <-ended:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		sent, lost, reached := c.under(count, 20_000, func() { first, whole, size = sh.begins(1000, "ipvsadm", "-Lnc") })
		close(ended)
		<-sampled
		t.Logf("listed in %v, the first 1000 bytes after %v, %d in all; RSS %d MiB, at most %d MiB; %d sent, %d lost, %.0f a second",
			whole.Round(time.Millisecond), first.Round(time.Millisecond), size, before>>20, top>>20, sent, lost, reached)
		if first > 300*time.Millisecond {
			wrong = append(wrong, fmt.Sprintf("the first bytes came after %v", first))
		}
		if before == 0 {
			wrong = append(wrong, "the director's memory is not known")
		}
		if top-before > growth {
			wrong = append(wrong, fmt.Sprintf("the director grew by %d MiB", (top-before)>>20))
		}
		if lost != 0 {
			wrong = append(wrong, fmt.Sprintf("%d of %d datagrams are lost", lost, sent))
		}
		return wrong
	}, func() {})
	if lines := size / 60; lines < int64(conns) {
		t.Errorf("%d bytes are too few for %d connections", size, conns)
	}
	d.dies(sh)
}

// dies kills the director while it lists: what came is no list, and must not pass for one.
func (d *director) dies(sh *shell) {
	d.t.Helper()
	args := append([]string{"ip", "netns", "exec", d.ns.Name}, sh.command("ipvsadm", "-Lnc")...)
	cmd := exec.Command(args[0], args[1:]...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	_, err = io.ReadFull(out, make([]byte, 1000))
	d.Kill()
	_, copyErr := io.Copy(io.Discard, out)
	if waitErr := cmd.Wait(); err != nil || copyErr != nil || waitErr == nil || !strings.Contains(said.String(), "broke off") {
		d.t.Errorf("ipvsadm -Lnc of a director that is killed: %v, %v, %v, %q", err, copyErr, waitErr, said.String())
	}
	d.t.Logf("killed while it listed: %s", strings.TrimSpace(said.String()))
}
