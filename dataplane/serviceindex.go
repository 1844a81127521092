package dataplane

import (
	"cmp"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/encap"
	"github.com/dirigo-lb/dirigo/packet"
)

// serviceIndex is the part of a table that follows from services and their servers. It is
// never built as a whole: each command changes what it means, in the next table. Several
// services share a VIP and several servers an address, so most entries count who wants
// them.
type serviceIndex struct {
	services   trie[serviceAddr, *Service]
	fwmarks    trie[fwmarkKey, *Service]
	vips       trie[vipKey, int]            // addresses of services, which the director answers for
	tunnels    trie[vipKey, []encap.Tunnel] // by tunnel server: how packets are wrapped for it; the first counts
	natServers trie[serviceAddr, int]       // real servers behind NAT; protocol 0 for those of fwmark services
	natHosts   trie[serviceAddr, int]       // their addresses and protocols, port 0
	natMarks   trie[serviceAddr, []uint32]  // by address alone: the marks of NAT servers without a port
	families   [2]int                       // IPv4, IPv6: services of that family
	tracked    [2]int                       // NAT servers of FTP services of that family; see ftpCommand
	ftp        int                          // TCP services with port 21
	port0      int                          // services with port 0; fwmark services count
}

// vipKey is an address as a key.
type vipKey packet.Addr

func familyIndex(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// tunnel is how packets are wrapped for a tunnel server.
func (x *serviceIndex) tunnel(a packet.Addr) (encap.Tunnel, bool) {
	all := x.tunnels.get(vipKey(a))
	if len(all) == 0 {
		return encap.Tunnel{}, false
	}
	return all[0], true
}

// addService takes in a service, without its servers, in the table of generation gen.
func (x *serviceIndex) addService(gen uint64, s *Service) {
	if s.Key.Fwmark != 0 {
		x.fwmarks.set(gen, fwmarkKey{s.Key.Fwmark, s.Key.V6}, s)
	} else {
		x.services.set(gen, s.place(), s)
	}
	x.countService(gen, s, 1)
}

// dropService undoes addService.
func (x *serviceIndex) dropService(gen uint64, s *Service) {
	if s.Key.Fwmark != 0 {
		x.fwmarks.remove(gen, fwmarkKey{s.Key.Fwmark, s.Key.V6})
	} else {
		x.services.remove(gen, s.place())
	}
	x.countService(gen, s, -1)
}

func (s *Service) place() serviceAddr {
	return serviceAddr{s.vip, s.Key.Port, s.Key.Proto, s.Key.Addr.Is6()}
}

func (x *serviceIndex) countService(gen uint64, s *Service, by int) {
	k := &s.Key
	x.families[familyIndex(k.V6Service())] += by
	if k.Fwmark != 0 {
		x.port0 += by
		return
	}
	count(&x.vips, gen, vipKey(s.vip), by)
	if k.Port == 0 {
		x.port0 += by
	}
	if k.Port == ftpPort && k.Proto == packet.TCP {
		x.ftp += by
	}
}

// countServer takes in (by 1) or drops (by -1) what the rules of a service's server mean.
func (x *serviceIndex) countServer(gen uint64, k *conf.ServiceKey, srv *Server, r *serverRules, by int) {
	switch r.method {
	case conf.Tunnel:
		member(&x.tunnels, gen, vipKey(srv.Addr), r.tunnel, by, compareTunnels)
		return
	case conf.NAT:
	default:
		return
	}
	if k.Port == ftpPort {
		x.tracked[familyIndex(k.V6Service())] += by
	}
	if k.Fwmark != 0 && srv.Port == 0 {
		a := serviceAddr{addr: srv.Addr, v6: srv.V6}
		member(&x.natMarks, gen, a, k.Fwmark, by, cmp.Compare[uint32])
		count(&x.natHosts, gen, a, by)
		count(&x.natServers, gen, a, by)
		return
	}
	count(&x.natServers, gen, serviceAddr{srv.Addr, srv.Port, k.Proto, srv.V6}, by)
	count(&x.natHosts, gen, serviceAddr{srv.Addr, 0, k.Proto, srv.V6}, by)
}

func compareTunnels(a, b encap.Tunnel) int {
	csum := func(t encap.Tunnel) int {
		if t.Csum {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Port, b.Port), cmp.Compare(csum(a), csum(b)))
}

// count changes how often a key is wanted; one that nobody wants goes.
func count[K trieKey](t *trie[K, int], gen uint64, k K, by int) {
	if n := t.get(k) + by; n != 0 {
		t.set(gen, k, n)
	} else {
		t.remove(gen, k)
	}
}

// member adds v to the key's sorted list (by 1) or takes one v out (by -1). Lists are in
// use by workers, so they are made anew.
func member[K trieKey, V any](t *trie[K, []V], gen uint64, k K, v V, by int, compare func(a, b V) int) {
	list := t.get(k)
	i, found := slices.BinarySearchFunc(list, v, compare)
	switch {
	case by > 0:
		t.set(gen, k, slices.Insert(slices.Clone(list), i, v))
	case found && len(list) > 1:
		t.set(gen, k, slices.Delete(slices.Clone(list), i, i+1))
	case found:
		t.remove(gen, k)
	}
}
