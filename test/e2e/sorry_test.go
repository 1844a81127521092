package e2e

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// sorryRate is how many requests a second go on while the sorry server comes and goes, of
// more clients than can be waiting for an answer to their second SYN.
const (
	sorryRate    = 1000
	sorryClients = 3000
)

// startSorry serves the page of last resort on the director's own host.
func startSorry(c *cluster) {
	l := c.director.Listen("127.0.0.1:8090")
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "sorry\n") })}
	s.SetKeepAlivesEnabled(false)
	go func() { _ = s.Serve(l) }()
	c.t.Cleanup(func() { s.Close() })
}

const sorryHealth = `on_failure = "quiesce"
sorry_server = { address = "127.0.0.1:8090", forward = "nat" }
`

// All servers say that they should not be used, and the first one says it may again: not one
// request fails, for the sorry server is there before the last one leaves, and they are
// before it leaves. Then all are killed, which checks are some time to notice; but nobody is
// refused (redispatch), and what fails is what was under way.
func TestSorryServer(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 3})
	for _, s := range c.servers {
		s.says(c, "ok")
	}
	startSorry(c)
	d := startDirector(t, c.director, c.config(2, redispatched(c.checkedWeb(sorryHealth, 1, 1, 1))))
	names := []string{"s1", "s2", "s3"}
	addrs := []string{c.servers[0].addr.String(), c.servers[1].addr.String(), c.servers[2].addr.String()}
	d.lists(addrs...)
	begun := time.Now()
	l := startSteady(c, sorryRate, sorryClients, time.Minute)
	l.answeredBy(200, names...)

	for _, s := range c.servers {
		_ = os.Remove(filepath.Join(s.dir, "health"))
	}
	d.happened("sorry_on", "", begun)
	l.answeredBy(200, "sorry")
	back := time.Now()
	c.servers[1].says(c, "ok")
	d.happened("sorry_off", "", back)
	l.answeredBy(200, "s2")
	c.servers[0].says(c, "ok")
	c.servers[2].says(c, "ok")
	d.lists(addrs...)
	l.answeredBy(200, names...)
	calm := l.since(begun)
	l.wantFailures("in good order", calm, time.Time{}, time.Time{})

	killed := time.Now()
	for _, s := range c.servers {
		s.signal(syscall.SIGKILL)
	}
	on := d.happened("sorry_on", "", killed)
	l.answeredBy(200, "sorry")
	back = time.Now()
	c.servers[2].startNginx(c)
	c.servers[2].says(c, "ok")
	off := d.happened("sorry_off", "", back)
	l.answeredBy(200, "s3")
	all := l.end()
	// Those under way at the kill have begun shortly before; three processes with a hundred
	// connections do not die in no time.
	failed := l.wantFailures("after the kill", all, killed.Add(-time.Second), killed.Add(dying))
	refused := 0
	for _, r := range all {
		if errors.Is(r.err, syscall.ECONNREFUSED) {
			refused++
		}
	}
	if refused > 0 {
		t.Errorf("%d requests were refused", refused)
	}
	answered, _ := tally(all)
	rate := float64(len(all)) / time.Since(begun).Seconds()
	t.Logf("%d requests, %.0f a second, %d answered; all killed: sorry server after %v, the first one back after %v; %d requests failed, %d refused",
		len(all), rate, answered, on.At.Sub(killed).Round(time.Millisecond), off.At.Sub(back).Round(time.Millisecond), failed, refused)
	if rate < sorryRate/2 {
		t.Errorf("only %.0f requests a second", rate)
	}
	if on.At.Sub(killed) > timeOut+busy || off.At.Sub(back) > timeIn+busy {
		t.Errorf("sorry server on after %v, off after %v; want at most %v and %v", on.At.Sub(killed), off.At.Sub(back), timeOut, timeIn)
	}
}
