package dataplane

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// The longest prefix wins, against a walk over all routes.
func TestLongestPrefix(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	ports := []Link{{MTU: 1500}, {MTU: 1400}}
	random := func(v6 bool) netip.Addr {
		if v6 {
			return netip.AddrFrom16([16]byte{0x20, 1, byte(rng.IntN(2)), byte(rng.IntN(2)), 15: byte(rng.IntN(4))})
		}
		return netip.AddrFrom4([4]byte{10, byte(rng.IntN(2)), byte(rng.IntN(4)), byte(rng.IntN(256))})
	}
	for range 200 {
		var rs []Route
		for range rng.IntN(30) {
			a := random(rng.IntN(2) == 0)
			p, _ := a.Prefix(rng.IntN(a.BitLen() + 1))
			rs = append(rs, Route{Dest: p, Port: rng.IntN(2), MTU: 1000 + len(rs)}) // the MTU tells them apart
		}
		table := compileRoutes(rs, ports)
		for range 200 {
			a := random(rng.IntN(2) == 0)
			var want *Route
			for i := range rs {
				if r := &rs[i]; r.Dest.Contains(a) && (want == nil || r.Dest.Bits() > want.Dest.Bits()) {
					want = r
				}
			}
			got := table.find(packet.AddrFrom(a))
			if (got == nil) != (want == nil) || got != nil && got.mtu != uint32(want.MTU) {
				t.Fatalf("%v in %v: got %+v, want %+v", a, rs, got, want)
			}
		}
	}
}
