// Command peers measures the director beside what a user would take instead: the kernel's
// forwarding, nftables NAT, HAProxy and nginx, and beside a bare forwarder that does no
// work, which is the ceiling. Past that ceiling are the same forwarder over AF_XDP, and an
// eBPF program in the kernel that knows established flows only; where the kernel refuses
// them, their rows say so. All run in the same rounds, on the same machine, in network
// namespaces of their own, so that ratios mean something where absolute figures do not.
//
//	client  c0 ---- d0  director  d1 ---- s0  server
//	   c1 ------------------------------------- s1      (answers of DR and tunnels only)
//
// The ends (generator, clients, servers) are on one CPU and the director's process on the
// other. The kernel's forwarding runs in the softirq of whoever sends, so it appears twice:
// as it is, where the second CPU idles, and with RPS, where the director's softirq has that
// CPU to itself as a process would.
//
// It needs root and the tools that "make tools" installs:
//
//	make bench-peers                          # five rounds, about 20 minutes
//	go run ./bench/peers -quick -only pps1k,kernel,dirigo-nat
package main
