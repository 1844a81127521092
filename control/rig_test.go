package control

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/host"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

// inMemory is a director whose ports are queues in memory, and which serves its API.
type inMemory struct {
	*Director
	tb     testing.TB
	socket string
	queues [2]*pcap.Queue
	clock  atomic.Int64
}

const inMemoryConfig = `
[director]
follow_routes = false

[[port]]
name      = "cl0"
addresses = "10.0.1.1/24"
mac       = "02:00:00:00:01:01"

[[port]]
name      = "sv0"
addresses = "10.0.2.1/24"
mac       = "02:00:00:00:02:01"

[[neighbor]]
address = "10.0.1.7"
mac     = "02:00:00:00:01:07"
port    = "cl0"

[[neighbor]]
address = "10.0.2.11"
mac     = "02:00:00:00:02:0b"
port    = "sv0"

[[mark]]
destination = "198.51.100.0/24"
proto       = "udp"
dport       = [53, "8000-8100"]
in_port     = "cl0"
value       = "0x3/0xff"

[[service]]
name      = "web"
listen    = "tcp/10.0.1.100:80"
scheduler = "rr"
forward   = "nat"

  [service.check]
  type = "tcp"

  [[service.server]]
  name    = "web-1"
  address = "10.0.2.11:80"

[[service]]
fwmark      = 3
forward     = "tun"
persistence = {}

  [[service.server]]
  address = "10.0.2.11"
  tunnel  = { type = "gue", port = 6080, checksum = "full" }
`

func newInMemory(tb testing.TB) *inMemory {
	tb.Helper()
	cfg, err := conf.Parse("memory.toml", []byte(inMemoryConfig))
	if err != nil {
		tb.Fatal(err)
	}
	m := &inMemory{tb: tb, socket: filepath.Join(tb.TempDir(), "control.sock")}
	m.clock.Store(int64(time.Hour))
	plane, err := dataplane.New(dataplane.Config{MaxConnections: 1000, Clock: func() time.Duration { return time.Duration(m.clock.Load()) }, Neighbors: arp.New(arp.Config{Announcements: -1})})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(plane.Conns().Close)
	m.Director = &Director{opt: Options{Path: "memory.toml", Version: "1.0"}, log: slog.New(slog.NewTextHandler(io.Discard, nil)), started: time.Now(), cfg: cfg, plane: plane,
		state: conf.NewEditor(cfg), file: cfg.Clone(), linger: map[host.Piece]bool{}}
	m.newWatch(health.Config{Prober: m.newProber}) // which nobody runs
	m.judgeAll()
	var queues []dataplane.Queue
	for i, p := range cfg.Ports {
		m.queues[i] = &pcap.Queue{L2: true, Sink: func([]byte, packet.Vnet) {}}
		queues = append(queues, m.queues[i])
		m.links = append(m.links, dataplane.Link{Name: p.Name, MAC: p.MAC, MTU: 1500, L2: true})
	}
	m.slots = []int{4096, 0} // the first's memory was short, the second has no ring
	m.workers = append(m.workers, plane.NewWorker(queues))
	m.configureAll(cfg)
	for _, s := range cfg.Services {
		if err := m.addService(&s, m.serversInForce(&s)); err != nil {
			tb.Fatal(err)
		}
	}
	m.publish(cfg, cfg.Services)
	l, err := listenGroup(m.socket, "")
	if err != nil {
		tb.Fatal(err)
	}
	m.serveUntilEnd(l, "control socket", m.routes())
	return m
}

// serveUntilEnd serves a listener until the test ends.
func (m *inMemory) serveUntilEnd(l net.Listener, what string, h http.Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- m.serveOn(ctx, l, what, h) }()
	m.tb.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			m.tb.Errorf("%s: %v", what, err)
		}
	})
}

// syn lets a client open a connection to the service.
func (m *inMemory) syn() {
	m.tb.Helper()
	s := packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom(netip.MustParseAddr("10.0.1.7")), SrcPort: 4000, Dst: packet.AddrFrom(netip.MustParseAddr("10.0.1.100")), DstPort: 80, Proto: packet.TCP},
		TCPFlags: packet.SYN, DF: true, EthDst: packet.MAC(m.cfg.Ports[0].MAC), EthSrc: packet.MAC{2, 0, 0, 0, 1, 7}}
	m.queues[0].Put(s.Frame(), packet.Vnet{})
	if _, _, err := m.workers[0].Turn(); err != nil {
		m.tb.Fatal(err)
	}
	m.handOver()
}
