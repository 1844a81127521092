package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// checkInterval is ldirectord's pause between two passes over all servers, in seconds.
const checkInterval = 1

// noticed bounds how long ldirectord may take to see and to answer a change: a pause, a
// pass, and what its Perl and shells cost on a busy machine.
const noticed = (checkInterval + 4) * time.Second

// ldirectord is a running one, as Debian ships it, in the director's namespace.
type ldirectord struct {
	*lab.Proc
	c    *cluster
	d    *director
	sh   *shell
	file string // its configuration
}

// startLdirectord starts it with a configuration to which the settings of this test are
// added. It calls /sbin/ipvsadm, or /usr/sbin/ipvsadm, whatever PATH says.
func startLdirectord(d *director, c *cluster, config string) *ldirectord {
	c.t.Helper()
	dir := c.t.TempDir()
	l := &ldirectord{c: c, d: d, sh: d.shell(), file: filepath.Join(dir, "dirigo-"+filepath.Base(filepath.Dir(dir))+".cf")}
	l.sh.binds = map[string]string{}
	for _, at := range []string{"/usr/sbin/ipvsadm", "/sbin/ipvsadm"} {
		if path, err := filepath.EvalSymlinks(at); err == nil {
			l.sh.binds[path] = ipvsadmPath(c.t)
		}
	}
	if len(l.sh.binds) == 0 {
		c.t.Fatal("there is no /sbin/ipvsadm for ours to stand in for; Debian's ldirectord brings one")
	}
	l.write(config)
	l.start()
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("ldirectord said: %s", l.Out)
		}
	})
	return l
}

func (l *ldirectord) start() {
	l.c.t.Helper()
	l.Proc = l.sh.ns.Start(l.sh.command("ldirectord", l.file, "start")...)
}

func (l *ldirectord) write(config string) {
	l.c.t.Helper()
	global := fmt.Sprintf("checktimeout = 2\ncheckinterval = %d\nsupervised = yes\n", checkInterval) // supervised: it stays, and logs to its standard output
	if err := os.WriteFile(l.file, []byte(global+l.c.fill(config)), 0o644); err != nil {
		l.c.t.Fatal(err)
	}
}

// becomes waits until the listing is what is wanted, in the words of shell.destinations.
func (l *ldirectord) becomes(what string, want map[string]string) {
	l.c.t.Helper()
	start, filled := time.Now(), map[string]string{}
	for k, v := range want {
		filled[l.c.fill(k)] = v
	}
	lab.Until(l.c.t, noticed, func() (bool, string) {
		if l.Ended() {
			l.c.t.Fatalf("%s: ldirectord has ended: %v: %s", what, l.Wait(time.Second), l.Out)
		}
		got := l.sh.destinations()
		return maps.Equal(got, filled), fmt.Sprintf("%s: listed %v, want %v", what, got, filled)
	})
	l.c.t.Logf("%s: after %v", what, time.Since(start).Round(10*time.Millisecond))
}

// answers checks by real requests who serves.
func (l *ldirectord) answers(what string, want map[string]int) {
	l.c.t.Helper()
	n := 0
	for _, k := range want {
		n += k
	}
	l.c.want(what, fetch(l.c, l.c.client, n, 1, l.c.url("/")), want)
}

// stop ends it as an operator would.
func (l *ldirectord) stop() {
	l.c.t.Helper()
	l.Signal(syscall.SIGTERM)
	_ = l.Wait(noticed) // what it says of its end is its own affair
	if !l.Ended() {
		l.c.t.Fatal("ldirectord does not end")
	}
	for line := range strings.Lines(l.Out.String()) {
		if strings.Contains(line, "ipvsadm") && strings.Contains(line, "failed") {
			l.c.t.Errorf("ldirectord was refused something: %s", line)
		}
	}
}

const webPool = `quiescent = QUIESCENT
cleanstop = CLEANSTOP
autoreload = AUTORELOAD
virtual = VIP:80
	real = SERVER1:80 masq 1
	real = SERVER2:80 masq WEIGHT2
	fallback = FALLBACK masq
	service = http
	request = "/"
	receive = "^s[0-9]"
	scheduler = wrr
	protocol = tcp
	checktype = negotiate
`

func pool(quiescent, cleanstop, autoreload string, weight2 int, fallback string) string {
	return strings.NewReplacer("QUIESCENT", quiescent, "CLEANSTOP", cleanstop, "AUTORELOAD", autoreload,
		"WEIGHT2", fmt.Sprint(weight2), "FALLBACK", fallback).Replace(webPool)
}

