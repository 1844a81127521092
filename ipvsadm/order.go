package ipvsadm

import (
	"encoding/binary"
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
)

// sorted returns pointers to the entries of s in ipvsadm's order.
//
// ipvsadm compares by subtracting 32-bit numbers, so addresses and marks that are 2^31
// or more apart compare the wrong way round and the comparison is no order at all. What
// comes out then depends on the algorithm; this is the top-down merge sort of glibc's
// qsort, which takes the first half when the halves agree.
func sorted[T any](s []T, compare func(a, b *T) int32) []*T {
	ps := make([]*T, len(s))
	for i := range s {
		ps[i] = &s[i]
	}
	mergeSort(ps, make([]*T, len(s)), compare)
	return ps
}

func mergeSort[T any](s, tmp []*T, compare func(a, b *T) int32) {
	if len(s) < 2 {
		return
	}
	a, b := s[:len(s)/2], s[len(s)/2:]
	mergeSort(a, tmp, compare)
	mergeSort(b, tmp, compare)
	out := tmp[:0]
	for len(a) > 0 && len(b) > 0 {
		if compare(a[0], b[0]) <= 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	out = append(out, a...)
	out = append(out, b...)
	copy(s, out)
}

// compareServices is ipvs_cmp_services: mark, family (IPv4 first), protocol, address, port.
func compareServices(a, b *ServiceEntry) int32 {
	x, y := &a.Service.Key, &b.Service.Key
	if d := int32(x.Fwmark - y.Fwmark); d != 0 {
		return d
	}
	if v6 := serviceV6(x); v6 != serviceV6(y) {
		if v6 {
			return 1
		}
		return -1
	}
	if d := int32(x.Proto) - int32(y.Proto); d != 0 {
		return d
	}
	if d := compareAddrs(x.Addr, y.Addr); d != 0 {
		return d
	}
	return int32(x.Port) - int32(y.Port)
}

// compareServers is ipvs_cmp_dests: address, port. The families are not compared, but
// the bytes of an IPv4 and of an IPv6 address stand in the same place.
func compareServers(a, b *ServerEntry) int32 {
	if d := compareAddrs(a.Server.Addr, b.Server.Addr); d != 0 {
		return d
	}
	return int32(a.Server.Port) - int32(b.Server.Port)
}

func compareAddrs(a, b netip.Addr) int32 {
	x, y := addrWords(a), addrWords(b)
	n := 4
	if a.Is4() {
		n = 1
	}
	for i := range n {
		if d := int32(x[i] - y[i]); d != 0 {
			return d
		}
	}
	return 0
}

// addrWords is an address as union nf_inet_addr has it, in words of host byte order.
func addrWords(a netip.Addr) (w [4]uint32) {
	for i, b := 0, a.AsSlice(); len(b) >= 4; i, b = i+1, b[4:] {
		w[i] = binary.BigEndian.Uint32(b)
	}
	return w
}

// serviceV6 reports the family of a service.
func serviceV6(k *conf.ServiceKey) bool {
	if k.Fwmark != 0 {
		return k.V6
	}
	return k.Addr.Is6()
}
