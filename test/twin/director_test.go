package twin

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

// director is the real pipeline, one worker of it, with its ports in memory.
type director struct {
	tb     testing.TB
	plane  *dataplane.Plane
	worker *dataplane.Worker
	queues [2]*pcap.Queue
	now    time.Duration
	result result
}

// result is what the pipeline did with a frame.
type result struct {
	verdict dataplane.Verdict
	reason  dataplane.Reason
	conn    *dataplane.Conn
	frames  []frame
}

func newDirector(tb testing.TB, n *network) *director {
	d := &director{tb: tb, now: time.Hour}
	cache := arp.New(arp.Config{Announcements: -1})
	var err error
	d.plane, err = dataplane.New(dataplane.Config{MaxConnections: 50_000, Seed: [2]uint64{1, 2}, Clock: func() time.Duration { return d.now }, Neighbors: cache})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(d.plane.Conns().Close)
	env := dataplane.Environment{HostPort: -1}
	var ports []arp.PortConfig
	var static []arp.Static
	queues := make([]dataplane.Queue, 2)
	for i := range own {
		env.Ports = append(env.Ports, dataplane.PortEnv{
			Link:      dataplane.Link{Name: portNames[i], MAC: directorMAC[i], MTU: n.mtu[i], L2: true},
			Addresses: own[i][:],
		})
		ports = append(ports, arp.PortConfig{MAC: directorMAC[i], Addresses: own[i][:]})
		for f := range own[i] {
			b := own[i][f].Addr().As16()
			for last := 2; last < 255; last++ {
				b[15] = byte(last)
				a := netip.AddrFrom16(b).Unmap()
				static = append(static, arp.Static{Port: i, Addr: packet.AddrFrom(a), MAC: hostMAC(i, a)})
			}
		}
		d.queues[i] = &pcap.Queue{L2: true, Sink: func(b []byte, _ packet.Vnet) {
			d.result.frames = append(d.result.frames, frame{i, bytes.Clone(b)})
		}}
		queues[i] = d.queues[i]
	}
	for _, r := range n.routes {
		line := dataplane.Route{Dest: r.to, Via: r.via, Port: r.port, MTU: r.mtu}
		if r.port < 0 {
			line.Kind, line.Port = dataplane.Unreachable, 0
		}
		env.Routes = append(env.Routes, line)
	}
	cache.SetPorts(ports)
	cache.SetStatic(static)
	d.plane.SetEnvironment(env)
	d.plane.SetSysctl(n.sysctl)
	var marks []conf.Mark
	for _, m := range n.marks {
		marks = append(marks, m.Mark)
	}
	d.plane.SetMarks(marks)
	for _, s := range n.services {
		if err := d.plane.AddService(s); err != nil {
			tb.Fatal(err)
		}
		for _, srv := range s.Servers {
			if err := d.plane.AddServer(s.Key, srv); err != nil {
				tb.Fatal(err)
			}
		}
	}
	d.worker = d.plane.NewWorker(queues)
	d.plane.Watch(&dataplane.Watcher{Told: func(e *dataplane.Event) {
		d.result.verdict, d.result.reason, d.result.conn = e.Verdict, e.Reason, e.Trace.Clone().Conn
	}})
	d.plane.Publish()
	return d
}

// receive gives the pipeline a frame.
func (d *director) receive(port int, b []byte) result {
	d.result = result{}
	d.queues[port].Put(b, packet.Vnet{})
	d.turn()
	return d.result
}

func (d *director) turn() {
	if _, _, err := d.worker.Turn(); err != nil {
		d.tb.Fatal(err)
	}
}

// draw finds in what the pipeline did with a frame what it drew at random.
func (d *director) draw(got result) (dr drawn) {
	dr.server = func(p *ip) netip.Addr { return d.chosen(p, got) }
	if len(got.frames) == 0 {
		return dr
	}
	switch b := got.frames[0].bytes[etherLen:]; b[0] >> 4 {
	case 4:
		dr.id = binary.BigEndian.Uint16(b[4:])
	case 6:
		dr.label = binary.BigEndian.Uint32(b) & 0xfffff
		if b[6] == protoFrag {
			dr.fragID = binary.BigEndian.Uint32(b[44:])
		}
	}
	return dr
}

// chosen is the server that the scheduler chose for the frame's connection, or the zero
// Addr. The trace does not say when an ICMP error was sent: that passes the tables too.
func (d *director) chosen(p *ip, got result) (server netip.Addr) {
	if got.conn == nil || got.reason == dataplane.NoDestination {
		return server
	}
	server = got.conn.Dest.Addr()
	if got.verdict != dataplane.Drop || len(got.frames) == 0 {
		return server
	}
	d.plane.EachConn(func(c dataplane.Conn) bool {
		if c.Proto == p.proto && c.Client == p.from() && c.Virtual == p.to() {
			server = c.Dest.Addr()
			return false
		}
		return true
	})
	return server
}