// An unchanged ldirectord makes and keeps the services of a director that has none of its
// own: dead servers are taken out and come back, a fallback stands in when all are dead.
func TestLdirectordRemoves(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	d := startDirector(t, c.director, c.config(2, ""))
	sorry := c.director.Listen("127.0.0.1:8090") // the director's own host
	go http.Serve(sorry, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "sorry") }))

	l := startLdirectord(d, c, pool("no", "yes", "yes", 2, "127.0.0.1:8090"))
	both := map[string]string{"TCP VIP:80": "wrr", "SERVER1:80": "Masq 1", "SERVER2:80": "Masq 2"}
	l.becomes("started", both)
	l.answers("started", map[string]int{"s1": 10, "s2": 20})

	c.servers[0].stopNginx(c)
	l.becomes("s1 is dead", map[string]string{"TCP VIP:80": "wrr", "SERVER2:80": "Masq 2"})
	l.answers("s1 is dead", map[string]int{"s2": 10})
	c.servers[0].startNginx(c)
	l.becomes("s1 is back", both)
	l.answers("s1 is back", map[string]int{"s1": 10, "s2": 20})

	c.servers[0].stopNginx(c)
	c.servers[1].stopNginx(c)
	l.becomes("both are dead", map[string]string{"TCP VIP:80": "wrr", "127.0.0.1:8090": "Masq 1"})
	l.answers("both are dead", map[string]int{"sorry": 10})
	c.servers[1].startNginx(c)
	l.becomes("s2 is back", map[string]string{"TCP VIP:80": "wrr", "SERVER2:80": "Masq 2"})
	l.answers("s2 is back", map[string]int{"s2": 10})
	c.servers[0].startNginx(c)
	l.becomes("both are back", both)

	l.write(pool("no", "yes", "yes", 1, "127.0.0.1:8090"))
	l.becomes("its file has changed", map[string]string{"TCP VIP:80": "wrr", "SERVER1:80": "Masq 1", "SERVER2:80": "Masq 1"})
	l.answers("its file has changed", map[string]int{"s1": 10, "s2": 10})

	l.stop()
	if got := l.sh.destinations(); len(got) > 0 {
		t.Errorf("after its end, with cleanstop: listed %v", got)
	}
	d.stop()
}

// With quiescent servers stay in the list with weight 0, so that connections they have
// may end in peace; without cleanstop all stays as it was when ldirectord ends, and is
// taken over by the next one.
func TestLdirectordQuiesces(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 3})
	d := startDirector(t, c.director, c.config(2, ""))
	config := func(weight2 int) string { return c.fill(pool("yes", "no", "no", weight2, "SERVER3:80")) }
	l := startLdirectord(d, c, config(2))
	both := map[string]string{"TCP VIP:80": "wrr", "SERVER1:80": "Masq 1", "SERVER2:80": "Masq 2"}
	l.becomes("started", both)
	l.answers("started", map[string]int{"s1": 10, "s2": 20})

	c.servers[0].stopNginx(c)
	l.becomes("s1 is dead", map[string]string{"TCP VIP:80": "wrr", "SERVER1:80": "Masq 0", "SERVER2:80": "Masq 2"})
	l.answers("s1 is dead", map[string]int{"s2": 10})
	c.servers[1].stopNginx(c)
	l.becomes("both are dead", map[string]string{"TCP VIP:80": "wrr", "SERVER1:80": "Masq 0", "SERVER2:80": "Masq 0", "SERVER3:80": "Masq 1"})
	l.answers("both are dead", map[string]int{"s3": 10})
	c.servers[0].startNginx(c)
	c.servers[1].startNginx(c)
	l.becomes("both are back", both)
	l.answers("both are back", map[string]int{"s1": 10, "s2": 20})

	l.write(config(1))
	time.Sleep(2 * checkInterval * time.Second)
	l.becomes("its file has changed, without autoreload", both)
	l.Signal(syscall.SIGHUP)
	equal := map[string]string{"TCP VIP:80": "wrr", "SERVER1:80": "Masq 1", "SERVER2:80": "Masq 1"}
	l.becomes("SIGHUP", equal)
	l.answers("SIGHUP", map[string]int{"s1": 10, "s2": 10})

	l.stop()
	l.answers("after its end, without cleanstop", map[string]int{"s1": 10, "s2": 10})
	l.start()
	c.servers[0].stopNginx(c)
	l.becomes("another one, and s1 is dead", map[string]string{"TCP VIP:80": "wrr", "SERVER1:80": "Masq 0", "SERVER2:80": "Masq 1"})
	l.answers("another one, and s1 is dead", map[string]int{"s2": 10})
	l.stop()
	d.stop()
}
