package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// load is a crowd of clients that make one request after the other, each on a
// connection of its own, until it is stopped.
type load struct {
	stop context.CancelFunc
	done sync.WaitGroup
	port atomic.Uint32 // last source port used

	mu     sync.Mutex
	good   map[string]int // by the server's name
	failed []failure
}

// failure is a request that failed, and the client's end of its connection.
type failure struct {
	client string
	err    error
}

// startLoad starts n clients in a namespace that ask url's page / of to.
func startLoad(ns *lab.NS, n int, to netip.AddrPort) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{stop: cancel, good: map[string]int{}}
	l.port.Store(1024)
	for range n {
		l.done.Go(func() {
			for ctx.Err() == nil {
				l.request(ns, to)
			}
		})
	}
	return l
}

func (l *load) request(ns *lab.NS, to netip.AddrPort) {
	// No port is used twice: a connection with the ports of an earlier one, which the
	// director remembers for two minutes, would be taken for that one's server. And so it
	// is known which one failed before it was connected.
	port := l.port.Add(1)
	if port > 65535 {
		port = 0 // refused, and so seen
	}
	from := netip.AddrPortFrom(netip.MustParseAddr(clientIP), uint16(port))
	client := from.String()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return ns.Dial(ctx, network, addr, from)
	}}
	name, err := get(&http.Client{Transport: tr, Timeout: 3 * time.Second}, "http://"+to.String()+"/")
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, failure{client, err})
		return
	}
	l.good[name]++
}

func get(c *http.Client, url string) (string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	return strings.TrimSpace(string(b)), err
}

// count is how many requests a server has answered so far.
func (l *load) count(server string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good[server]
}

// more waits until a server has answered n more requests.
func (l *load) more(c *cluster, server string, n int) {
	c.t.Helper()
	want := l.count(server) + n
	lab.Until(c.t, 10*time.Second, func() (bool, string) {
		return l.count(server) >= want, fmt.Sprintf("%s: %d answers, want %d: %v", server, l.count(server), want, l.failures())
	})
}

func (l *load) failures() []failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// end lets the clients finish and returns the requests that failed.
func (l *load) end() []failure {
	l.stop()
	l.done.Wait()
	return l.failures()
}
