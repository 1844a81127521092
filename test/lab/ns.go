package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// NS is a network namespace made for a test. Its lo is up and reverse-path filtering off.
type NS struct {
	Name string // as ip-netns(8) knows it
	Role string // as the test calls it
	t    testing.TB
}

// New makes a namespace, which goes away with t, and everything in it.
func New(t testing.TB, role string) *NS {
	t.Helper()
	n := &NS{Name: fmt.Sprintf("%s%d-%s", owner(), serial.Add(1), role), Role: role, t: t}
	if _, err := output("ip", "netns", "add", n.Name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(n.Name); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	n.IP("link set lo up")
	for _, s := range []string{"all", "default", "lo"} {
		n.Sysctl("ipv4/conf/"+s+"/rp_filter", "0")
	}
	n.Sysctl("ipv6/conf/default/accept_dad", "0") // addresses are there at once
	n.Sysctl("ipv6/conf/all/accept_dad", "0")
	return n
}

// Do runs fn on a thread inside the namespace. Sockets opened there stay there. fn must
// not end its goroutine (t.Fatal).
func (n *NS) Do(fn func()) {
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			failed = err
			return
		}
		defer home.Close()
		there, err := os.Open(filepath.Join(netnsDir, n.Name))
		if err != nil {
			failed = err
			return
		}
		defer there.Close()
		if failed = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); failed != nil {
			return
		}
		defer func() {
			// A thread that stayed would poison whoever runs on it next; one that ends kills
			// the processes it has started (PR_SET_PDEATHSIG).
			if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
				panic(fmt.Sprintf("lab: cannot leave namespace %s: %v", n.Name, err))
			}
			runtime.UnlockOSThread()
		}()
		fn()
	}()
	<-done
	if failed != nil {
		panic(fmt.Sprintf("lab: enter namespace %s: %v", n.Name, failed))
	}
}

// Dial connects from inside the namespace, from the given address if it is valid.
func (n *NS) Dial(ctx context.Context, network, to string, from netip.AddrPort) (c net.Conn, err error) {
	d := net.Dialer{Timeout: 5 * time.Second, FallbackDelay: -1}
	switch {
	case !from.Addr().IsValid():
	case strings.HasPrefix(network, "udp"):
		d.LocalAddr = net.UDPAddrFromAddrPort(from)
	default:
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	n.Do(func() { c, err = d.DialContext(ctx, network, to) })
	return c, err
}

// Listen listens on a TCP address inside the namespace until the test ends.
func (n *NS) Listen(addr string) net.Listener {
	n.t.Helper()
	var l net.Listener
	var err error
	n.Do(func() { l, err = net.Listen("tcp", addr) })
	if err != nil {
		n.t.Fatalf("%s: %v", n.Role, err)
	}
	n.t.Cleanup(func() { l.Close() })
	return l
}

// ListenUDP opens a UDP socket inside the namespace until the test ends.
func (n *NS) ListenUDP(addr netip.AddrPort) *net.UDPConn {
	n.t.Helper()
	var c *net.UDPConn
	var err error
	n.Do(func() { c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr)) })
	if err != nil {
		n.t.Fatalf("%s: %v", n.Role, err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}

// hasSysctl reports whether the namespace has a setting under /proc/sys/net.
func (n *NS) hasSysctl(key string) (has bool) {
	n.Do(func() {
		_, err := os.Stat("/proc/sys/net/" + key)
		has = err == nil
	})
	return has
}

// Sysctl writes a value under /proc/sys/net of the namespace.
func (n *NS) Sysctl(key, value string) {
	n.t.Helper()
	var err error
	n.Do(func() { err = os.WriteFile("/proc/sys/net/"+key, []byte(value), 0) })
	if err != nil {
		n.t.Fatalf("%s: %v", n.Role, err)
	}
}

// IP runs lines of ip(8) in the namespace, in one process.
func (n *NS) IP(lines ...string) {
	n.t.Helper()
	if err := batch(n.Name, lines); err != nil {
		n.t.Fatalf("%s: %v", n.Role, err)
	}
}

// MAC is the link address of an interface in the namespace.
func (n *NS) MAC(dev string) net.HardwareAddr {
	n.t.Helper()
	var i *net.Interface
	var err error
	n.Do(func() { i, err = net.InterfaceByName(dev) })
	if err != nil {
		n.t.Fatalf("%s: %s: %v", n.Role, dev, err)
	}
	return i.HardwareAddr
}
