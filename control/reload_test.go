package control

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/host"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

// bareDirector is a director without sockets, for its writer's side. Nobody runs its health.
func bareDirector(t testing.TB, cfg *conf.Config) *Director {
	t.Helper()
	return bareDirectorAsking(t, cfg, nil)
}

func bareDirectorAsking(t testing.TB, cfg *conf.Config, prober func(conf.Probe, health.Target) (health.Prober, error)) *Director {
	t.Helper()
	start := time.Now()
	p, err := dataplane.New(dataplane.Config{MaxConnections: 1000, Clock: func() time.Duration { return time.Since(start) + time.Hour }, Neighbors: arp.New(arp.Config{Announcements: -1})})
	if err != nil {
		t.Fatal(err)
	}
	d := &Director{plane: p, cfg: cfg, state: conf.NewEditor(cfg), file: cfg.Clone(), linger: map[host.Piece]bool{}, log: slog.New(slog.NewTextHandler(io.Discard, nil)), started: start}
	d.newWatch(health.Config{Prober: prober, Stepped: true})
	d.judgeAll()
	for i, pt := range cfg.Ports {
		d.links = append(d.links, dataplane.Link{Name: pt.Name, MAC: packet.MAC{2, 0, 0, 0, 0, byte(i + 1)}, MTU: 1500, L2: true})
		d.view.Links = append(d.view.Links, host.LinkInfo{Name: pt.Name, MAC: packet.MAC{2, 0, 0, 0, 0, byte(i + 1)}, MTU: 1500, Up: true})
	}
	for _, s := range cfg.Services {
		if err := d.addService(&s, d.serversInForce(&s)); err != nil {
			t.Fatal(err)
		}
	}
	d.configureAll(cfg)
	d.publish(cfg, cfg.Services)
	return d
}

func portConfig(ports ...string) *conf.Config {
	c := conf.Default()
	for _, n := range ports {
		c.Ports = append(c.Ports, conf.Port{Name: n, RingSlots: 512, Addresses: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.%d.1/24", n[3]-'0'))}})
	}
	return c
}

// The order of [[port]] tables means nothing to a running director.
func TestReloadWithPortsReordered(t *testing.T) {
	d := bareDirector(t, portConfig("eth0", "eth1"))
	before := d.environment(d.cfg)
	next := portConfig("eth1", "eth0")
	if r, err := d.take(next, false); err != nil || len(r.Changes) != 0 {
		t.Fatalf("changes %v, %v; want none", r, err)
	}
	after := d.environment(d.cfg)
	for i := range before.Ports {
		if was, is := before.Ports[i], after.Ports[i]; was.MAC != is.MAC || !slices.Equal(was.Addresses, is.Addresses) {
			t.Errorf("port %d: was %x %v, is %x %v", i, was.MAC, was.Addresses, is.MAC, is.Addresses)
		}
	}
}

// A route without a port leaves by the port on whose subnet its next hop is.
func TestRouteWithoutPort(t *testing.T) {
	c, err := conf.Parse("x", []byte("[[port]]\nname = \"eth0\"\naddresses = [\"10.0.1.1/24\"]\n[[route]]\ndest = \"10.9.0.0/16\"\nvia = \"10.0.1.254\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	d := bareDirector(t, c)
	d.publish(c, nil)
	env := d.environment(c)
	if i := slices.IndexFunc(env.Routes, func(r dataplane.Route) bool { return r.Dest.String() == "10.9.0.0/16" }); i < 0 || env.Routes[i].Port != 0 {
		t.Errorf("routes %+v, want 10.9.0.0/16 by port 0", env.Routes)
	}
}

// Only a socket nobody serves is replaced; a file of another kind is somebody's.
func TestListenKeepsOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dirigo.toml")
	if err := os.WriteFile(path, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := listen(path)
	if err == nil {
		l.Close()
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file is gone; listen said %v", err)
	}
}
