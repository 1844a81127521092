package dataplane

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// A trie and its published copies are maps, whatever is changed later.
func TestTrieIsAMapAndCopiesStay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var tr trie[fwmarkKey, int]
	want := map[fwmarkKey]int{}
	type copied struct {
		tr   trie[fwmarkKey, int]
		want map[fwmarkKey]int
	}
	var copies []copied
	gen := uint64(1)
	for i := range 20000 {
		k := fwmarkKey{mark: rng.Uint32N(3000), v6: rng.IntN(2) == 0}
		if rng.IntN(3) > 0 {
			tr.set(gen, k, i+1)
			want[k] = i + 1
		} else {
			tr.remove(gen, k)
			delete(want, k)
		}
		if rng.IntN(1000) == 0 {
			copies = append(copies, copied{tr, maps.Clone(want)})
			gen++
		}
	}
	for i, c := range append(copies, copied{tr, want}) {
		got := map[fwmarkKey]int{}
		c.tr.each(func(k fwmarkKey, v int) {
			if got[k] != 0 {
				t.Fatalf("copy %d: %v is in it twice", i, k)
			}
			got[k] = v
		})
		if !maps.Equal(got, c.want) {
			t.Fatalf("copy %d: %d keys, want %d", i, len(got), len(c.want))
		}
		for k, v := range c.want {
			if c.tr.get(k) != v {
				t.Fatalf("copy %d: %v is %d, want %d", i, k, c.tr.get(k), v)
			}
		}
	}
}

// contents is a service index as plain maps: the slow, obvious twin's form.
type contents struct {
	services             map[serviceAddr]conf.ServiceKey
	fwmarks              map[fwmarkKey]conf.ServiceKey
	vips                 map[vipKey]bool
	tunnels              map[vipKey][]encap.Tunnel
	natServers, natHosts map[serviceAddr]bool
	natMarks             map[serviceAddr][]uint32
	families, tracked    [2]bool
	ftp, port0           bool
}

func newContents() *contents {
	return &contents{
		services: map[serviceAddr]conf.ServiceKey{}, fwmarks: map[fwmarkKey]conf.ServiceKey{}, vips: map[vipKey]bool{},
		tunnels: map[vipKey][]encap.Tunnel{}, natServers: map[serviceAddr]bool{}, natHosts: map[serviceAddr]bool{}, natMarks: map[serviceAddr][]uint32{},
	}
}

// contentsOf reads what a table says.
func contentsOf(t *Table) *contents {
	c := newContents()
	t.services.each(func(k serviceAddr, s *Service) { c.services[k] = s.Key })
	t.fwmarks.each(func(k fwmarkKey, s *Service) { c.fwmarks[k] = s.Key })
	t.vips.each(func(k vipKey, n int) { c.vips[k] = n > 0 })
	t.tunnels.each(func(k vipKey, l []encap.Tunnel) { c.tunnels[k] = l })
	t.natServers.each(func(k serviceAddr, n int) { c.natServers[k] = n > 0 })
	t.natHosts.each(func(k serviceAddr, n int) { c.natHosts[k] = n > 0 })
	t.natMarks.each(func(k serviceAddr, l []uint32) { c.natMarks[k] = l })
	for i := range 2 {
		c.families[i], c.tracked[i] = t.families[i] > 0, t.tracked[i] > 0
	}
	c.ftp, c.port0 = t.ftp > 0, t.port0 > 0
	return c
}

// build says from scratch what a table of these services has to say.
func build(services []ServiceStatus) *contents {
	c := newContents()
	for _, s := range services {
		k, f := s.Key, familyIndex(s.Key.V6Service())
		c.families[f] = true
		for _, d := range s.Servers {
			a := packet.AddrFrom(d.Addr)
			c.tracked[f] = c.tracked[f] || d.Forward == conf.NAT && k.Port == ftpPort
			switch {
			case d.Forward == conf.Tunnel:
				c.tunnels[vipKey(a)] = append(c.tunnels[vipKey(a)], encap.Tunnel{Dst: a, V6: d.Addr.Is6(), Kind: encap.Kind(d.TunType), Port: d.TunPort, Csum: d.TunFlags != 0})
			case d.Forward == conf.NAT && k.Fwmark != 0 && d.Port == 0:
				h := serviceAddr{addr: a, v6: d.Addr.Is6()}
				c.natMarks[h] = append(c.natMarks[h], k.Fwmark)
				c.natHosts[h], c.natServers[h] = true, true
			case d.Forward == conf.NAT:
				c.natServers[serviceAddr{a, d.Port, k.Proto, d.Addr.Is6()}] = true
				c.natHosts[serviceAddr{a, 0, k.Proto, d.Addr.Is6()}] = true
			}
		}
		if k.Fwmark != 0 {
			c.fwmarks[fwmarkKey{k.Fwmark, k.V6}] = k
			c.port0 = true
			continue
		}
		c.services[serviceAddr{packet.AddrFrom(k.Addr), k.Port, k.Proto, k.Addr.Is6()}] = k
		c.vips[vipKey(packet.AddrFrom(k.Addr))] = true
		c.port0 = c.port0 || k.Port == 0
		c.ftp = c.ftp || k.Port == ftpPort && k.Proto == packet.TCP
	}
	for _, l := range c.tunnels {
		slices.SortFunc(l, compareTunnels)
	}
	for _, l := range c.natMarks {
		slices.Sort(l)
	}
	return c
}

