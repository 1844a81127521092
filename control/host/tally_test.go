package host

import (
	"fmt"
	"maps"
	"math/rand"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// randomPiece draws from a small space, so that pieces share VIPs, servers and marks.
func randomPiece(rng *rand.Rand) Piece {
	var p Piece
	v6 := rng.Intn(3) == 0
	vip, rip := fmt.Sprintf("10.7.9.%d", 1+rng.Intn(2)), fmt.Sprintf("10.7.2.%d", 1+rng.Intn(2))
	if v6 {
		vip, rip = fmt.Sprintf("2001:db8:9::%d", 1+rng.Intn(2)), fmt.Sprintf("2001:db8:2::%d", 1+rng.Intn(2))
	}
	switch rng.Intn(3) {
	case 0:
		p.Key = conf.ServiceKey{Fwmark: 1 + uint32(rng.Intn(3)), V6: v6}
	case 1:
		p.Key = conf.ServiceKey{Proto: packet.UDP, Addr: addr(vip), Port: []uint16{0, 53, 500}[rng.Intn(3)]}
	default:
		p.Key = conf.ServiceKey{Proto: packet.TCP, Addr: addr(vip), Port: []uint16{0, 80}[rng.Intn(2)]}
	}
	if p.OfServer = rng.Intn(4) > 0; p.OfServer {
		p.Server = conf.ServerID{Addr: addr(rip), Port: []uint16{0, 80}[rng.Intn(2)]}
		p.Forward = []conf.Forward{conf.NAT, conf.NAT, conf.DR}[rng.Intn(3)]
	}
	return p
}

// scratch is the content that pieces make from nothing.
func scratch(marks []conf.Mark, ports []string, pieces []Piece) content {
	t := newTally(marks, ports)
	for i := range pieces {
		t.count(&pieces[i], 1)
	}
	return t.content()
}

func sameContent(a, b content) bool {
	ids := maps.Clone(a)
	maps.Copy(ids, b)
	for id := range ids {
		if !maps.Equal(a[id], b[id]) {
			return false
		}
	}
	return true
}

// Whatever came and went, in whatever lumps, the sets hold what those hold that are made
// from scratch of what is there; also after the marks or the ports became others.
func TestDifferencesLeadToTheContentFromScratch(t *testing.T) {
	for seed := range int64(40) {
		rng := rand.New(rand.NewSource(seed))
		u := universe{rng}
		marks, ports := u.rules(3), []string{"eth0", "eth1"}
		tl := newTally(marks, ports)
		installed := tl.content()
		var here []Piece
		for step := range 60 {
			for range 1 + rng.Intn(6) {
				if i := rng.Intn(8); i < len(here) {
					tl.count(&here[i], -1)
					here = slices.Delete(here, i, i+1)
				} else {
					p := randomPiece(rng)
					tl.count(&p, 1)
					here = append(here, p)
				}
			}
			if rng.Intn(10) == 0 {
				marks = u.rules(1 + rng.Intn(4))
				tl.paint(marks, ports)
				installed = tl.content() // the sets are others: installed anew
				tl.settle()
			}
			kernel := content{} // which refuses to delete what is not there
			for id := range installed {
				kernel[id] = maps.Clone(installed[id])
			}
			gone, added := tl.difference(installed)
			tl.settle()
			for id, keys := range gone {
				for _, k := range keys {
					if _, is := kernel[id][k]; !is {
						t.Fatalf("seed %d, step %d: %v: an element goes that was not there", seed, step, id)
					}
					delete(kernel[id], k)
				}
			}
			for id, keys := range added {
				for _, k := range keys {
					if _, is := kernel[id][k]; is {
						t.Fatalf("seed %d, step %d: %v: an element comes that is there", seed, step, id)
					}
					kernel.put(id, k)
				}
			}
			if !sameContent(kernel, installed) {
				t.Fatalf("seed %d, step %d: the kernel has %v, not %v", seed, step, kernel, installed)
			}
			if want := scratch(marks, ports, here); !sameContent(installed, want) || !sameContent(tl.content(), want) {
				t.Fatalf("seed %d, step %d:\ngot  %v\nwant %v", seed, step, installed, want)
			}
		}
	}
}

// The kernel takes each difference, and holds what a fresh guard would.
func TestChangeInTheKernel(t *testing.T) {
	rng := rand.New(rand.NewSource(5))
	u := universe{rng}
	ns := newNS(t)
	dummies(t, ns, "eth0", "eth1")
	marks, ports := u.rules(3), []string{"eth0", "eth1"}
	g := guardIn(t, ns, "x", ports, Rules{Marks: marks})
	var here []Piece
	for round := range 25 {
		var add, drop []Piece
		for range 1 + rng.Intn(6) {
			if i := rng.Intn(8); i < len(here) {
				drop = append(drop, here[i])
				here = slices.Delete(here, i, i+1)
			} else {
				add = append(add, randomPiece(rng))
			}
		}
		here = append(here, add...)
		if round == 12 { // someone flushes the ruleset
			nft(t, ns, "delete table netdev dirigo_x")
		}
		in(t, ns, func() {
			if err := g.Change(add, drop); err != nil {
				t.Error(err)
			}
		})
		got := sets(t, ns, "dirigo_x")
		for id, keys := range scratch(marks, ports, here) {
			if len(got[id.String()]) != len(keys) {
				t.Errorf("round %d: set %v has %d elements, want %d", round, id, len(got[id.String()]), len(keys))
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// One more service with a server on top of few and of ten thousand with ten each: what
// it costs with the kernel's part, and a whole state at once.
func BenchmarkGuardChange(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ns := newNS(b)
			dummies(b, ns, "d0")
			g := guardIn(b, ns, "x", []string{"d0"}, Rules{})
			var all []Piece
			for i := range n {
				k := conf.ServiceKey{Proto: packet.TCP, Addr: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), Port: 80}
				all = append(all, Piece{Key: k})
				for j := range 10 {
					all = append(all, Piece{Key: k, Server: conf.ServerID{Addr: netip.AddrFrom4([4]byte{10, byte(j), byte(i >> 8), byte(i)}), Port: 80}, OfServer: true})
				}
			}
			one := []Piece{{Key: conf.ServiceKey{Proto: packet.TCP, Addr: addr("198.51.100.1"), Port: 80}}}
			one = append(one, Piece{Key: one[0].Key, Server: conf.ServerID{Addr: addr("10.200.0.1"), Port: 80}, OfServer: true})
			in(b, ns, func() {
				start := time.Now()
				if err := g.Change(all, nil); err != nil {
					b.Error(err)
				}
				b.Logf("all at once: %v", time.Since(start))
				for b.Loop() {
					if err := g.Change(one, nil); err != nil {
						b.Error(err)
						return
					}
					if err := g.Change(nil, one); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
