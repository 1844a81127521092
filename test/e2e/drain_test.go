package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// keepAlive is a client's connection to the VIP that lasts over many requests.
type keepAlive struct {
	net.Conn
	c *cluster
	r *bufio.Reader
}

func (c *cluster) keepAlive() *keepAlive {
	c.t.Helper()
	conn, err := c.client.Dial(context.Background(), "tcp", netip.AddrPortFrom(c.vip, 80).String(), netip.AddrPort{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return &keepAlive{conn, c, bufio.NewReader(conn)}
}

// ask makes a request and returns who answered.
func (k *keepAlive) ask() (string, error) {
	_ = k.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(k, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(k.r, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	name, err := bufio.NewReader(resp.Body).ReadString('\n')
	return strings.TrimSpace(name), err
}

func (k *keepAlive) want(server string) {
	k.c.t.Helper()
	if got, err := k.ask(); err != nil || got != server {
		k.c.t.Fatalf("the connection was answered by %q, %v; want %s", got, err, server)
	}
}

// status is the exit status of what a command ended with.
func exitStatus(err error) int {
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		return e.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// A release: a server is drained, its connections end, it goes away and comes back. No
// request fails.
func TestDrainReleasesAServer(t *testing.T) {
	for _, method := range []string{"nat", "dr"} {
		t.Run(method, func(t *testing.T) {
			c := newCluster(t, shape{method: method, arms: 2, servers: 2})
			d := startDirector(t, c.director, c.config(2, c.web("rr", "", 2, 3)))
			k := c.keepAlive()
			first, err := k.ask()
			if err != nil {
				t.Fatal(err)
			}
			old, other := c.servers[0], c.servers[1]
			if first == other.name {
				old, other = other, old
			}
			weight := map[string]string{"s1": "2", "s2": "3"}[old.name]
			l := startLoad(c.client, 4, netip.AddrPortFrom(c.vip, 80))
			defer l.end()
			l.more(c, old.name, 10)

			p := c.director.Start(binary, "drain", old.addr.String(), "--wait", "--control", d.socket)
			lab.Until(t, 5*time.Second, func() (bool, string) { return strings.Contains(p.Out.String(), "is drained"), p.Out.String() })
			before := l.count(old.name)
			l.more(c, other.name, 50)
			if after := l.count(old.name); after > before+4 { // answers that were under way, one for each client
				t.Errorf("the drained server went from %d to %d answers", before, after)
			}
			for range 3 {
				k.want(old.name)
			}
			if p.Ended() {
				t.Fatalf("the drain has ended with a connection left: %v\n%s", p.Wait(0), p.Out)
			}
			_ = k.Close()
			if err := p.Wait(25 * time.Second); err != nil || !strings.Contains(p.Out.String(), "no connection left") {
				t.Fatalf("drain: %v\n%s", err, p.Out)
			}

			old.IP("link set eth0 down")
			l.more(c, other.name, 50)
			gateway := insideGW
			if method == "nat" {
				gateway = insideDIP
			}
			old.IP("link set eth0 up", c.via(gateway))
			lab.Until(t, 10*time.Second, func() (bool, string) {
				_, err := c.director.Run("curl", "-s", "--max-time", "1", "http://"+old.addr.String()+"/")
				return err == nil, fmt.Sprint(err)
			})
			out, err := d.command("undrain", old.addr.String(), "--control", d.socket)
			if err != nil || !strings.Contains(out, "has weight "+weight) {
				t.Fatalf("undrain: %v %s", err, out)
			}
			l.more(c, old.name, 20)
			if failed := l.end(); len(failed) > 0 {
				t.Errorf("%d requests failed: %v", len(failed), failed)
			}
		})
	}
}

// What is left at the deadline is kept, or reset with the client's next packet, by the
// director or, if the host has the VIP too, by that.
func TestDrainDeadline(t *testing.T) {
	for name, vipOnHost := range map[string]bool{"nat": false, "dr": false, "nat, VIP on the host": true} {
		t.Run(name, func(t *testing.T) {
			method, _, _ := strings.Cut(name, ",")
			c := newCluster(t, shape{method: method, arms: 2, servers: 2})
			if vipOnHost {
				c.director.IP(fmt.Sprintf("addr add %v/32 dev lo", c.vip))
			}
			d := startDirector(t, c.director, c.config(1, c.web("rr", "", 1, 1)))
			k := c.keepAlive()
			server, err := k.ask()
			if err != nil {
				t.Fatal(err)
			}
			addr := map[string]string{"s1": c.servers[0].addr.String(), "s2": c.servers[1].addr.String()}[server]
			out, err := d.command("drain", addr, "--wait", "--deadline", "1s", "--control", d.socket)
			if exitStatus(err) != 3 || !strings.Contains(out, "1 connection left") {
				t.Fatalf("drain, then keep: %v\n%s", err, out)
			}
			k.want(server)
			out, err = d.command("drain", addr, "--wait", "--deadline", "1s", "--then", "rst", "--control", d.socket)
			if err != nil {
				t.Fatalf("drain, then rst: %v\n%s", err, out)
			}
			if got, err := k.ask(); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the connection was answered by %q, %v; want a reset", got, err)
			}
			if n := len(d.connections()); n != 0 {
				t.Errorf("%d connections are left", n)
			}
			if vipOnHost {
				return
			}
			k = c.keepAlive() // a new one goes to the other server
			if got, err := k.ask(); err != nil || got == server {
				t.Errorf("a new connection was answered by %q, %v", got, err)
			}
		})
	}
}