func testPlane(t testing.TB) *Plane {
	t.Helper()
	p, err := New(Config{MaxConnections: 16, Clock: func() time.Duration { return time.Hour }, Neighbors: arp.New(arp.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Conns().Close)
	return p
}

// Whatever the commands were, the table says what one made from scratch would say; and a
// table that workers may still have in hand says what it did.
func TestTableEqualsOneFromScratch(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		p := testPlane(t)
		key := func() conf.ServiceKey {
			switch rng.IntN(4) {
			case 0:
				return conf.ServiceKey{Fwmark: 1 + rng.Uint32N(2), V6: rng.IntN(2) == 0}
			case 1:
				return conf.ServiceKey{Proto: packet.UDP, Addr: netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", 1+rng.IntN(2))), Port: []uint16{0, 53}[rng.IntN(2)]}
			default:
				return conf.ServiceKey{Proto: packet.TCP, Addr: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 1+rng.IntN(2))), Port: []uint16{0, 21, 80}[rng.IntN(3)]}
			}
		}
		server := func(k conf.ServiceKey) conf.Server {
			d := conf.Server{Addr: netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", 1+rng.IntN(3))), Port: []uint16{0, 80}[rng.IntN(2)], Weight: rng.IntN(3)}
			if k.V6Service() {
				d.Addr = netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", 1+rng.IntN(3)))
			}
			d.Forward = []conf.Forward{conf.NAT, conf.NAT, conf.DR, conf.Tunnel}[rng.IntN(4)]
			if d.Forward == conf.Tunnel && rng.IntN(2) == 0 {
				d.TunType, d.TunPort = conf.TunGUE, 6080
			}
			return d
		}
		var old *Table
		var oldSays *contents
		for step := range 400 {
			switch k := key(); rng.IntN(12) {
			case 0, 1:
				_ = p.AddService(conf.Service{Key: k, Scheduler: "rr"})
			case 2:
				_ = p.DeleteService(k)
			case 3, 4, 5, 6, 7:
				_ = p.AddServer(k, server(k))
			case 8, 9:
				_ = p.EditServer(k, server(k))
			default:
				_ = p.DeleteServer(k, server(k))
			}
			if rng.IntN(3) > 0 {
				continue
			}
			p.Publish()
			if old != nil && !reflect.DeepEqual(contentsOf(old), oldSays) {
				t.Fatalf("seed %d, step %d: a published table was changed", seed, step)
			}
			old = p.table.Load()
			oldSays = contentsOf(old)
			if want := build(p.Services()); !reflect.DeepEqual(oldSays, want) {
				t.Fatalf("seed %d, step %d:\ngot  %+v\nwant %+v", seed, step, oldSays, want)
			}
		}
	}
}

// bigPlane is a state of a large site.
func bigPlane(tb testing.TB, services, servers int) *Plane {
	p := testPlane(tb)
	for i := range services {
		addBig(tb, p, i, servers)
	}
	p.Publish()
	return p
}

func addBig(tb testing.TB, p *Plane, i, servers int) {
	k := conf.ServiceKey{Proto: packet.TCP, Addr: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), Port: 80}
	if err := p.AddService(conf.Service{Key: k, Scheduler: []string{"rr", "wlc"}[i%2]}); err != nil {
		tb.Fatal(err)
	}
	for j := range servers {
		if err := p.AddServer(k, conf.Server{Addr: netip.AddrFrom4([4]byte{10, byte(j), byte(i >> 8), byte(i)}), Port: 80, Weight: 1}); err != nil {
			tb.Fatal(err)
		}
	}
}

// One more service, and its going, on top of many: it costs the same as on top of few.
func BenchmarkOneMoreService(b *testing.B) {
	for _, services := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(services), func(b *testing.B) {
			p := bigPlane(b, services, 10)
			k := conf.ServiceKey{Proto: packet.TCP, Addr: netip.MustParseAddr("198.51.100.1"), Port: 80}
			for b.Loop() {
				if err := p.AddService(conf.Service{Key: k, Scheduler: "rr"}); err != nil {
					b.Fatal(err)
				}
				p.Publish()
				if err := p.AddServer(k, conf.Server{Addr: netip.MustParseAddr("10.200.0.1"), Port: 80, Weight: 1}); err != nil {
					b.Fatal(err)
				}
				p.Publish()
				if err := p.DeleteService(k); err != nil {
					b.Fatal(err)
				}
				p.Publish()
			}
		})
	}
}

// A whole state at once, and its going.
func BenchmarkBuild10000x10(b *testing.B) {
	for b.Loop() {
		bigPlane(b, 10000, 10)
	}
}
