package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// rig is one worker whose client port lends the same 64 frames over and over, each time
// as packets of other connections, and whose transmissions are thrown away.
type rig struct {
	tb    testing.TB
	plane *dataplane.Plane
	w     *dataplane.Worker
	rx    *lender
	now   time.Duration
	sent  int
}

// dirMACs are the director's link addresses, clients' side first.
var dirMACs = [2]packet.MAC{{2, 0, 0, 0, 1, 1}, {2, 0, 0, 0, 2, 1}}

// lender is a Queue that makes its frames on the spot.
type lender struct {
	bufs  [64][]byte
	proto []byte // the frame to lend
	next  uint32 // number of the next connection
	first uint32 // of conns, one after the other and again
	conns uint32
	flags uint8
	// answers says that frames are the servers': the client is where they go.
	answers bool
	on      bool
	out     *int
}

func (l *lender) Receive(frames []packet.Frame) (int, error) {
	if !l.on {
		return 0, nil
	}
	for i := range frames {
		b := l.bufs[i]
		copy(b[packet.Headroom:], l.proto)
		n := l.first + l.next%l.conns
		l.next++
		ip := b[packet.Headroom+14:]
		addr, port := ip[12:], ip[20:]
		if l.answers {
			addr, port = ip[16:], ip[22:]
		}
		// the client's address and port: 10.x.y.z and 1024 to 2047
		binary.BigEndian.PutUint32(addr, 10<<24|n>>10&0xffffff)
		binary.BigEndian.PutUint16(port, uint16(1024+n&1023))
		ip[33] = l.flags
		ip[10], ip[11] = 0, 0
		var sum uint32
		for j := 0; j < 20; j += 2 {
			sum += uint32(ip[j])<<8 | uint32(ip[j+1])
		}
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
		frames[i] = packet.Frame{Buf: b, Start: packet.Headroom, End: packet.Headroom + uint32(len(l.proto)), L2: true}
	}
	return len(frames), nil
}

func (l *lender) Transmit(frames []*packet.Frame) (int, error) {
	*l.out += len(frames)
	return len(frames), nil
}
func (l *lender) Release()                             {}
func (l *lender) FD() int                              { return -1 }
func (l *lender) Stats() (dataplane.QueueStats, error) { return dataplane.QueueStats{}, nil }
func (l *lender) Close() error                         { return nil }

func newRig(tb testing.TB, method conf.Forward, conns int) *rig {
	tb.Helper()
	return newRigServers(tb, method, conns, conns, 2, "rr")
}

// kept is the rig of the last benchmark: to fill one with ten million connections takes
// longer than to measure it.
var kept struct {
	name string
	rig  *rig
}

// keptRig is the rig that make made for b the last time, or a new one.
func keptRig(b *testing.B, make func() *rig) *rig {
	b.Helper()
	if kept.name != b.Name() {
		if kept.rig != nil {
			kept.rig.close()
		}
		kept.rig = nil
		runtime.GC()
		kept.rig, kept.name = make(), b.Name()
	}
	kept.rig.tb = b
	return kept.rig
}

func (b *rig) close() { b.plane.Conns().Close() }

func newRigServers(tb testing.TB, method conf.Forward, conns, bound, servers int, scheduler string) *rig {
	tb.Helper()
	b := &rig{tb: tb, now: time.Hour}
	cache := arp.New(arp.Config{Announcements: -1})
	var err error
	b.plane, err = dataplane.New(dataplane.Config{MaxConnections: bound, Clock: func() time.Duration { return time.Duration(atomic.LoadInt64((*int64)(&b.now))) }, Neighbors: cache})
	if err != nil {
		tb.Fatal(err)
	}
	var ports []dataplane.PortEnv
	var acfg []arp.PortConfig
	for i, own := range []string{"192.0.2.1/24", "10.0.0.1/8"} {
		p := []netip.Prefix{netip.MustParsePrefix(own)}
		ports = append(ports, dataplane.PortEnv{Link: dataplane.Link{Name: fmt.Sprint("p", i), MAC: dirMACs[i], MTU: 1500, L2: true, Offload: true}, Addresses: p})
		acfg = append(acfg, arp.PortConfig{MAC: dirMACs[i], Addresses: p})
	}
	cache.SetPorts(acfg)
	gw, via := netip.MustParseAddr("192.0.2.254"), netip.MustParsePrefix("172.16.0.0/12")
	routes := []dataplane.Route{{Dest: via, Port: 1}, {Dest: netip.MustParsePrefix("0.0.0.0/0"), Via: gw, Port: 0}}
	static := []arp.Static{{Port: 0, Addr: packet.AddrFrom(gw), MAC: packet.MAC{2, 0, 0, 0, 0, 9}}}
	svcVIP := netip.MustParseAddr("192.0.2.100")
	k := conf.ServiceKey{Proto: packet.TCP, Addr: svcVIP, Port: 80}
	if err := b.plane.AddService(conf.Service{Key: k, Scheduler: scheduler}); err != nil {
		tb.Fatal(err)
	}
	for i := range servers {
		a := netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i + 1)})
		static = append(static, arp.Static{Port: 1, Addr: packet.AddrFrom(a), MAC: packet.MAC{2, 0, 0, 0, 1, byte(i)}})
		if err := b.plane.AddServer(k, conf.Server{Addr: a, Port: 80, Forward: method, Weight: 1 + i%3}); err != nil {
			tb.Fatal(err)
		}
	}
	cache.SetStatic(static)
	b.plane.SetEnvironment(dataplane.Environment{Ports: ports, Routes: routes, HostPort: -1})
	spec := packet.Spec{
		Flow:   packet.Flow{Src: packet.AddrFrom4([4]byte{10, 0, 0, 0}), SrcPort: 1024, Dst: packet.AddrFrom(svcVIP), DstPort: 80, Proto: packet.TCP},
		EthDst: dirMACs[0], EthSrc: packet.MAC{2, 0, 0, 0, 0, 9}, DF: true, TCPFlags: packet.SYN, Payload: make([]byte, 10),
	}
	b.rx = &lender{proto: spec.Frame(), conns: uint32(conns), flags: packet.SYN, on: true, out: &b.sent}
	for i := range b.rx.bufs {
		b.rx.bufs[i] = make([]byte, packet.Headroom+len(b.rx.proto)+64)
	}
	b.w = b.plane.NewWorker([]dataplane.Queue{b.rx, &lender{out: &b.sent}})
	b.plane.Publish()
	if conns > 0 {
		b.turns((conns + 63) / 64)
		if n := b.plane.Conns().Len(); n != conns {
			tb.Fatalf("%d connections, want %d", n, conns)
		}
		b.rx.flags = packet.ACK
		b.turns((conns + 63) / 64) // all ESTABLISHED
	}
	return b
}

func (b *rig) turns(n int) {
	for range n {
		b.now += 100 * time.Microsecond
		if _, _, err := b.w.Turn(); err != nil {
			b.tb.Fatal(err)
		}
	}
}
