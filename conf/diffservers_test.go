package conf

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// From a list that takes connections to another one there is no moment without a server
// that does, as when the sorry server comes and goes; and the end is what was asked for.
func TestDiffServersLeavesNoEmptyMoment(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	k := ServiceKey{Fwmark: 1}
	random := func() (list []Server) {
		for i := range 4 {
			if rng.IntN(2) == 0 {
				list = append(list, Server{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), Weight: rng.IntN(3)})
			}
		}
		return list
	}
	takes := func(list []Server) (sum int) {
		for i := range list {
			sum += list[i].Weight
		}
		return sum
	}
	seen := 0
	for range 2000 {
		was, is := random(), random()
		if takes(was) == 0 || takes(is) == 0 {
			continue
		}
		cfg := Default()
		cfg.Services = []Service{{Key: k, Scheduler: "rr", Servers: was}}
		e := NewEditor(cfg)
		for _, c := range DiffServers(k, was, is) {
			if err := e.Do(c); err != nil {
				t.Fatal(err)
			}
			if takes(e.Service(k).Servers) == 0 {
				t.Fatalf("from %v to %v: none takes connections after %v", was, is, c)
			}
		}
		got := e.Service(k)
		if len(got.Servers) != len(is) {
			t.Fatalf("from %v to %v: %v", was, is, got.Servers)
		}
		for i := range is {
			if s := got.Server(is[i].ID()); s == nil || s.Weight != is[i].Weight {
				t.Fatalf("from %v to %v: %v", was, is, got.Servers)
			}
		}
		seen++
	}
	if seen < 500 {
		t.Errorf("only %d pairs of lists", seen)
	}
}
