package dataplane_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

// Four workers at full speed beside a writer that changes everything at random: no race
// (the detector watches), no entry, count or server left at the end, one reason a frame.
func TestStress(t *testing.T) {
	for _, nodest := range []bool{false, true} {
		t.Run(fmt.Sprint(nodest), func(t *testing.T) { stress(t, nodest) })
	}
}

func stress(t *testing.T, nodest bool) {
	var now atomic.Int64
	now.Store(int64(time.Hour))
	cache := arp.New(arp.Config{Announcements: -1})
	p, err := dataplane.New(dataplane.Config{MaxConnections: 3000, Clock: func() time.Duration { return time.Duration(now.Load()) }, Neighbors: cache, Available: func() int { return 500 }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Conns().Close()
	env := dataplane.Environment{HostPort: -1}
	var ports []arp.PortConfig
	var st []arp.Static
	for i, own := range []string{"10.0.1.1/24", "10.0.2.1/24"} {
		pre := netip.MustParsePrefix(own)
		env.Ports = append(env.Ports, dataplane.PortEnv{Link: dataplane.Link{Name: own, MAC: dirMACs[i], MTU: 1500, L2: true, Offload: true}, Addresses: []netip.Prefix{pre}})
		env.Routes = append(env.Routes, dataplane.Route{Dest: pre.Masked(), Port: i})
		ports = append(ports, arp.PortConfig{MAC: dirMACs[i], Addresses: []netip.Prefix{pre}})
		for n := 2; n < 100; n++ {
			a := packet.AddrFrom4([4]byte{10, 0, byte(i + 1), byte(n)})
			st = append(st, arp.Static{Port: i, Addr: a, MAC: hostMAC(i, a)})
		}
	}
	cache.SetPorts(ports)
	cache.SetStatic(st)
	p.SetEnvironment(env)
	sc := conf.Default().Sysctl
	sc.ExpireNodestConn = conf.Off
	if nodest {
		sc.ExpireNodestConn = conf.On
	}
	sc.ExpireQuiescentTemplate = conf.On
	p.SetSysctl(sc)
	const workers = 4
	var ws []*dataplane.Worker
	var qs [][2]*pcap.Queue
	for range workers {
		a, b := &pcap.Queue{L2: true}, &pcap.Queue{L2: true}
		ws = append(ws, p.NewWorker([]dataplane.Queue{a, b}))
		qs = append(qs, [2]*pcap.Queue{a, b})
	}
	p.Publish()
	tcpK := conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 80}
	perK := conf.ServiceKey{Proto: packet.TCP, Addr: vip.Netip(), Port: 81}
	sipK := conf.ServiceKey{Proto: packet.UDP, Addr: vip.Netip(), Port: 5060}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, w := range ws {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 3))
			for {
				select {
				case <-stop:
					return
				default:
				}
				for range 20 {
					c := packet.AddrFrom4([4]byte{10, 0, 1, byte(2 + rng.IntN(40))})
					sport := uint16(1000 + rng.IntN(60))
					fl := []uint8{packet.SYN, packet.ACK, packet.FIN | packet.ACK, packet.RST}[rng.IntN(4)]
					switch rng.IntN(4) {
					case 0:
						qs[i][0].Put(tcp(c, sport, fl).Frame(), packet.Vnet{})
					case 1:
						s := tcp(c, sport, fl)
						s.DstPort = 81
						qs[i][0].Put(s.Frame(), packet.Vnet{})
					case 2:
						s := packet.Spec{Flow: packet.Flow{Src: c, SrcPort: sport, Dst: vip, DstPort: 5060, Proto: packet.UDP}, TTL: 60, EthDst: dirMACs[0], EthSrc: hostMAC(0, c),
							Payload: fmt.Appendf(nil, "INVITE x SIP/2.0\r\nCall-ID: c%d@x\r\n\r\n", rng.IntN(50))}
						qs[i][0].Put(s.Frame(), packet.Vnet{})
					case 3:
						qs[i][1].Put(answer(packet.AddrFrom4([4]byte{10, 0, 2, byte(11 + rng.IntN(4))}), 80, c, sport, fl).Frame(), packet.Vnet{})
					}
				}
				if _, _, err := w.Turn(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(9, 9))
	add := func(k conf.ServiceKey, pe conf.Persistence, sch string) {
		if p.AddService(conf.Service{Key: k, Scheduler: sch, Persistence: pe, OnePacket: k.Proto == packet.UDP && rng.IntN(2) == 0}) != nil {
			return
		}
		for n := range 4 {
			_ = p.AddServer(k, conf.Server{Addr: netip.AddrFrom4([4]byte{10, 0, 2, byte(11 + n)}), Port: k.Port, Weight: 1, Upper: 300})
		}
	}
	scheds := []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"}
	end := time.Now().Add(2 * time.Second) // wall time: the workers run freely
	for time.Now().Before(end) {
		now.Add(int64(time.Duration(rng.IntN(300)) * time.Millisecond))
		add(tcpK, conf.Persistence{}, scheds[rng.IntN(len(scheds))])
		add(perK, conf.Persistence{Timeout: 5 * time.Second}, scheds[rng.IntN(len(scheds))])
		add(sipK, conf.Persistence{Timeout: 5 * time.Second, Engine: "sip"}, "rr")
		k := []conf.ServiceKey{tcpK, perK, sipK}[rng.IntN(3)]
		srv := conf.Server{Addr: netip.AddrFrom4([4]byte{10, 0, 2, byte(11 + rng.IntN(4))}), Port: k.Port, Weight: rng.IntN(3)}
		switch rng.IntN(6) {
		case 0:
			_ = p.DeleteServer(k, srv)
		case 1:
			_ = p.AddServer(k, srv)
		case 2:
			_ = p.EditServer(k, srv)
		case 3:
			if rng.IntN(5) == 0 {
				_ = p.DeleteService(k)
			}
		case 4:
			sc.SecureTCP, sc.DropEntry, sc.DropPacket = rng.IntN(4), rng.IntN(4), rng.IntN(3)
			p.SetSysctl(sc)
		case 5:
			p.Services()
			p.EachConn(func(dataplane.Conn) bool { return true })
			p.Lingering()
		}
		p.Publish()
		p.ExpireOrphans()
		p.Estimate()
		p.Housekeep()
	}
	close(stop)
	wg.Wait()
	t.Logf("entries %d", p.Conns().Len())
	for _, k := range []conf.ServiceKey{tcpK, perK, sipK} {
		add(k, conf.Persistence{}, "rr")
	}
	for range 3000 {
		now.Add(int64(time.Second))
		for _, w := range ws {
			if _, _, err := w.Turn(); err != nil {
				t.Fatal(err)
			}
		}
		p.Housekeep()
	}
	if n := p.Conns().Len(); n != 0 {
		t.Errorf("%d entries left", n)
	}
	for _, s := range p.Services() {
		for _, d := range s.Servers {
			if d.Active != 0 || d.Inactive != 0 || d.Persistent != 0 || d.Overload {
				t.Errorf("%v %v: active %d inactive %d persistent %d overload %v", s.Key, d.Addr, d.Active, d.Inactive, d.Persistent, d.Overload)
			}
		}
	}
	if l := p.Lingering(); len(l) != 0 {
		t.Errorf("lingering %v", l)
	}
	var rx, sum uint64
	for _, c := range p.Ports() {
		rx += c.RxFrames
	}
	for _, n := range p.Reasons() {
		sum += n
	}
	if rx != sum {
		t.Errorf("%d frames, %d reasons", rx, sum)
	}
	t.Logf("frames %d", rx)
}
