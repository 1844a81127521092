package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/bench/peers/bare"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// A forwarder is one row of the tables: something that stands between client and server.
type forwarder struct {
	name   string // in flags and results
	title  string // for readers
	proxy  bool   // ends TCP connections; datagrams are not its trade
	past   bool   // answers reach the client past it
	tunnel bool   // the server gets packets in a tunnel
	// setting is a latency setting that is not the default: of interest where round trips
	// are measured.
	setting bool
	// rates: of interest for packets a second and one stream, as each packet waits for others.
	rates bool
	// established: it is about flows that are there, not about new connections.
	established bool
	// optional: made of what a kernel may not have, or refuse. Then its row says so.
	optional bool
	// start prepares the director's namespace, and the server's where it must know, and
	// starts the process, if it is one.
	start func(e *env, n *network) *lab.Proc
}

// env is what all samples share.
type env struct {
	cpus
	binary string // the director
	self   string // this program, which is the bare forwarder too
	times  times
	out    string // where results go, without an extension
}

// forwarders are all rows in the order of the tables; with latencies, the director's NAT
// once more for each of these settings.
func forwarders(latencies []string) []forwarder {
	list := []forwarder{
		{name: "kernel", title: "kernel ip_forward", start: kernel(false)},
		{name: "kernel-rps", title: "kernel ip_forward, RPS", start: kernel(true)},
		{name: "nft", title: "nftables NAT", start: nftNAT(false)},
		{name: "nft-rps", title: "nftables NAT, RPS", start: nftNAT(true)},
		{name: "haproxy", title: "HAProxy, mode tcp", proxy: true, start: haproxy},
		{name: "nginx", title: "nginx stream", proxy: true, start: nginxStream},
		{name: "bare-ring", title: "bare AF_PACKET, ring", start: bareForwarder("ring")},
		{name: "bare-batch", title: "bare AF_PACKET, recvmmsg", start: bareForwarder("batch")},
		{name: "bare-blocks", title: "bare AF_PACKET, blocks", rates: true, start: bareForwarder("blocks")},
		{name: "bare-xdp", title: "bare AF_XDP, all offloads off", optional: true, start: bareXDP},
		{name: "ebpf-nat", title: "eBPF NAT of established flows", established: true, optional: true, start: fastNAT(false)},
		{name: "ebpf-nat-rps", title: "eBPF NAT of established flows, RPS", established: true, optional: true, start: fastNAT(true)},
		{name: "dirigo-nat", title: "Dirigo NAT", start: director("nat", "")},
		{name: "dirigo-nat-blocks", title: "Dirigo NAT, mode blocks", rates: true, start: director("nat", "mode = \"blocks\"\n")},
		{name: "dirigo-dr", title: "Dirigo DR", past: true, start: director("dr", "")},
		{name: "dirigo-tun", title: "Dirigo IPIP", past: true, tunnel: true, start: director("tun", "")},
	}
	for _, l := range latencies {
		list = append(list, forwarder{name: "dirigo-nat-" + l, title: "Dirigo NAT, latency " + l, setting: true, start: director("nat", fmt.Sprintf("latency = %q\n", l))})
	}
	return list
}

// kernel routes to the server's own address: no translation, no state.
func kernel(rps bool) func(*env, *network) *lab.Proc {
	return func(e *env, n *network) *lab.Proc {
		n.target = serverIP
		n.forwarding()
		if rps {
			n.rps(e.director)
		}
		return nil
	}
}

// nftNAT translates by conntrack, as the kernel's director would; answers are routed
// back through it.
func nftNAT(rps bool) func(*env, *network) *lab.Proc {
	return func(e *env, n *network) *lab.Proc {
		n.forwarding()
		nft(n.director, fmt.Sprintf("add table ip balance; add chain ip balance in { type nat hook prerouting priority dstnat; }; add rule ip balance in ip daddr %v dnat to %v", vip, serverIP))
		if rps {
			n.rps(e.director)
		}
		return nil
	}
}

// pinned starts the director's process on its CPU.
func pinned(e *env, n *network, args ...string) *lab.Proc {
	return n.director.Start(append([]string{"taskset", "-c", strconv.Itoa(e.director)}, args...)...)
}

// bareForwarder is this program again, with the host's stack kept off its frames.
func bareForwarder(mode string) func(*env, *network) *lab.Proc {
	return func(e *env, n *network) *lab.Proc {
		nft(n.director, fmt.Sprintf(`add table netdev guard; add chain netdev guard out { type filter hook ingress device "d0" priority 0; }; add chain netdev guard in { type filter hook ingress device "d1" priority 0; }; add rule netdev guard out ip daddr %v drop; add rule netdev guard in ip saddr %v drop`, vip, serverIP))
		return startBare(e, n, mode)
	}
}

// bareXDP takes frames away from the host's stack itself, and can take whole ones only.
func bareXDP(e *env, n *network) *lab.Proc {
	n.client.Offloads("c0", false)
	n.server.Offloads("s0", false)
	return startBare(e, n, bare.XDP)
}

// fastNAT is this program's eBPF program; its process has nothing to do.
func fastNAT(rps bool) func(*env, *network) *lab.Proc {
	return func(e *env, n *network) *lab.Proc {
		if rps {
			n.rps(e.director)
		}
		return startBare(e, n, "ebpf")
	}
}

func startBare(e *env, n *network, mode string) *lab.Proc {
	p := pinned(e, n, e.self, "bare", "-mode", mode, "-vip", vip.String(), "-server", serverIP.String(),
		"-client-mac", n.client.MAC("c0").String(), "-server-mac", n.server.MAC("s0").String(), "d0", "d1")
	lab.Until(n.tb, readyTime, func() (bool, string) {
		if p.Ended() {
			n.tb.Fatalf("%v: %s", p.Wait(time.Second), strings.TrimSpace(p.Out.String()))
		}
		return strings.Contains(p.Out.String(), "ready"), p.Out.String()
	})
	return p
}
