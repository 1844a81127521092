package afpacket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A lab is the network namespaces of one test. They and all in them are gone when the
// test ends.

var labs atomic.Uint32

type ns struct {
	tb   testing.TB
	name string
	h    netns.NsHandle
}

// sweep removes what test runs left that ended without their clean-up, by a panic or a
// kill: namespaces whose name holds the number of a process that is no more.
var sweep = sync.OnceFunc(func() {
	old, _ := filepath.Glob("/run/netns/dirigo-ap-*")
	for _, path := range old {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(path), "dirigo-ap-%d-", &pid); err == nil && unix.Kill(pid, 0) == unix.ESRCH {
			_ = exec.Command("ip", "netns", "del", filepath.Base(path)).Run()
		}
	}
})

func newNS(tb testing.TB, role string) *ns {
	tb.Helper()
	sweep()
	n := &ns{tb: tb, name: fmt.Sprintf("dirigo-ap-%d-%d-%s", os.Getpid(), labs.Add(1), role)}
	ip(tb, "netns", "add", n.name)
	tb.Cleanup(func() { ip(tb, "netns", "del", n.name) })
	var err error
	if n.h, err = netns.GetFromName(n.name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { n.h.Close() })
	// Without IPv6 no interface speaks unasked.
	ip(tb, "netns", "exec", n.name, "sh", "-c",
		"for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do test ! -e $f || echo 1 >$f; done")
	ip(tb, "-n", n.name, "link", "set", "lo", "up")
	return n
}

func ip(tb testing.TB, args ...string) {
	tb.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		tb.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// do runs f on a thread in the namespace; the thread ends with it.
func (n *ns) do(f func() error) {
	n.tb.Helper()
	errc := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: a thread in another namespace must not be reused
		if err := netns.Set(n.h); err != nil {
			errc <- err
			return
		}
		errc <- f()
	}()
	if err := <-errc; err != nil {
		n.tb.Fatalf("in %s: %v", n.name, err)
	}
}

// veth joins two namespaces.
func veth(tb testing.TB, a *ns, aName string, b *ns, bName string) {
	tb.Helper()
	ip(tb, "-n", a.name, "link", "add", aName, "type", "veth", "peer", "name", bName, "netns", b.name)
	ip(tb, "-n", a.name, "link", "set", aName, "up")
	ip(tb, "-n", b.name, "link", "set", bName, "up")
}

// pair is the smallest lab: a director's interface d0 and its peer p0.
func pair(tb testing.TB) (dir, peer *ns) {
	dir, peer = newNS(tb, "d"), newNS(tb, "p")
	veth(tb, dir, "d0", peer, "p0")
	return dir, peer
}

// open opens n queues in the namespace.
func (n *ns) open(c Config, queues int) (qs []dataplane.Queue) {
	n.tb.Helper()
	n.do(func() error {
		d, err := New(c)
		if err == nil {
			qs, err = d.Open(queues)
		}
		return err
	})
	for _, q := range qs {
		n.tb.Cleanup(func() { q.Close() })
	}
	return qs
}

// raw opens a plain AF_PACKET socket, which knows nothing of rings and vnet headers.
func (n *ns) raw(iface string, proto uint16) (fd int) {
	n.tb.Helper()
	n.do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return bind(fd, proto, index(iface))
	})
	n.tb.Cleanup(func() { unix.Close(fd) })
	if err := setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF); err != nil {
		n.tb.Fatal(err)
	}
	tv := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		n.tb.Fatal(err)
	}
	return fd
}

// index is an interface's index in the thread's namespace, 0 when there is none.
func index(iface string) int {
	d := &Driver{cfg: Config{Interface: iface}}
	_ = d.lookup()
	return d.index
}

// ethtool switches one offload of an interface by its legacy command, linux/ethtool.h.
func (n *ns) ethtool(iface string, cmd uint32, on bool) {
	n.tb.Helper()
	val := struct{ cmd, data uint32 }{cmd: cmd}
	if on {
		val.data = 1
	}
	n.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		req := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&val)}
		copy(req.name[:], iface)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
			return fmt.Errorf("ethtool command %#x on %s: %w", cmd, iface, errno)
		}
		return nil
	})
}

