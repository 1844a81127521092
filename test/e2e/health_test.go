package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// Times of the checks in these tests. A server is out after at most an interval, fall
// answers and the pauses between them; it is back after at most an interval (and the answer
// that is under way), rise answers and the pauses.
const (
	probeInterval = 500 * time.Millisecond
	probeTimeout  = 400 * time.Millisecond
	probeRetry    = 100 * time.Millisecond
	probeFall     = 2
	probeRise     = 2

	timeOut = probeInterval + probeFall*probeTimeout + (probeFall-1)*probeRetry
	timeIn  = probeInterval + probeTimeout + probeRise*probeTimeout + (probeRise-1)*probeRetry

	// busy is what a machine that others use too may add to times.
	busy = 2 * time.Second
)

// checkedWeb is a service whose servers are asked for /put/health, where they have a file.
func (c *cluster) checkedWeb(health string, weights ...int) string {
	return c.web("rr", "name = \"web\"", weights...) + "[service.health]\n" + health + fmt.Sprintf(`
[service.check]
type = "http"
path = "/put/health"
body = "^ok"
interval = %q
timeout = %q
retry_delay = %q
jitter = 0
fall = %d
rise = %d
`, probeInterval, probeTimeout, probeRetry, probeFall, probeRise)
}

// redispatched lets a service's servers refuse connections without its clients' knowledge.
func redispatched(web string) string {
	return strings.Replace(web, "name =", "redispatch = 3\nname =", 1)
}

// dying is what a server may take to be dead, with a hundred connections.
const dying = 300 * time.Millisecond

// healthy lets a server answer checks as it should, or with something else.
func (s *server) says(c *cluster, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "health"), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// signal signals nginx, its workers too.
func (s *server) signal(sig syscall.Signal) { _ = syscall.Kill(-s.nginx.PID(), sig) }

// health is what the director knows of its services' health.
func (d *director) health(query string) (list []api.ServiceHealth) {
	d.t.Helper()
	for one, err := range api.Lines[api.ServiceHealth](d.t.Context(), api.NewClient(d.socket), "/v1/health"+query) {
		if err != nil {
			d.t.Fatal(err)
		}
		list = append(list, one)
	}
	return list
}

// happened waits for the first event of a kind after an instant, of a server or of a service
// (server ""), and returns it.
func (d *director) happened(kind, server string, after time.Time) api.HealthEvent {
	d.t.Helper()
	var found api.HealthEvent
	lab.Until(d.t, 15*time.Second, func() (bool, string) {
		q := url.Values{"kind": {kind}, "since": {after.Format(time.RFC3339Nano)}}
		if server != "" {
			q.Set("server", server)
		}
		var all api.HealthEvents
		if err := api.NewClient(d.socket).Get("/v1/health/history?"+q.Encode(), &all); err != nil {
			return false, err.Error()
		}
		if len(all.Events) > 0 {
			found = all.Events[0]
		}
		return len(all.Events) > 0, fmt.Sprintf("no event %s of %q; health %+v", kind, server, d.health(""))
	})
	return found
}

// lists waits until the service's list in the data plane has these servers, sorted.
func (d *director) lists(want ...string) {
	d.t.Helper()
	lab.Until(d.t, 5*time.Second, func() (bool, string) {
		var has []string
		for _, s := range d.services()[0].Servers {
			if s.Weight > 0 {
				has = append(has, s.Address.Addr().String())
			}
		}
		slices.Sort(has)
		return slices.Equal(has, want), fmt.Sprintf("the list is %v, want %v", has, want)
	})
}

// Whatever a server suffers from, it is out and back in the time that the settings promise,
// with the reason, and requests that begin after it is out do not fail.
func TestServersThatFail(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	for _, s := range c.servers {
		s.says(c, "ok")
	}
	bad, other := c.servers[0], c.servers[1]
	d := startDirector(t, c.director, c.config(2, redispatched(c.checkedWeb("", 1, 1))))
	d.lists(bad.addr.String(), other.addr.String())
	nftables := "table ip cut { chain in { type filter hook input priority 0; tcp dport 80 drop; }; }"
	for _, f := range []struct {
		name        string
		breaks      func()
		mends       func()
		why         string
		refuses     bool // connections, which another server gets: only what is under way fails
		neverAnswer bool
		kernel      time.Duration // what the director's kernel may take to see it, one way
	}{
		{"killed", func() { bad.signal(syscall.SIGKILL) }, func() { bad.startNginx(c); bad.says(c, "ok") }, "refused", true, false, 0},
		{"stopped", func() { bad.signal(syscall.SIGSTOP) }, func() { bad.signal(syscall.SIGCONT) }, "timeout", false, true, 0},
		{"wrong content", func() { bad.says(c, "no") }, func() { bad.says(c, "ok") }, "content", false, false, 0},
		{"wrong status", func() { _ = os.Remove(filepath.Join(bad.dir, "health")) }, func() { bad.says(c, "ok") }, "status", false, false, 0},
		{"behind a firewall", func() { bad.Must("nft", "add "+nftables) }, func() { bad.Must("nft", "delete table ip cut") }, "timeout", false, true, 0},
		{"silent for ARP", func() {
			bad.Sysctl("ipv4/conf/all/arp_ignore", "8") // answers nobody
			bad.Sysctl("ipv4/conf/eth0/arp_ignore", "8")
			c.director.IP("neigh flush dev in")
		}, func() {
			bad.Sysctl("ipv4/conf/all/arp_ignore", "0")
			bad.Sysctl("ipv4/conf/eth0/arp_ignore", "0")
		}, "timeout|unreachable", false, true, 8 * time.Second},
	} {
		t.Run(f.name, func(t *testing.T) {
			l := startSteady(c, 100, 4, time.Minute)
			l.answeredBy(20, bad.name, other.name)
			broke := time.Now()
			f.breaks()
			down := d.happened("down", bad.addr.String(), broke)
			d.lists(other.addr.String())
			out := time.Now()
			if !regexp.MustCompile("^(" + f.why + ")$").MatchString(down.Why) {
				t.Errorf("why %q (%s), want %s", down.Why, down.Text, f.why)
			}
			took := down.At.Sub(broke)
			least := time.Duration(0) // the first bad answer may have been under way
			if f.neverAnswer {
				least = (probeFall-1)*(probeRetry+probeTimeout) - 50*time.Millisecond
			}
			if took < least || took > timeOut+f.kernel+busy {
				t.Errorf("out after %v, want %v to %v", took, least, timeOut+f.kernel)
			}
			l.answeredBy(20, other.name)
			mended := time.Now()
			f.mends()
			up := d.happened("up", bad.addr.String(), mended)
			if back := up.At.Sub(mended); back > timeIn+f.kernel+busy {
				t.Errorf("back after %v, want at most %v", back, timeIn+f.kernel)
			}
			d.lists(bad.addr.String(), other.addr.String())
			l.answeredBy(20, bad.name, other.name)
			last := out
			if f.refuses {
				last = broke.Add(dying)
			}
			failed := l.wantFailures(f.name, l.end(), broke.Add(-3*time.Second), last)
			t.Logf("out after %v, back after %v, %d requests failed", took.Round(time.Millisecond), up.At.Sub(mended).Round(time.Millisecond), failed)
			if !f.refuses && !f.neverAnswer && failed > 4 { // those under way when it was removed
				t.Errorf("%d requests failed though the server answered them", failed)
			}
		})
	}
}

