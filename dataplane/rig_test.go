package dataplane_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

// rig is a director with two ports in memory: clients behind port 0 (10.0.1.0/24 and a
// default route), real servers behind port 1 (10.0.2.0/24). All neighbours are known;
// the last byte of a MAC is that of its address.
type rig struct {
	tb      testing.TB
	plane   *dataplane.Plane
	workers []*dataplane.Worker
	queues  [][]*pcap.Queue // by worker, by port
	env     dataplane.Environment
	now     time.Duration
	sent    []sent
	v       dataplane.Verdict
	r       dataplane.Reason
	trace   dataplane.Trace
}

type sent struct {
	port  int
	frame []byte
	vnet  packet.Vnet
}

var (
	vip     = addr("10.0.1.100")
	client  = addr("10.0.1.7")
	rs1     = addr("10.0.2.11")
	rs2     = addr("10.0.2.12")
	dirMACs = [2]packet.MAC{{2, 0, 0, 0, 1, 1}, {2, 0, 0, 0, 2, 1}}
)

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

func hostMAC(port int, a packet.Addr) packet.MAC {
	return packet.MAC{2, 0, 0, 0, byte(port + 1), a[15]}
}

func newRig(tb testing.TB, workers int) *rig { return newRigRate(tb, workers, 0) }

func newRigRate(tb testing.TB, workers, icmpRate int) *rig {
	tb.Helper()
	g := &rig{tb: tb, now: time.Hour}
	cache := arp.New(arp.Config{Announcements: -1})
	p, err := dataplane.New(dataplane.Config{MaxConnections: 100_000, Clock: func() time.Duration { return g.now }, Neighbors: cache, ICMPRate: icmpRate})
	if err != nil {
		tb.Fatal(err)
	}
	g.plane = p
	tb.Cleanup(p.Conns().Close)
	env := dataplane.Environment{HostPort: -1}
	var ports []arp.PortConfig
	var static []arp.Static
	for i, own := range []string{"10.0.1.1/24", "10.0.2.1/24"} {
		pre := netip.MustParsePrefix(own)
		env.Ports = append(env.Ports, dataplane.PortEnv{
			Link:      dataplane.Link{Name: []string{"cl0", "sv0"}[i], MAC: dirMACs[i], MTU: 1500, L2: true, Offload: true},
			Addresses: []netip.Prefix{pre},
		})
		env.Routes = append(env.Routes, dataplane.Route{Dest: pre.Masked(), Port: i})
		ports = append(ports, arp.PortConfig{MAC: dirMACs[i], Addresses: []netip.Prefix{pre}})
		for n := 2; n < 255; n++ {
			a := packet.AddrFrom4([4]byte{10, 0, byte(i + 1), byte(n)})
			static = append(static, arp.Static{Port: i, Addr: a, MAC: hostMAC(i, a)})
		}
	}
	env.Routes = append(env.Routes, dataplane.Route{Dest: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.1.254"), Port: 0})
	cache.SetPorts(ports)
	cache.SetStatic(static)
	g.env = env
	p.SetEnvironment(env)
	for range workers {
		var qs []*pcap.Queue
		var dq []dataplane.Queue
		for i := range 2 {
			q := &pcap.Queue{L2: true, Sink: func(b []byte, v packet.Vnet) {
				g.sent = append(g.sent, sent{i, bytes.Clone(b), v})
			}}
			qs, dq = append(qs, q), append(dq, q)
		}
		w := p.NewWorker(dq)
		g.workers, g.queues = append(g.workers, w), append(g.queues, qs)
	}
	p.Watch(&dataplane.Watcher{Told: func(e *dataplane.Event) {
		g.v, g.r, g.trace = e.Verdict, e.Reason, *e.Trace.Clone()
		if !slices.Contains(e.Reason.Verdicts(), e.Verdict) {
			tb.Errorf("a frame ended with %v %v; the reason has %v only", e.Verdict, e.Reason, e.Reason.Verdicts())
		}
	}})
	p.Publish()
	return g
}

// serve adds a service on the VIP's port with the given servers.
func (g *rig) serve(proto uint8, port uint16, scheduler string, servers ...conf.Server) conf.ServiceKey {
	g.tb.Helper()
	return g.add(conf.Service{Key: conf.ServiceKey{Proto: proto, Addr: vip.Netip(), Port: port}, Scheduler: scheduler}, servers...)
}

// persist adds a persistent service on the VIP's port 80 with both servers.
func (g *rig) persist() conf.ServiceKey {
	g.tb.Helper()
	k := conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 80}
	return g.add(conf.Service{Key: k, Scheduler: "rr", Persistence: conf.Persistence{Timeout: time.Minute}},
		server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT))
}

func (g *rig) add(svc conf.Service, servers ...conf.Server) conf.ServiceKey {
	g.tb.Helper()
	k := svc.Key
	if err := g.plane.AddService(svc); err != nil {
		g.tb.Fatal(err)
	}
	for _, s := range servers {
		if err := g.plane.AddServer(k, s); err != nil {
			g.tb.Fatal(err)
		}
	}
	g.plane.Publish()
	return k
}

func server(a packet.Addr, port uint16, method conf.Forward) conf.Server {
	return conf.Server{Addr: a.Netip(), Port: port, Forward: method, Weight: 1}
}

// rx gives worker w a frame on a port and returns what was sent.
func (g *rig) rx(w, port int, frame []byte, vnet packet.Vnet) []sent {
	g.tb.Helper()
	g.sent = nil
	g.queues[w][port].Put(frame, vnet)
	if _, _, err := g.workers[w].Turn(); err != nil {
		g.tb.Fatal(err)
	}
	return g.sent
}

// tcp is a segment from the client to the VIP.
func tcp(src packet.Addr, sport uint16, flags uint8) packet.Spec {
	return packet.Spec{
		Flow:     packet.Flow{Src: src, SrcPort: sport, Dst: vip, DstPort: 80, Proto: packet.TCP},
		TCPFlags: flags, TTL: 64, DF: true, EthDst: dirMACs[0], EthSrc: hostMAC(0, src),
	}
}

// answer is a segment from a server back.
func answer(from packet.Addr, sport uint16, to packet.Addr, dport uint16, flags uint8) packet.Spec {
	return packet.Spec{
		Flow:     packet.Flow{Src: from, SrcPort: sport, Dst: to, DstPort: dport, Proto: packet.TCP},
		TCPFlags: flags, TTL: 64, DF: true, EthDst: dirMACs[1], EthSrc: hostMAC(1, from),
	}
}
