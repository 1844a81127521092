package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A connection that the director knows nothing of any more (it was restarted) is reset at
// its client's next packet, as the kernel's would be: by the director where it alone has
// the VIP, by the host's own stack where that has it too.
func TestLostConnectionIsReset(t *testing.T) {
	for _, onHost := range []bool{false, true} {
		t.Run(fmt.Sprintf("on the host %v", onHost), func(t *testing.T) {
			c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
			if onHost {
				c.director.IP(fmt.Sprintf("addr add %v/32 dev out", c.vip))
			}
			d := startDirector(t, c.director, c.config(2, c.web("rr", "", 1)))
			conn, err := c.client.Dial(context.Background(), "tcp", netip.AddrPortFrom(c.vip, 80).String(), netip.AddrPort{})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			in := bufio.NewReader(conn)
			ask := func() error {
				if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: vip\r\n\r\n"); err != nil {
					return err
				}
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					return err
				}
				return resp.Body.Close()
			}
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			d.stop()
			d.start()
			began := time.Now()
			if err := ask(); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("after the restart: %v, want connection reset", err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("reset after %v", took)
			}
			d.waitReason("no_connection", 1)
		})
	}
}

// The VIP's other ports are closed ones, not holes.
func TestVIPRefusesWhatItDoesNotServe(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		c := newCluster(t, shape{method: "nat", arms: 2, servers: 1, v6: v6})
		startDirector(t, c.director, c.config(1, c.web("rr", "", 1)))
		for _, network := range []string{"tcp", "udp"} {
			began := time.Now()
			err := func() error {
				conn, err := c.client.Dial(context.Background(), network, netip.AddrPortFrom(c.vip, 81).String(), netip.AddrPort{})
				if err != nil {
					return err
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				if _, err := conn.Write([]byte("x")); err != nil {
					return err
				}
				_, err = conn.Read(make([]byte, 1))
				return err
			}()
			var op *net.OpError
			if !errors.As(err, &op) || !errors.Is(err, syscall.ECONNREFUSED) || time.Since(began) > 2*time.Second {
				t.Errorf("%s to a closed port, IPv6 %v: %v after %v; want connection refused", network, v6, err, time.Since(began))
			}
		}
	}
}

// A real server whose gateway is the director also serves under its own address, past
// the VIP: the guard keeps its answers from the host, the director gives them back, and
// the host routes them on.
func TestServerServesUnderItsOwnAddressToo(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		c := newCluster(t, shape{method: "nat", arms: 2, servers: 2, v6: v6})
		c.director.Sysctl("ipv4/ip_forward", "1")
		c.director.Sysctl("ipv6/conf/all/forwarding", "1")
		config := c.config(2, c.web("rr", "", 1, 1))
		startDirector(t, c.director, config)
		own := "http://" + bracket(c.servers[1].addr) + "/"
		c.want("the server's own address", fetch(c, c.client, 20, 5, own), map[string]int{"s2": 20})
		c.want("the service", fetch(c, c.client, 20, 5, c.url("/")), map[string]int{"s1": 10, "s2": 10})
		if links := c.director.Must("ip", "-br", "link"); !strings.Contains(links, "dirigo0") {
			t.Errorf("no TUN to the host: %s", links)
		}
	}
}