// Slow start, drain and health together: the weight in force is explained, and it is the
// one in the list. The commands show it.
func TestHealthIsSeen(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	for _, s := range c.servers {
		s.says(c, "ok")
	}
	bad := c.servers[0]
	d := startDirector(t, c.director, c.config(1, c.checkedWeb("slow_start = \"20s\"\non_failure = \"quiesce\"\n", 100, 100)))
	run := func(want string, args ...string) string {
		t.Helper()
		out, err := d.command(append(args, "--control", d.socket)...)
		if err != nil || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%v: %v; no %q in\n%s", args, err, want, out)
		}
		return out
	}
	// inForce reads the weight that is explained, and compares it with the list's.
	inForce := func(product string) {
		t.Helper()
		lab.Until(t, 5*time.Second, func() (bool, string) {
			list := d.health("?server=" + bad.addr.String())
			w := list[0].Servers[0].Weight
			inList := d.services()[0].Servers[0].Weight
			return w.InForce == inList && list[0].Servers[0].Server.Addr() == bad.addr, fmt.Sprintf("explained %+v, in the list %d", w, inList)
		})
		run(product, "health", bad.addr.String())
	}
	lab.Until(t, 5*time.Second, func() (bool, string) {
		list := d.health("")
		return len(list) == 1 && list[0].Alive == 2 && list[0].Servers[0].Checks[0].Last != nil, fmt.Sprintf("%+v", list)
	})
	inForce(`weight  100 = file 100 x health 1 x ramp 1\.00 x drain 1\n`)
	run(`(?s)web tcp/198\.18\.1\.100:80 +up .*2 of 2 servers up, quorum 1\n  10\.9\.0\.11:80 +up .* ok\n`, "health")
	run(`10\.9\.0\.11:80 of web: http 10\.9\.0\.11:80: ok\n`, "health", "check", bad.addr.String())

	before := time.Now()
	bad.says(c, "no")
	d.happened("down", bad.addr.String(), before)
	inForce(`weight  0 = file 100 x health 0 x ramp 1\.00 x drain 1\n`)
	run(`10\.9\.0\.11:80 +down +\d+s +0 of 100 .*the body`, "health", "--down")
	if out, err := d.command("health", "check", bad.addr.String(), "--control", d.socket); exitStatus(err) != 3 || !strings.Contains(out, "http 10.9.0.11:80: ") {
		t.Errorf("health check of a bad server: %v\n%s", err, out)
	}
	run(`(?s)health +2 servers, 1 down.* 10\.9\.0\.11:80 down `, "status")
	run(`(?s)health +2 servers, 1 down.* 10\.9\.0\.11:80 down `, "top")
	bad.says(c, "ok")
	d.happened("up", bad.addr.String(), before)
	time.Sleep(1500 * time.Millisecond) // it has begun to climb
	inForce(`weight  [1-9]\d? = file 100 x health 1 x ramp 0\.\d\d x drain 1`)
	run(`is drained`, "drain", bad.addr.String())
	inForce(`weight  0 = file 100 x health 1 x ramp 1\.00 x drain 0\n`)
	run(`has weight 100`, "undrain", bad.addr.String())
	inForce(`weight  [1-9]\d? = file 100 x health 1 x ramp 0\.\d\d x drain 1`)
	run(`(?s)web +10\.9\.0\.11:80 +down .*web +10\.9\.0\.11:80 +up `, "health", "history", "--server", bad.addr.String(), "--since", "1m")
	var events api.HealthEvents
	if out := run("", "health", "history", "-n", "1", "--json"); json.Unmarshal([]byte(out), &events) != nil || len(events.Events) != 1 {
		t.Errorf("history -n 1: %s", out)
	}
	if _, err := d.command("health", "nobody", "--control", d.socket); err == nil || !strings.Contains(err.Error(), "no service has a server") {
		t.Errorf("health of nobody: %v", err)
	}
	// The desired state is what it was.
	run(`weight = 100`, "config", "show")
	run(`(?s)^$|nothing`, "config", "diff")
}
