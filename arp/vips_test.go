package arp

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// However its VIPs came and went, a cache answers for, announces and asks from what one
// does that was given all at once.
func TestChangeVIPsEqualsSetPorts(t *testing.T) {
	base := []PortConfig{
		{MAC: macA, Addresses: prefixes("10.9.0.1/24", "10.9.0.2/24")},
		{MAC: macB, Addresses: prefixes("10.8.0.1/24")},
		{}, // a tun
	}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		step, whole := New(Config{}), New(Config{})
		step.SetPorts(base)
		whole.SetPorts(base)
		lists := make([][]packet.Addr, len(base))
		for turn := range 60 {
			var changes []VIPChange
			for range rng.IntN(4) {
				ch := VIPChange{rng.IntN(len(base)), packet.AddrFrom4([4]byte{10, byte(8 + rng.IntN(2)), 0, byte(1 + rng.IntN(4))}), rng.IntN(2) == 0}
				changes = append(changes, ch)
				l := &lists[ch.Port]
				if had := slices.Contains(*l, ch.VIP); ch.Own && !had {
					*l = append(*l, ch.VIP)
				} else if !ch.Own {
					*l = slices.DeleteFunc(*l, func(a packet.Addr) bool { return a == ch.VIP })
				}
			}
			configs := slices.Clone(base)
			for i := range configs {
				configs[i].VIPs = lists[i]
			}
			if len(changes) != 1 { // a VIP that goes and comes in one call is new to one of them only
				whole.SetPorts(configs)
				step.SetPorts(configs)
			} else {
				whole.SetPorts(configs)
				step.ChangeVIPs(changes)
			}
			for i := range base {
				a, b := &step.ports[i], &whole.ports[i]
				if !reflect.DeepEqual(a.sources, b.sources) || !slices.Equal(slices.SortedFunc(maps.Keys(a.vips), compareAddr), slices.SortedFunc(maps.Keys(b.vips), compareAddr)) {
					t.Fatalf("seed %d, turn %d, port %d: %+v, want %+v", seed, turn, i, a, b)
				}
			}
			all := func(int, packet.Addr) bool { return true }
			if a, b := step.vips(all), whole.vips(all); !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d, turn %d: to announce again: %v, want %v", seed, turn, a, b)
			}
			if !maps.Equal(step.owned, whole.owned) {
				t.Fatalf("seed %d, turn %d: owned %v, want %v", seed, turn, step.owned, whole.owned)
			}
			if a, b := fmt.Sprint(step.announce), fmt.Sprint(whole.announce); a != b {
				t.Fatalf("seed %d, turn %d: pending %s, want %s", seed, turn, a, b)
			}
		}
	}
}

func compareAddr(a, b packet.Addr) int { return cmp.Compare(string(a[:]), string(b[:])) }

// One more VIP costs the same on top of few and of many.
func BenchmarkOneMoreVIP(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := New(Config{Announcements: -1})
			var vips []packet.Addr
			for i := range n {
				vips = append(vips, packet.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}))
			}
			c.SetPorts([]PortConfig{{MAC: macA, Addresses: prefixes("10.9.0.1/24"), VIPs: vips}})
			vip := packet.AddrFrom4([4]byte{198, 51, 100, 1})
			for b.Loop() {
				c.ChangeVIPs([]VIPChange{{0, vip, true}})
				c.ChangeVIPs([]VIPChange{{0, vip, false}})
			}
		})
	}
}