// Offload switches of linux/ethtool.h.
const (
	setTx  = 0x17 // ETHTOOL_STXCSUM
	setTSO = 0x1f // ETHTOOL_STSO
	setGSO = 0x24 // ETHTOOL_SGSO
)

// A got is a copy of a received frame.
type got struct {
	bytes []byte
	vnet  packet.Vnet
	start uint32
}

// take receives until it has n frames or nothing came for a second.
func take(tb testing.TB, q dataplane.Queue, n int) (all []got) {
	tb.Helper()
	frames := make([]packet.Frame, 64)
	for len(all) < n {
		k, err := q.Receive(frames[:min(len(frames), n-len(all))])
		if err != nil {
			tb.Fatal(err)
		}
		for i := range frames[:k] {
			f := &frames[i]
			if !f.L2 {
				tb.Fatal("L2 is not set")
			}
			all = append(all, got{bytes.Clone(f.Bytes()), f.Vnet, f.Start})
		}
		q.Release()
		if k == 0 {
			if ready, err := Poll([]int{q.FD()}, time.Second, false); err != nil || ready == 0 {
				tb.Fatalf("%d of %d frames, then none for a second (%v)", len(all), n, err)
			}
		}
	}
	return all
}

// idle fails unless nothing waits in q. The veth pair delivers within the send call, so
// what was sent before is there already.
func idle(tb testing.TB, q dataplane.Queue) {
	tb.Helper()
	settle()
	var f [1]packet.Frame
	if n, err := q.Receive(f[:]); n != 0 || err != nil {
		tb.Errorf("received %d frames, %v; want none", n, err)
	}
}

// settle lets softirqs of another CPU finish, and a block become old enough: the only thing
// here that no descriptor announces is that no frame comes.
func settle() { pollOut(-1, max(RawPollMax, 3*retire*time.Millisecond)) }

// testFrame is an Ethernet frame of n bytes with EtherType 0x88b5 (IEEE 802 local
// experimental) and a content that seq determines.
func testFrame(n int, seq uint32) []byte {
	b := make([]byte, n)
	copy(b, []byte{0x02, 0, 0, 0, 0, 0xd0, 0x02, 0, 0, 0, 0, 0xa0, 0x88, 0xb5})
	x := seq*2654435761 + 1
	for i := 14; i < n; i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	if n >= 18 {
		binary.BigEndian.PutUint32(b[14:], seq)
	}
	return b
}

// ownFrame is a frame in a buffer of the caller's own.
func ownFrame(b []byte) *packet.Frame {
	buf := append(make([]byte, packet.Headroom), b...)
	return &packet.Frame{Buf: buf, Start: packet.Headroom, End: uint32(len(buf)), L2: true}
}

func send(tb testing.TB, fd int, b []byte) {
	tb.Helper()
	if _, err := unix.Write(fd, b); err != nil {
		tb.Fatalf("send %d bytes: %v", len(b), err)
	}
}

// modes runs f for each mode.
func modes(t *testing.T, f func(*testing.T, Mode)) {
	for _, m := range []Mode{Ring, Batch, Blocks} {
		t.Run(m.String(), func(t *testing.T) { f(t, m) })
	}
}

// recv reads a packet from a socket of raw or udp. A socket with a time limit is not
// restarted after a signal, and the Go scheduler sends signals (signal(7)).
func recv(fd int, buf []byte) (n int, from unix.Sockaddr, err error) {
	for {
		n, from, err = unix.Recvfrom(fd, buf, 0)
		if err != unix.EINTR {
			return n, from, err
		}
	}
}

// skipsOf reads a queue's skips as another package does.
func skipsOf(q dataplane.Queue) (s skips) {
	names := map[string]*uint64{
		"vlan": &s.vlan, "outgoing": &s.outgoing, "truncated": &s.truncated,
		"malformed": &s.malformed, "refused": &s.refused,
	}
	for name, n := range q.(interface {
		Skips() iter.Seq2[string, uint64]
	}).Skips() {
		*names[name] = n
	}
	return s
}
