package tun

import (
	"fmt"
	"iter"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A host is a network namespace of one test, gone with all in it when the test ends.
type host struct {
	tb   testing.TB
	name string
	h    netns.NsHandle
}

var hosts atomic.Uint32

// sweep removes what test runs left that ended without their clean-up, by a panic or a
// kill: namespaces whose name holds the number of a process that is no more.
var sweep = sync.OnceFunc(func() {
	old, _ := filepath.Glob("/run/netns/dirigo-tun-*")
	for _, path := range old {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(path), "dirigo-tun-%d-", &pid); err == nil && unix.Kill(pid, 0) == unix.ESRCH {
			_ = exec.Command("ip", "netns", "del", filepath.Base(path)).Run()
		}
	}
})

func newHost(tb testing.TB) *host {
	tb.Helper()
	sweep()
	n := &host{tb: tb, name: fmt.Sprintf("dirigo-tun-%d-%d", os.Getpid(), hosts.Add(1))}
	n.command("ip", "netns", "add", n.name)
	tb.Cleanup(func() { n.command("ip", "netns", "del", n.name) })
	var err error
	if n.h, err = netns.GetFromName(n.name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { n.h.Close() })
	// Without its own IPv6 chatter a new device is silent; tests that want IPv6 say so.
	n.ipv6(false)
	n.ip("link", "set", "lo", "up")
	return n
}

func (n *host) ipv6(on bool) {
	n.tb.Helper()
	v := map[bool]string{true: "0", false: "1"}[on]
	n.command("ip", "netns", "exec", n.name, "sh", "-c",
		"for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do test ! -e $f || echo "+v+" >$f; done")
}

func (n *host) ip(args ...string) {
	n.tb.Helper()
	n.command("ip", append([]string{"-n", n.name}, args...)...)
}

func (n *host) command(name string, args ...string) {
	n.tb.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		n.tb.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// has reports whether the host has the interface.
func (n *host) has(iface string) bool {
	return exec.Command("ip", "-n", n.name, "link", "show", iface).Run() == nil
}

// awaitLocal waits until the host takes packets to its address addr: the kernel adds an
// IPv6 address's local route from a work queue (addrconf_dad_work).
func (n *host) awaitLocal(addr string) {
	n.tb.Helper()
	for range 1000 {
		out, err := exec.Command("ip", "-n", n.name, "-6", "route", "show", "table", "local", addr).CombinedOutput()
		if err != nil {
			n.tb.Fatalf("ip route: %v: %s", err, out)
		}
		if len(out) > 0 {
			return
		}
	}
	n.tb.Fatalf("no local route to %s", addr)
}

// do runs f on a thread in the namespace; the thread ends with it.
func (n *host) do(f func() error) error {
	errc := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: a thread in another namespace must not be reused
		if err := netns.Set(n.h); err != nil {
			errc <- err
			return
		}
		errc <- f()
	}()
	return <-errc
}

// open opens n queues on the host.
func (n *host) open(c Config, queues int) (qs []dataplane.Queue, err error) {
	err = n.do(func() error {
		d, err := New(c)
		if err == nil {
			qs, err = d.Open(queues)
		}
		return err
	})
	for _, q := range qs {
		n.tb.Cleanup(func() { q.Close() })
	}
	return qs, err
}

func (n *host) mustOpen(c Config, queues int) []dataplane.Queue {
	n.tb.Helper()
	qs, err := n.open(c, queues)
	if err != nil {
		n.tb.Fatal(err)
	}
	return qs
}

// udp opens a UDP socket of the host, bound to addr.
func (n *host) udp(network, addr string) *net.UDPConn {
	n.tb.Helper()
	var c *net.UDPConn
	if err := n.do(func() error {
		a, err := net.ResolveUDPAddr(network, addr)
		if err == nil {
			c, err = net.ListenUDP(network, a)
		}
		return err
	}); err != nil {
		n.tb.Fatal(err)
	}
	n.tb.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func sendTo(tb testing.TB, c *net.UDPConn, to string, payload []byte) {
	tb.Helper()
	a, err := net.ResolveUDPAddr("udp", to)
	if err == nil {
		_, err = c.WriteTo(payload, a)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// ready waits until a packet waits in one of qs, and reports false after a second.
func ready(tb testing.TB, qs ...dataplane.Queue) bool {
	tb.Helper()
	var fds []unix.PollFd
	for _, q := range qs {
		fds = append(fds, unix.PollFd{Fd: int32(q.FD()), Events: unix.POLLIN})
	}
	for {
		n, err := unix.Poll(fds, 1000)
		if err != unix.EINTR {
			return n > 0 && err == nil
		}
	}
}

// receive receives n packets, which stay lent.
func receive(tb testing.TB, q dataplane.Queue, n int) []packet.Frame {
	tb.Helper()
	frames := make([]packet.Frame, n)
	for have := 0; have < n; {
		k, err := q.Receive(frames[have:])
		if err != nil {
			tb.Fatal(err)
		}
		if have += k; have < n && !ready(tb, q) {
			tb.Fatalf("%d of %d packets, then none for a second", have, n)
		}
	}
	return frames
}

// udpPacket builds a packet with finished checksums by an encoder that is not ours.
func udpPacket(tb testing.TB, src, dst string, sport, dport int, payload []byte) []byte {
	tb.Helper()
	udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	if s := net.ParseIP(src); s.To4() != nil {
		ip = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: s, DstIP: net.ParseIP(dst)}
	} else {
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: s, DstIP: net.ParseIP(dst)}
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		tb.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(payload)); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// ownFrame is a packet in a buffer of the caller's own.
func ownFrame(b []byte) *packet.Frame {
	buf := append(make([]byte, packet.Headroom), b...)
	return &packet.Frame{Buf: buf, Start: packet.Headroom, End: uint32(len(buf))}
}

// refused reads a queue's skips as another package does.
func refused(q dataplane.Queue) (n uint64) {
	for reason, k := range q.(interface {
		Skips() iter.Seq2[string, uint64]
	}).Skips() {
		if reason == "refused" {
			n = k
		}
	}
	return n
}
