package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// Addresses of the lab. The VIP is nobody's but the forwarder's; clients have a route
// to it by the director.
var (
	vip        = netip.MustParseAddr("198.51.100.1")
	clientIP   = netip.MustParseAddr("10.1.0.2")
	directorIP = netip.MustParseAddr("10.1.0.1") // on the clients' side
	insideIP   = netip.MustParseAddr("10.2.0.1") // on the server's side
	serverIP   = netip.MustParseAddr("10.2.0.2")
)

// Ports that are balanced.
const (
	portSink  = 9 // UDP: counted and dropped before the server's stack sees it
	portEcho  = 7 // UDP and TCP
	portHTTP  = 80
	portIperf = 5201 // iperf3's own
)

// network is the lab of one sample.
type network struct {
	tb                       testing.TB
	client, director, server *lab.NS
	target                   netip.Addr // where clients send
}

// cpus says where the ends and the director's process run.
type cpus struct{ ends, director int }

// placement reads "ENDS,DIRECTOR"; without it they are the first two CPUs, if there are two.
func placement(text string) (c cpus, err error) {
	n := runtime.NumCPU()
	if text == "" {
		return cpus{0, min(1, n-1)}, nil
	}
	if _, err := fmt.Sscanf(text, "%d,%d", &c.ends, &c.director); err != nil || c.ends < 0 || c.director < 0 || max(c.ends, c.director) >= n {
		return c, fmt.Errorf("-cpus %q: want two of CPU 0 to %d: the ends' and the director's", text, n-1)
	}
	return c, nil
}

// pinSelf puts every thread of this process, and what it will start, on a CPU.
func pinSelf(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	tasks, err := readDirNames("/proc/self/task")
	if err != nil {
		return err
	}
	for _, tid := range tasks {
		if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("pin thread %d to CPU %d: %w", tid, cpu, err)
		}
	}
	// The ends' threads wait in system calls, each with its P.
	runtime.GOMAXPROCS(8)
	return nil
}

// newNetwork lays the cables. IPv6 is off: nobody speaks unasked.
func newNetwork(tb testing.TB) *network {
	n := &network{tb: tb, client: lab.New(tb, "client"), director: lab.New(tb, "director"), server: lab.New(tb, "server"), target: vip}
	for _, ns := range []*lab.NS{n.client, n.director, n.server} {
		ns.Sysctl("ipv6/conf/all/disable_ipv6", "1")
		ns.Sysctl("ipv6/conf/default/disable_ipv6", "1")
	}
	lab.Veth(lab.Link{NS: n.client, Dev: "c0"}, lab.Link{NS: n.director, Dev: "d0"}, 1)
	lab.Veth(lab.Link{NS: n.director, Dev: "d1"}, lab.Link{NS: n.server, Dev: "s0"}, 1)
	n.client.IP(fmt.Sprintf("addr add %v/24 dev c0", clientIP), fmt.Sprintf("route add default via %v", directorIP))
	n.director.IP(fmt.Sprintf("addr add %v/24 dev d0", directorIP), fmt.Sprintf("addr add %v/24 dev d1", insideIP))
	n.server.IP(fmt.Sprintf("addr add %v/24 dev s0", serverIP), fmt.Sprintf("route add default via %v", insideIP))
	// The kernel opens and closes thousands of connections a second here.
	n.client.Sysctl("ipv4/ip_local_port_range", "1024 65535")
	n.director.Sysctl("ipv4/ip_local_port_range", "1024 65535")
	return n
}

// past lays the cable by which a server answers its clients past the director.
func (n *network) past() {
	lab.Veth(lab.Link{NS: n.client, Dev: "c1"}, lab.Link{NS: n.server, Dev: "s1"}, 1)
	n.client.IP("addr add 10.3.0.1/24 dev c1")
	n.server.IP("addr add 10.3.0.2/24 dev s1", fmt.Sprintf("route add %v/32 via 10.3.0.1", clientIP))
}

// forwarding makes the kernel a router.
func (n *network) forwarding() { n.director.Sysctl("ipv4/ip_forward", "1") }

// rps gives the director's softirq a CPU of its own.
func (n *network) rps(cpu int) {
	for _, dev := range []string{"d0", "d1"} {
		n.director.Must("sh", "-c", fmt.Sprintf("echo %x >/sys/class/net/%s/queues/rx-0/rps_cpus", 1<<cpu, dev))
	}
}

// nft loads a ruleset in a namespace.
func nft(ns *lab.NS, rules string) { ns.Must("nft", strings.TrimSpace(rules)) }
