package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// strays listens at the router for what the director's host should keep to itself: TCP
// resets, ICMP errors and redirects, and anything that shows a real server's address.
func (c *cluster) strays() *lab.Sniffer {
	mac := c.director.MAC(c.port)
	dev := map[int]string{1: "lan", 2: "outside"}[c.shape.arms]
	return c.router.Sniff(dev, func(s lab.Seen) bool {
		if !s.From(mac) {
			return false
		}
		if tcp, ok := s.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && tcp.RST {
			return true
		}
		if icmp, ok := s.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
			return icmp.TypeCode.Type() != layers.ICMPv4TypeEchoReply
		}
		ip, ok := s.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if !ok {
			return false
		}
		for _, srv := range c.servers {
			if src, _ := netip.AddrFromSlice(ip.SrcIP); src == srv.addr {
				return true
			}
		}
		return false
	})
}

// mixedTraffic is what tempts a host to answer: requests, a port without a service, a
// datagram to nobody.
func (c *cluster) mixedTraffic(d *director) {
	c.t.Helper()
	fetch(c, c.client, 100, 10, c.url("/"))
	_, _ = c.client.Run("curl", "-sS", "--max-time", "0.3", c.url(":81/")) // refused
	conn, err := c.client.Dial(context.Background(), "udp", netip.AddrPortFrom(c.vip, 99).String(), netip.AddrPort{})
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("anybody there?")); err != nil {
		c.t.Fatal(err)
	}
	d.waitReason("no_service", 2)
}

// With the guard the host's stack says nothing about balanced traffic, whether it is a
// router or not.
func TestGuardKeepsTheHostQuiet(t *testing.T) {
	for _, arms := range []int{1, 2} {
		for _, forward := range []string{"0", "1"} {
			t.Run(fmt.Sprintf("%d-arm/ip_forward=%s", arms, forward), func(t *testing.T) {
				c := newCluster(t, shape{method: "nat", arms: arms, servers: 2})
				c.director.Sysctl("ipv4/ip_forward", forward)
				d := startDirector(t, c.director, c.config(2, c.web("rr", "", 1, 1)))
				strays := c.strays()
				c.mixedTraffic(d)
				if strays.Count() != 2 { // the director's own refusals of the last two
					t.Errorf("the host spoke: %v", strays)
				}
			})
		}
	}
}

// Without it a host that routes forwards what servers answer as it is: the sniffer of
// the test above does hear.
func TestWithoutGuardTheHostSpeaks(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	c.director.Sysctl("ipv4/ip_forward", "1")
	config := strings.ReplaceAll(c.config(2, c.web("rr", "", 1, 1)), "[[port]]\n", "[[port]]\nguard = \"off\"\n")
	startDirector(t, c.director, config)
	strays := c.strays()
	_, _ = tryFetch(c.client, 20, 1, c.url("/")) // it may fail
	if strays.Count() == 0 {
		t.Error("nothing of the servers' answers passed the unguarded host")
	}
}

// The host keeps its own address on a shared interface, for everybody, the servers too.
func TestGuardLeavesTheHostItsOwnTraffic(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	sshd := c.director.Listen("0.0.0.0:22")
	go func() {
		for {
			conn, err := sshd.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "SSH-2.0-test\r\n")
			conn.Close()
		}
	}()
	startDirector(t, c.director, c.config(1, c.web("rr", "", 1)))
	for _, from := range []struct {
		ns *lab.NS
		to string
	}{{c.client, outsideDIP}, {c.router, outsideDIP}, {c.servers[0].NS, insideDIP}, {c.router, insideDIP}} {
		conn, err := from.ns.Dial(context.Background(), "tcp", from.to+":22", netip.AddrPort{})
		if err != nil {
			t.Errorf("%s: %v", from.ns.Role, err)
			continue
		}
		if b, err := io.ReadAll(conn); err != nil || string(b) != "SSH-2.0-test\r\n" {
			t.Errorf("%s: banner %q, %v", from.ns.Role, b, err)
		}
		conn.Close()
	}
	// And the other way round: the host asks a real server, at the very port that is balanced.
	if out := c.director.Must("curl", "-sS", "--max-time", "5", "http://"+c.servers[0].addr.String()+"/"); out != "s1\n" {
		t.Errorf("the host asked the server and got %q", out)
	}
}

// The VIP may be an address of the host too, as keepalived has it: what has a service is
// balanced, the rest is the host's.
func TestVIPOnTheHost(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	c.director.IP(fmt.Sprintf("addr add %v/32 dev out", c.vip))
	l := c.director.Listen(c.vip.String() + ":81")
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "host") }))
	startDirector(t, c.director, c.config(2, c.web("rr", "", 1, 1)))
	strays := c.strays()
	c.want("the service", fetch(c, c.client, 100, 10, c.url("/")), map[string]int{"s1": 50, "s2": 50})
	c.want("the host", fetch(c, c.client, 10, 1, c.url(":81/")), map[string]int{"host": 10})
	if strays.Count() > 0 {
		t.Errorf("the host spoke where the director should: %v", strays)
	}
	if _, err := tryFetch(c.client, 1, 1, c.url(":82/"), "--connect-timeout", "1"); err == nil {
		t.Errorf("a port where nobody listens: %v", err)
	}
	if strays.Count() != 1 {
		t.Errorf("want the host's one reset for a closed port: %v", strays)
	}
}

// A director that is killed leaves its guard, so that the host does not begin to speak;
// the next start takes it over, and guard clear removes it.
func TestGuardAfterKill(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	tables := func() string { return strings.TrimSpace(c.director.Must("nft", "list", "tables")) }
	const table = "table netdev dirigo_dirigo"
	d := startDirector(t, c.director, c.config(1, c.web("rr", "", 1)))
	kill := func() {
		d.Kill()
		_ = d.Wait(2 * time.Second)
		if got := tables(); got != table {
			t.Errorf("after a kill there is %q, want %q", got, table)
		}
	}
	kill()
	d.start()
	c.want("after a restart", fetch(c, c.client, 10, 1, c.url("/")), map[string]int{"s1": 10})
	if got := tables(); got != table {
		t.Errorf("after a restart there is %q, want %q", got, table)
	}
	if n := strings.Count(c.director.Must("nft", "list", "ruleset"), "hook ingress"); n != 2 {
		t.Errorf("after a restart there are %d chains at the hook, want one for each port", n)
	}
	kill()
	if out, err := d.command("guard", "clear"); err != nil {
		t.Errorf("guard clear: %v: %s", err, out)
	}
	if got := tables(); got != "" {
		t.Errorf("after guard clear there is %q", got)
	}
	if _, err := d.command("guard", "clear"); err != nil {
		t.Errorf("guard clear with nothing to clear: %v", err)
	}
	d.start()
	d.stop()
	if got := tables(); got != "" {
		t.Errorf("after a clean stop there is %q", got)
	}
}
