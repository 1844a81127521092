package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// viaDirector is this test program as a director ("run -c FILE"), every server of which is
// asked by its service when a line comes to a socket beside FILE.
func viaDirector(file string) error {
	cfg, err := conf.Load(file)
	if err != nil {
		return err
	}
	for i := range cfg.Services {
		cfg.Services[i].Health = &conf.Health{Checks: []conf.HealthCheck{{Probe: conf.Probe{Type: conf.ProbeTCP, Via: conf.ViaService}}}}
	}
	d, err := control.New(cfg, control.Options{Path: file, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", asks(file))
	if err != nil {
		return errors.Join(err, d.Close())
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				line, _ := bufio.NewReader(c).ReadString('\n')
				fmt.Fprint(c, askByService(d, line))
			}()
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return d.Run(ctx, nil)
}

func asks(file string) string { return filepath.Join(filepath.Dir(file), "asks.sock") }

// askByService asks a server ("tcp VIP:PORT SERVER:PORT") for its name and answers in one line.
func askByService(d *control.Director, line string) string {
	w := strings.Fields(line)
	to, server := netip.MustParseAddrPort(w[1]), netip.MustParseAddrPort(w[2])
	k := conf.ServiceKey{Proto: packet.TCP, Addr: to.Addr(), Port: to.Port()}
	if w[0] == "udp" {
		k.Proto = packet.UDP
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := d.Via().To(health.Target{Service: k, Server: conf.ServerID{Addr: server.Addr(), Port: server.Port()}}).Dial(ctx, w[0], to)
	if err != nil {
		return fmt.Sprintf("error local=%v %v", errors.Is(err, health.ErrLocal), err)
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	buf := make([]byte, 1500)
	if w[0] == "tcp" {
		fmt.Fprintf(c, "GET / HTTP/1.0\r\n\r\n")
		all, err := io.ReadAll(c)
		if _, body, ok := strings.Cut(string(all), "\r\n\r\n"); ok {
			return strings.TrimSpace(body)
		}
		return fmt.Sprintf("error %q %v", all, err)
	}
	if _, err := c.Write([]byte("name?")); err != nil {
		return fmt.Sprintf("error %v", err)
	}
	n, err := c.Read(buf)
	if err != nil {
		return fmt.Sprintf("error %v", err)
	}
	return string(buf[:n])
}

// viaCluster is a cluster with quiesced servers only, and a director that asks them.
type viaCluster struct {
	*cluster
	d *director
}

func newVia(t *testing.T, s shape, settings, more string, prepare func(c *cluster)) viaCluster {
	t.Helper()
	c := newCluster(t, s)
	prepare(c)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	udp := strings.NewReplacer("tcp/", "udp/", ":80", ":53").Replace(c.web("rr", "", 0, 0))
	d := startProgram(t, self, c.director, strings.Replace(c.config(2, more+c.web("rr", "", 0, 0)+udp), "[director]", "[director]\n"+settings, 1))
	for _, srv := range c.servers {
		at := srv.addr
		if s.method != "nat" {
			at = c.vip
		}
		u := srv.ListenUDP(netip.AddrPortFrom(at, 53))
		go func() {
			buf := make([]byte, 1500)
			for {
				_, from, err := u.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				u.WriteToUDPAddrPort([]byte(srv.name), from)
			}
		}()
	}
	return viaCluster{c, d}
}

// ask asks server i by the service.
func (v viaCluster) ask(network string, i int) string {
	v.t.Helper()
	port := uint16(80)
	if network == "udp" {
		port = 53
	}
	c, err := net.Dial("unix", asks(v.d.file))
	if err != nil {
		v.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s %v %v\n", network, netip.AddrPortFrom(v.vip, port), netip.AddrPortFrom(v.servers[i].addr, port))
	b, err := io.ReadAll(c)
	if err != nil {
		v.t.Fatal(err)
	}
	return string(b)
}

// well reports whether every server answers by the service, each for itself.
func (v viaCluster) well(when string, times int) {
	v.t.Helper()
	for range times {
		for i, srv := range v.servers {
			for _, network := range []string{"tcp", "udp"} {
				if got := v.ask(network, i); got != srv.name {
					v.t.Errorf("%s: %s by %s: %s", when, srv.name, network, got)
				}
			}
		}
	}
}

// ill reports whether the first server does not answer by the service, though it does at
// its own address, and the second one does.
func (v viaCluster) ill(what, want string) {
	v.t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		if got := v.ask(network, 0); !strings.HasPrefix(got, "error ") || strings.Contains(got, "local=true") || !strings.Contains(got, want) {
			v.t.Errorf("%s: by %s: %q, want an error with %q", what, network, got, want)
		}
	}
	if got, err := v.director.Run("curl", "-sS", "-g", "--max-time", "2", "http://"+bracket(v.servers[0].addr)+"/"); strings.TrimSpace(got) != v.servers[0].name {
		v.t.Errorf("%s: plainly: %q %v", what, got, err)
	}
	if got := v.ask("tcp", 1); got != v.servers[1].name {
		v.t.Errorf("%s: the other server: %s", what, got)
	}
}

// settled waits until nothing is left of what was asked, and checks that none of it
// counted for the service.
func (v viaCluster) settled() {
	v.t.Helper()
	lab.Until(v.t, 10*time.Second, func() (bool, string) {
		left := v.d.connections()
		return len(left) == 0, fmt.Sprintf("connections left: %+v", left)
	})
	for _, s := range v.d.services() {
		if s.Counts != (api.Counts{}) {
			v.t.Errorf("counted for a service: %+v", s)
		}
	}
}

func viaShapes() (list []shape) {
	for _, v6 := range []bool{false, true} {
		for _, method := range []string{"nat", "dr", "tun"} {
			for _, arms := range []int{2, 1} {
				list = append(list, shape{method: method, arms: arms, servers: 2, v6: v6})
			}
		}
	}
	return list
}

// A probe by the service reaches the server that is asked, and finds what a plain probe
// does not: no VIP on lo, no decapsulation, a wrong gateway.
func TestViaService(t *testing.T) {
	for _, s := range viaShapes() {
		t.Run(s.String(), func(t *testing.T) {
			v := newVia(t, s, "", "", func(*cluster) {})
			v.well("at first", 5)
			first := v.servers[0]
			lo := fmt.Sprintf(" %v/%d dev lo", v.vip, v.vip.BitLen())
			switch s.method {
			case "nat":
				if s.arms == 1 {
					break // the director is on the server's own subnet: no gateway is needed to answer it
				}
				first.IP(strings.Replace(v.via(insideGW), "add", "replace", 1))
				v.ill("with a wrong gateway", "timeout")
				first.IP(strings.Replace(v.via(insideDIP), "add", "replace", 1))
			case "dr":
				first.IP("addr del" + lo)
				v.ill("without the VIP on lo", "")
				first.IP("addr add" + lo)
			case "tun":
				first.decap.Signal(syscall.SIGTERM)
				if err := first.decap.Wait(5 * time.Second); err != nil {
					t.Fatal(err)
				}
				first.IP("addr add" + lo)
				v.ill("without a decapsulator", "")
				first.IP("addr del" + lo)
				first.startDecap(v.cluster)
			}
			v.well("again", 1)
			v.settled()
		})
	}
}

// It does so too where the host has the VIP itself, and filters strictly by the way back.
func TestViaServiceWithTheVIPOnTheHost(t *testing.T) {
	for _, s := range []shape{
		{method: "nat", arms: 2, servers: 2}, {method: "dr", arms: 2, servers: 2},
		{method: "tun", arms: 1, servers: 2}, {method: "dr", arms: 2, servers: 2, v6: true},
	} {
		t.Run(s.String(), func(t *testing.T) {
			v := newVia(t, s, "", "", func(c *cluster) {
				c.director.IP(fmt.Sprintf("addr add %v/%d dev %s", c.vip, c.vip.BitLen(), c.port))
				for _, dev := range []string{"all", "default", "in"} {
					c.director.Sysctl("ipv4/conf/"+dev+"/rp_filter", "1")
				}
			})
			v.well("with the VIP on the host", 3)
			v.settled()
		})
	}
}

// With one arm the director is on the servers' own subnet, and they need no gateway to
// answer it. An address of the host port, which only the director has a way to, is asked
// from instead.
func TestViaServiceFromTheHostPort(t *testing.T) {
	more := "[[port]]\nname = \"tun9\"\ndriver = \"tun\"\naddresses = \"192.0.2.1/32\"\n"
	v := newVia(t, shape{method: "nat", arms: 1, servers: 2}, "host_port = \"tun9\"\n", more, func(*cluster) {})
	v.well("at first", 3)
	v.servers[0].IP("route replace default via " + insideGW)
	v.ill("with a wrong gateway", "timeout")
	v.servers[0].IP("route replace default via " + insideDIP)
	v.well("again", 1)
	v.settled()
}
