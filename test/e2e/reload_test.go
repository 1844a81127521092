package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// While requests go on, a server is added, quiesced, removed, and removed without
// warning: only connections of the last may fail.
func TestReloadUnderLoad(t *testing.T) {
	for _, method := range []string{"nat", "dr", "tun"} {
		t.Run(method, func(t *testing.T) {
			c := newCluster(t, shape{method: method, arms: 2, servers: 3})
			d := startDirector(t, c.director, c.config(2, c.web("rr", "", 1, 1)))
			l := startLoad(c.client, 8, netip.AddrPortFrom(c.vip, 80))
			defer l.end()
			l.more(c, "s1", 50)

			d.hangUp(c.config(2, c.web("rr", "", 1, 1, 1))) // added
			l.more(c, "s3", 50)
			d.reload(c.config(2, c.web("rr", "", 1, 1, 0))) // quiesced
			lab.Until(t, 10*time.Second, func() (bool, string) {
				s := d.services()[0].Servers[2]
				return s.Active == 0, fmt.Sprintf("quiesced server %+v", s)
			})
			before := l.count("s3")
			l.more(c, "s2", 50)
			if after := l.count("s3"); after > before+8 { // answers that were under way, one for each client
				t.Errorf("a quiesced server went from %d to %d answers", before, after)
			}
			d.hangUp(c.config(2, c.web("rr", "", 1, 1))) // removed
			l.more(c, "s1", 50)
			if failed := l.failures(); len(failed) > 0 {
				t.Errorf("%d requests failed: %v", len(failed), failed)
			}

			d.reload(c.config(2, c.web("rr", "", 1))) // removed with connections
			l.more(c, "s1", 50)
			failed := l.end()
			t.Logf("%d answers of s1; %d requests of the removed server failed", l.count("s1"), len(failed))
			for _, f := range failed {
				if at := d.serverOf(f.client); at != c.servers[1].addr.String()+":80" {
					t.Errorf("a request of %s to server %q failed: %v", f.client, at, f.err)
				}
			}
		})
	}
}

// serverOf is the server that a client's connection is with, as the director has it.
func (d *director) serverOf(client string) string {
	d.t.Helper()
	for _, c := range d.connections() {
		if c.Client.String() == client {
			return c.Server.String()
		}
	}
	return ""
}

// A file with a mistake, or with a change that needs a restart, is refused as a whole.
func TestReloadRefusesWhatItCannotTake(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	good := c.config(1, c.web("rr", "", 1))
	d := startDirector(t, c.director, good)
	two := c.web("rr", "", 1, 1)
	for what, bad := range map[string]struct{ config, word string }{
		"no TOML":              {c.config(1, two) + "[[", "dirigo.toml"},
		"an unknown key":       {c.config(1, two+"wieght = 3\n"), "wieght"},
		"an unknown scheduler": {c.config(1, strings.Replace(two, `"rr"`, `"rrr"`, 1)), "rrr"},
		"another port":         {c.config(1, two) + "[[port]]\nname = \"eth7\"\n", "restart"},
		"other workers":        {c.config(3, two), "restart"},
	} {
		d.write(bad.config)
		out, err := d.command("reload", "--control", d.socket)
		if err == nil || !strings.Contains(err.Error(), bad.word) {
			t.Errorf("%s: reload said %v %q, want an error with %q", what, err, out, bad.word)
		}
		if n := len(d.services()[0].Servers); n != 1 {
			t.Errorf("%s: there are %d servers now", what, n)
		}
		if s, err := d.status(); err != nil || !strings.Contains(s.ReloadError, bad.word) {
			t.Errorf("%s: the status says %q, %v; want %q", what, s.ReloadError, err, bad.word)
		}
		c.want(what, fetch(c, c.client, 4, 1, c.url("/")), map[string]int{"s1": 4})
	}
	d.reload(good)
	if s, err := d.status(); err != nil || s.ReloadError != "" {
		t.Errorf("after a good reload the status says %q, %v", s.ReloadError, err)
	}
}

// A download goes on over reloads that change its service and others: the client takes
// a part of it after each.
func TestConnectionsSurviveReloads(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	d := startDirector(t, c.director, c.config(2, c.web("rr", "", 1, 0)))
	path, sum := payload(t, 64*mib)
	tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return c.client.Dial(ctx, network, addr, netip.AddrPort{})
	}}
	resp, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Get(c.url("/files/" + filepath.Base(path)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h := sha256.New()
	other := strings.Replace(c.web("rr", "", 1), "VIP:80", "VIP:8080", 1)
	for i := range 5 {
		if _, err := io.CopyN(h, resp.Body, 8*mib); err != nil {
			t.Fatalf("before reload %d: %v", i, err)
		}
		rest := c.web([]string{"wrr", "wlc", "rr"}[i%3], "", 1+i, i%2) // its weight and scheduler, and another server's
		if i%2 == 0 {
			rest += other
		}
		d.reload(c.config(2, rest))
		fetch(c, c.client, 10, 1, c.url("/"))
	}
	if _, err := io.Copy(h, resp.Body); err != nil {
		t.Errorf("after the reloads: %v", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		t.Errorf("the download has sum %s, want %s", got, sum)
	}
}
