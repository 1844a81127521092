// Package kernel replays conversations recorded from a kernel IPVS through the
// director's pipeline on a virtual clock, and compares what comes out.
package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/ipvsadm"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/test/recording"
)

// director is the pipeline in the recordings' fixed topology: clients and a gateway on
// cl0, real servers on sv0, all neighbours known.
type director struct {
	plane    *dataplane.Plane
	worker   *dataplane.Worker
	queues   []*pcap.Queue
	now      time.Duration
	marks    []conf.Mark
	sysctl   conf.Sysctl
	daemons  []ipvsadm.Daemon
	env      dataplane.Environment
	orphans  time.Duration // when the work of a removal is to be done; 0: there is none
	out      []frame       // since the last inject or wait
	draw     uint64        // what twos draws next: see steer
	estimate time.Duration // when the rates are next estimated
	shift    time.Duration // added to the clock when connections are listed: see dump

	alone    map[packet.Addr]bool // VIPs that the host has not
	toHost   [][]byte             // packets delivered to the machine's own stack
	lastV    dataplane.Verdict
	lastR    dataplane.Reason
	lastRule string
	explains []string
}

// frame is one emitted frame.
type frame struct {
	If    string
	Bytes []byte
}

var ports = []string{"cl0", "sv0"}

func newDirector(r *recording.Recording) (*director, error) {
	d := &director{now: time.Hour} // so that nothing is compared with a zero instant
	neighbors := arp.New(arp.Config{Announcements: -1})
	var err error
	d.plane, err = dataplane.New(dataplane.Config{
		MaxConnections: 100_000, Clock: func() time.Duration { return d.now + d.shift },
		Seed: [2]uint64{1, 2}, Random: func(n uint64) uint64 { return d.draw % n }, Neighbors: neighbors, NoEcho: true,
	})
	if err != nil {
		return nil, err
	}
	env := dataplane.Environment{HostPort: len(ports)}
	var cfg []arp.PortConfig
	var static []arp.Static
	for i, name := range ports {
		mtu := 1500
		if m := r.MTU[name]; m != 0 {
			mtu = m
		}
		side := byte(i + 1)
		mac := packet.MAC{2, 0, 0, 0, side, 1}
		own := []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.0.%d.1/24", side)),
			netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::1/64", side)),
		}
		env.Ports = append(env.Ports, dataplane.PortEnv{
			Link: dataplane.Link{Name: name, MAC: mac, MTU: mtu, L2: true}, Addresses: own,
		})
		cfg = append(cfg, arp.PortConfig{MAC: mac, Addresses: own})
		for _, p := range own {
			env.Routes = append(env.Routes,
				dataplane.Route{Dest: p.Masked(), Port: i},
				dataplane.Route{Dest: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), Kind: dataplane.ToHost})
		}
		for n := 2; n <= 254; n++ {
			m := packet.MAC{2, 0, 0, 0, side, byte(n)}
			static = append(static,
				arp.Static{Port: i, Addr: packet.AddrFrom4([4]byte{10, 0, side, byte(n)}), MAC: m},
				arp.Static{Port: i, Addr: packet.AddrFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%x", side, n))), MAC: m})
		}
		q := &pcap.Queue{L2: true, Sink: func(b []byte, _ packet.Vnet) {
			d.out = append(d.out, frame{name, bytes.Clone(b)})
		}}
		d.queues = append(d.queues, q)
	}
	// The machine's own stack, behind a port without Ethernet: nothing listens there.
	env.Ports = append(env.Ports, dataplane.PortEnv{Link: dataplane.Link{Name: "host", MTU: 65535}})
	cfg = append(cfg, arp.PortConfig{})
	d.queues = append(d.queues, &pcap.Queue{Sink: func(b []byte, _ packet.Vnet) { d.toHost = append(d.toHost, bytes.Clone(b)) }})
	d.alone = map[packet.Addr]bool{}
	own := r.VIPs
	if r.Alone {
		for _, v := range r.VIPs {
			a, err := netip.ParseAddr(v)
			if err != nil {
				return nil, err
			}
			// What a local server is to get by DR comes to the host with the VIP on it.
			if slices.ContainsFunc(r.Rules, func(rule string) bool { return strings.Contains(rule, v) && strings.Contains(rule, "-r 127.") }) {
				continue
			}
			d.alone[packet.AddrFrom(a)] = true
			own = slices.DeleteFunc(slices.Clone(own), func(o string) bool { return o == v })
		}
	}
	for _, l := range slices.Concat(own, r.Local, []string{"127.0.0.0/8"}) {
		p, err := netip.ParsePrefix(l)
		if err != nil {
			a, aerr := netip.ParseAddr(l)
			if aerr != nil {
				return nil, aerr
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		env.Routes = append(env.Routes, dataplane.Route{Dest: p, Kind: dataplane.ToHost})
	}
	env.Routes = append(env.Routes,
		dataplane.Route{Dest: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.1.254")},
		dataplane.Route{Dest: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("2001:db8:1::fe")})
	neighbors.SetPorts(cfg)
	neighbors.SetStatic(static)
	d.env = env
	d.plane.SetEnvironment(env)
	d.worker = d.plane.NewWorker([]dataplane.Queue{d.queues[0], d.queues[1], d.queues[2]})
	d.plane.Watch(&dataplane.Watcher{Told: func(e *dataplane.Event) {
		d.lastV, d.lastR, d.lastRule = e.Verdict, e.Reason, e.Trace.Rule(e.Reason)
	}})
	d.sysctl = conf.Default().Sysctl
	d.plane.SetSysctl(d.sysctl)
	d.estimate = d.now + dataplane.EstimatePeriod
	return d, errors.Join(d.sysctl.Set("sync_qlen_max", recordedQueue), d.configure(r))
}

// configure does what the machine had done before the first step.
func (d *director) configure(r *recording.Recording) error {
	for _, line := range r.IPTables {
		m, err := recording.ParseMark(line)
		if err != nil {
			return err
		}
		d.marks = append(d.marks, m)
	}
	d.plane.SetMarks(d.marks)
	sh := newShell(d)
	for _, line := range r.Rules {
		if text, rc, err := sh.do("ipvsadm " + line); err != nil || rc != 0 {
			return fmt.Errorf("rule %q: exit code %d, text %q, %v", line, rc, text, err)
		}
	}
	for name, v := range r.Sysctls {
		if err := d.setSysctl(name, fmt.Sprint(v)); err != nil {
			return err
		}
	}
	d.plane.Publish()
	return nil
}

// advance moves the clock to t, a second at a time, so that what is due on the way
// happens when it is due.
func (d *director) advance(t time.Duration) error {
	for d.now < t {
		d.now = min(t, d.now+time.Second, d.estimate)
		if d.orphans != 0 && d.now >= d.orphans {
			if d.orphans = 0; d.plane.ExpireOrphans() > 0 {
				d.orphans = d.now + conntrack.TickLen // their parents
			}
		}
		if _, _, err := d.worker.Turn(); err != nil {
			return err
		}
		d.plane.Housekeep()
		if d.now == d.estimate {
			d.worker.HandOver()
			d.plane.Estimate()
			d.estimate += dataplane.EstimatePeriod
		}
	}
	return nil
}

// deadEnd is ip route add blackhole|unreachable.
func (d *director) deadEnd(prefix string) error {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return err
	}
	d.env.Routes = append(d.env.Routes, dataplane.Route{Dest: p, Kind: dataplane.Unreachable})
	d.plane.SetEnvironment(d.env)
	d.plane.Publish()
	return nil
}

// inject gives a frame to the director at the present time.
func (d *director) inject(port string, b []byte) error {
	i := slices.Index(ports, port)
	if i < 0 {
		return fmt.Errorf("no port %q", port)
	}
	d.queues[i].Put(b, packet.Vnet{})
	d.toHost = nil
	if _, _, err := d.worker.Turn(); err != nil {
		return err
	}
	for _, b := range d.toHost {
		if rst := refusal(b); rst != nil {
			d.queues[len(ports)].Put(rst, packet.Vnet{})
			if _, _, err := d.worker.Turn(); err != nil {
				return err
			}
		}
	}
	return nil
}

// refusal is what a host without a listener answers to a SYN: RST and ACK of the byte
// after it (RFC 9293 section 3.5.2).
func refusal(b []byte) []byte {
	f := packet.NewIPFrame(b)
	if f.Parse() != packet.None || f.Flow.Proto != packet.TCP || f.TCPFlags != packet.SYN {
		return nil
	}
	fl := f.Flow
	fl.Src, fl.Dst, fl.SrcPort, fl.DstPort = fl.Dst, fl.Src, fl.DstPort, fl.SrcPort
	s := packet.Spec{Flow: fl, TTL: 65, DF: true, TCPFlags: packet.RST | packet.ACK, Ack: binary.BigEndian.Uint32(f.Buf[f.L4+4:]) + 1}
	ip := s.IP()
	ip[34], ip[35] = 0, 0 // a RST's window is 0
	g := packet.NewIPFrame(ip)
	g.Parse()
	ip = g.Bytes()
	ip[36], ip[37] = 0, 0
	binary.BigEndian.PutUint16(ip[36:], ^packet.Fold(packet.Sum(ip[20:], packet.PseudoSum(fl, packet.TCP, len(ip)-20))))
	return ip
}

// steer makes twos, which draws at random, choose the server that the kernel's draw
// gave, where it can choose that server at all; the comparison shows where it cannot.
func (d *director) steer(s *recording.Step) {
	for _, svc := range d.plane.Services() {
		if svc.Scheduler != "twos" {
			continue
		}
		for _, o := range s.Out {
			b, err := recording.Bytes(o.Hex)
			if err != nil || o.If != "sv0" || len(b) < 6 {
				continue
			}
			sum := 0
			for _, srv := range svc.Servers { // eligible ones in list order
				if srv.Weight == 0 || srv.Overload {
					continue
				}
				if srv.Addr == netip.AddrFrom4([4]byte{10, 0, 2, b[5]}) {
					d.draw = uint64(sum + 1)
					return
				}
				sum += srv.Weight
			}
		}
	}
}
