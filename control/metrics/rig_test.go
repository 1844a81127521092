package metrics

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

// rig is a data plane in memory: clients behind port 0, real servers behind port 1.
type rig struct {
	tb     testing.TB
	plane  *dataplane.Plane
	worker *dataplane.Worker
	queues [2]*pcap.Queue
	now    time.Duration
	sent   int
}

var dirMACs = [2]packet.MAC{{2, 0, 0, 0, 1, 1}, {2, 0, 0, 0, 2, 1}}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	g := &rig{tb: tb, now: time.Hour}
	cache := arp.New(arp.Config{Announcements: -1})
	var err error
	g.plane, err = dataplane.New(dataplane.Config{MaxConnections: 1000, Clock: func() time.Duration { return g.now }, Neighbors: cache})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(g.plane.Conns().Close)
	env := dataplane.Environment{HostPort: -1}
	var ports []arp.PortConfig
	var static []arp.Static
	var queues []dataplane.Queue
	for i, own := range []string{"10.0.1.1/24", "10.0.2.1/24"} {
		p := netip.MustParsePrefix(own)
		env.Ports = append(env.Ports, dataplane.PortEnv{Link: dataplane.Link{Name: own, MAC: dirMACs[i], MTU: 1500, L2: true}, Addresses: []netip.Prefix{p}})
		env.Routes = append(env.Routes, dataplane.Route{Dest: p.Masked(), Port: i})
		ports = append(ports, arp.PortConfig{MAC: dirMACs[i], Addresses: []netip.Prefix{p}})
		for n := 2; n < 50; n++ {
			static = append(static, arp.Static{Port: i, Addr: packet.AddrFrom4([4]byte{10, 0, byte(i + 1), byte(n)}), MAC: packet.MAC{2, 0, 0, 0, byte(i + 1), byte(n)}})
		}
		g.queues[i] = &pcap.Queue{L2: true, Sink: func([]byte, packet.Vnet) { g.sent++ }}
		queues = append(queues, g.queues[i])
	}
	cache.SetPorts(ports)
	cache.SetStatic(static)
	g.plane.SetEnvironment(env)
	g.worker = g.plane.NewWorker(queues)
	g.plane.Publish()
	return g
}

func (g *rig) add(s conf.Service) {
	g.tb.Helper()
	servers := s.Servers
	s.Servers = nil
	if err := g.plane.AddService(s); err != nil {
		g.tb.Fatal(err)
	}
	for _, d := range servers {
		if err := g.plane.AddServer(s.Key, d); err != nil {
			g.tb.Fatal(err)
		}
	}
	g.plane.Publish()
}

// from is a segment of client n to the VIP, 10 bytes long if it is no SYN.
func (g *rig) from(n byte, flags uint8) {
	s := packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10, 0, 1, n}), SrcPort: 4000, Dst: packet.AddrFrom4([4]byte{10, 0, 1, 100}), DstPort: 80, Proto: packet.TCP},
		TCPFlags: flags, DF: true, EthDst: dirMACs[0], EthSrc: packet.MAC{2, 0, 0, 0, 1, n}}
	if flags != packet.SYN {
		s.Payload = make([]byte, 10)
	}
	g.queues[0].Put(s.Frame(), packet.Vnet{})
}

// back is an answer of server n to a client.
func (g *rig) back(n, client byte, flags uint8) {
	s := packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10, 0, 2, n}), SrcPort: 80, Dst: packet.AddrFrom4([4]byte{10, 0, 1, client}), DstPort: 4000, Proto: packet.TCP},
		TCPFlags: flags, DF: true, EthDst: dirMACs[1], EthSrc: packet.MAC{2, 0, 0, 0, 2, n}}
	g.queues[1].Put(s.Frame(), packet.Vnet{})
}

func (g *rig) turn() {
	g.tb.Helper()
	if _, _, err := g.worker.Turn(); err != nil {
		g.tb.Fatal(err)
	}
}

var refusal = errors.New("x.toml:3: \"quoted\\path\" is wrong\nand more")

func (g *rig) exporter() *Exporter {
	return New(Source{Plane: g.plane, Health: judge(g.tb), State: func() State {
		return State{Version: "1.2", Uptime: 90 * time.Second, WorkerCount: 1, Ports: []Port{{"cl0", true}, {"sv0", false}}, APIRefused: 3, Notified: Notifications{4, 5, 6},
			ReloadErr: refusal, Reloaded: time.Unix(2000, 500e6), ReloadedOK: time.Unix(1000, 0)}
	}})
}

// judge is a monitor that has asked two servers of a service once: one is down.
func judge(tb testing.TB) *health.Monitor {
	tb.Helper()
	m := health.New(health.Config{Prober: func(_ conf.Probe, t health.Target) (health.Prober, error) { return asked{t}, nil }})
	k := conf.ServiceKey{Proto: packet.TCP, Addr: netip.MustParseAddr("10.0.1.100"), Port: 80}
	check := conf.HealthCheck{Probe: conf.Probe{Type: conf.ProbeTCP, Timeout: time.Second}, Interval: time.Hour, Rise: 1, Fall: 1}
	up := server("10.0.2.11:80", 1)
	up.Name = "up"
	m.Update([]conf.Service{{Name: `w"e\b`, Key: k, Servers: []conf.Server{up, server("10.0.2.12:80", 3)}, Health: &conf.Health{Checks: []conf.HealthCheck{check}, Quorum: 1}}}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	tb.Cleanup(func() { cancel(); <-ended })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if p := m.Stats().Probes; p[health.Asked{Type: conf.ProbeTCP}] == 1 && p[health.Asked{Type: conf.ProbeTCP, Why: health.WhyRefused}] == 1 {
			return m
		}
		if time.Now().After(deadline) {
			tb.Fatal("not both answers")
		}
	}
}

type asked struct{ of health.Target }

func (a asked) Probe(context.Context) health.Result {
	if a.of.Addr == netip.MustParseAddr("10.0.2.12") {
		return health.Result{At: time.Now(), Took: 2 * time.Millisecond, Why: health.WhyRefused}
	}
	return health.Result{At: time.Now(), Took: 7 * time.Millisecond, OK: true}
}

func server(a string, weight int) conf.Server {
	p := netip.MustParseAddrPort(a)
	return conf.Server{Addr: p.Addr(), Port: p.Port(), Weight: weight}
}
