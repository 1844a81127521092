package dataplane

import (
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/packet"
)

// Table is everything the pipeline reads, compiled and never changed again: the workers
// load it once per batch. Connection counts, weights and scheduler positions are in the
// objects that it leads to and live on from one table to the next.
type Table struct {
	gen        uint64
	ports      []portInfo
	routes     routeTable
	marks      []markRule
	own        map[packet.Addr]bool    // the director's own addresses
	broadcasts map[packet.Addr]bool    // of the ports' subnets
	starters   map[serviceAddr]*Server // NAT servers of services with the SIP engine; nil: no such service
	hostPort   int                     // index of the port that leads to the host's own stack; -1: none
	ownPorts   conf.PortRange          // from which the director's own connections start; zero: it has none
	sysctl     conf.Sysctl
	timeouts   conntrack.Timeouts
	serviceIndex
}

type portInfo struct {
	Link
	guarded      bool
	addr4, addr6 packet.Addr // the director's own address there; zero: none
}

type serviceAddr struct {
	addr  packet.Addr
	port  uint16
	proto uint8
	v6    bool
}

type fwmarkKey struct {
	mark uint32
	v6   bool
}

// ftpPort is the port of FTP control connections; unprivileged is the first port whose
// packets may belong to an FTP service (sysctl ip_unprivileged_port_start).
const (
	ftpPort      = 21
	ftpDataPort  = 20
	unprivileged = 1024
)

// service finds the virtual service for a packet that has no connection, in the order
// of ip_vs_service_find. fl are its ends, client first; they differ from the packet's own
// for an ICMP error, whose mark counts all the same.
func (t *Table) service(f *packet.Frame, fl *packet.Flow) *Service {
	mark := t.mark(f)
	if mark != 0 {
		if s := t.fwmarks.get(fwmarkKey{mark, fl.V6}); s != nil {
			return s
		}
	}
	k := serviceAddr{fl.Dst, fl.DstPort, fl.Proto, fl.V6}
	if s := t.services.get(k); s != nil {
		return s
	}
	if t.ftp > 0 && k.proto == packet.TCP && (k.port == ftpDataPort || k.port >= unprivileged) {
		k.port = ftpPort
		if s := t.services.get(k); s != nil {
			return s
		}
	}
	if t.port0 > 0 {
		k.port = 0
		return t.services.get(k)
	}
	return nil
}

// Environment is what a table needs beside services: the ports as opened, and the
// routes that lead out of them.
type Environment struct {
	Ports    []PortEnv
	Routes   []Route
	HostPort int // index into Ports; -1: none
	// OwnPorts are the ports from which the director's own connections to real servers
	// start, whose answers a guard keeps from the host (host.Rules.LocalPorts); zero: none.
	OwnPorts  conf.PortRange
	Neighbors []conf.Neighbor
}

// PortEnv is an opened port with the director's own addresses on it.
type PortEnv struct {
	Link
	Addresses []netip.Prefix
	Guarded   bool // the host does not see balanced frames here: what of them is not ours after all it gets by HostPort
}

// serves reports whether any service is of a family. While none is, connections rest too,
// as the kernel takes its hooks off (ip_vs_unregister_hooks).
func (t *Table) serves(v6 bool) bool {
	if v6 {
		return t.families[1] > 0
	}
	return t.families[0] > 0
}

// tracks reports whether the kernel would track connections of a family: it does so for
// the sake of FTP services with NAT servers (ip_vs_register_conntrack).
func (t *Table) tracks(v6 bool) bool {
	if v6 {
		return t.tracked[1] > 0
	}
	return t.tracked[0] > 0
}
