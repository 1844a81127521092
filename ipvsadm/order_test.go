package ipvsadm

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
)

func serversAt(addrs ...string) (s []ServerEntry) {
	for _, a := range addrs {
		s = append(s, ServerEntry{Server: conf.Server{Addr: addr(a)}})
	}
	return s
}

func order(s []ServerEntry) (addrs []string) {
	for _, e := range sorted(s, compareServers) {
		addrs = append(addrs, e.Server.Addr.String())
	}
	return addrs
}

// Addresses 2^31 or more apart compare the wrong way round, as in ipvsadm.
func TestFarAddressesCompareWrong(t *testing.T) {
	for _, in := range [][]string{{"10.0.0.1", "192.168.0.1"}, {"192.168.0.1", "10.0.0.1"}} {
		if got := order(serversAt(in...)); got[0] != "192.168.0.1" {
			t.Errorf("%v sorted: %v", in, got)
		}
	}
	// Exactly 2^31 apart: each is less than the other, and the first stays first.
	for _, in := range [][]string{{"10.0.0.0", "138.0.0.0"}, {"138.0.0.0", "10.0.0.0"}} {
		if got := order(serversAt(in...)); !slices.Equal(got, in) {
			t.Errorf("%v sorted: %v", in, got)
		}
	}
}

// IPv4 and IPv6 servers of one service are ordered by the first 32 bits.
func TestMixedFamiliesAreOrderedByTheirFirstWord(t *testing.T) {
	got := order(serversAt("127.0.0.1", "2001:db8::2", "10.0.2.22", "2001:db8::1"))
	if want := []string{"10.0.2.22", "2001:db8::1", "2001:db8::2", "127.0.0.1"}; !slices.Equal(got, want) { // 0x0a…, 0x20…, 0x7f…
		t.Errorf("%v, want %v", got, want)
	}
}

// An IPv4 server first in a comparison has no more than 32 bits to compare, so the
// port decides; an IPv6 one has 128.
func TestMixedFamiliesWithTheSameFirstWord(t *testing.T) {
	v4 := ServerEntry{Server: conf.Server{Addr: addr("32.1.13.184"), Port: 90}} // 0x20010db8
	v6 := ServerEntry{Server: conf.Server{Addr: addr("2001:db8::1"), Port: 80}}
	if a, b := compareServers(&v4, &v6), compareServers(&v6, &v4); a != 10 || b != 1 {
		t.Errorf("compare: %d and %d, want 90-80 and 1-0", a, b)
	}
}

// Where the comparison is an order, the result is that of a library sort.
func TestSortedAgreesWithAStableSort(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		s := make([]ServiceEntry, rnd.IntN(40))
		for i := range s {
			s[i].Service.Name = strconv.Itoa(i) // tells equal keys apart
			k := &s[i].Service.Key
			k.Fwmark, k.Port = rnd.Uint32N(3), uint16(rnd.Uint32N(5))
			k.V6 = k.Fwmark != 0 && rnd.Uint32N(2) == 0
			k.Proto = []uint8{6, 17, 132}[rnd.IntN(3)]
			if k.Addr = addr([]string{"10.0.0.1", "10.0.0.2", "2001:db8::1"}[rnd.IntN(3)]); k.Fwmark != 0 {
				k.Addr = addr("0.0.0.0")
			}
		}
		want := slices.Clone(s)
		slices.SortStableFunc(want, func(a, b ServiceEntry) int { return int(compareServices(&a, &b)) })
		for i, e := range sorted(s, compareServices) {
			if e.Service.Name != want[i].Service.Name {
				t.Fatalf("place %d: %+v, want %+v", i, e.Service, want[i].Service)
			}
		}
	}
}
