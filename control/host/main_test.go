package host

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// bound is how long anything that has to happen may take.
const bound = 5 * time.Second

// childEnv makes the test binary a director that installs a guard in the namespace it
// names, says so, and waits to be killed.
const childEnv = "DIRIGO_TEST_GUARD_IN"

func TestMain(m *testing.M) {
	if ns := os.Getenv(childEnv); ns != "" {
		if err := child(ns); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func child(ns string) error {
	runtime.LockOSThread()
	h, err := netns.GetFromName(ns)
	if err != nil {
		return err
	}
	if err := netns.Set(h); err != nil {
		return err
	}
	if err := NewGuard("crash").Install([]string{"d0"}, Rules{Services: []conf.Service{tcpService("10.9.9.9", 80)}}); err != nil {
		return err
	}
	fmt.Println("installed")
	_, err = os.Stdin.Read(make([]byte, 1)) // the parent never writes
	return err
}

var nsCount atomic.Int32

// newNS makes a network namespace of its own for the test, loopback up.
func newNS(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("dgh%d-%d", os.Getpid(), nsCount.Add(1))
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	ip(t, name, "link set lo up")
	return name
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ip runs one ip(8) command line in a namespace.
func ip(t testing.TB, ns, line string) string {
	t.Helper()
	return run(t, "ip", append([]string{"-n", ns}, strings.Fields(line)...)...)
}

// nft runs the nft binary, the independent witness, in a namespace.
func nft(t testing.TB, ns, line string) string {
	t.Helper()
	return run(t, "ip", append([]string{"netns", "exec", ns, "nft"}, strings.Fields(line)...)...)
}

func sysctl(t testing.TB, ns, key, value string) {
	t.Helper()
	in(t, ns, func() {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
			t.Error(err)
		}
	})
}

// in runs f on a thread that is in the namespace and ends with it.
func in(t testing.TB, ns string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		enter(t, ns)
		f()
	}()
	<-done
}

// enter moves the calling goroutine's thread into the namespace for good: the thread is
// never unlocked, so the runtime throws it away with the goroutine.
func enter(t testing.TB, ns string) {
	runtime.LockOSThread()
	h, err := netns.GetFromName(ns)
	if err != nil {
		t.Errorf("namespace %s: %v", ns, err)
		runtime.Goexit()
	}
	defer h.Close()
	if err := netns.Set(h); err != nil {
		t.Errorf("enter %s: %v", ns, err)
		runtime.Goexit()
	}
}

// awaitUp waits until an interface may send: the kernel gives it a queue a moment after
// its carrier came (linkwatch), and drops what is sent before.
func awaitUp(t testing.TB, ns, ifname string) {
	t.Helper()
	for end := time.Now().Add(bound); !strings.Contains(ip(t, ns, "link show dev "+ifname), "state UP"); {
		if time.Now().After(end) {
			t.Fatalf("%s did not come up", ifname)
		}
	}
}

// awaitLocal waits until the host takes IPv6 packets to these addresses for its own.
func awaitLocal(t testing.TB, ns string, addrs ...netip.Addr) {
	t.Helper()
	for end := time.Now().Add(bound); ; {
		table, missing := ip(t, ns, "-6 route show table local"), netip.Addr{}
		for _, a := range addrs {
			if !strings.Contains(table, "local "+a.String()+" ") {
				missing = a
			}
		}
		if !missing.IsValid() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v is not among the host's local routes:\n%s", missing, table)
		}
	}
}

// wire is a raw socket on an interface: it sees every frame that comes in there.
type wire struct {
	t     testing.TB
	fd    int
	mac   net.HardwareAddr
	index int
}

func openWire(t testing.TB, ns, ifname string) *wire {
	t.Helper()
	w := &wire{t: t}
	in(t, ns, func() {
		i, err := net.InterfaceByName(ifname)
		if err != nil {
			t.Errorf("%s: %v", ifname, err)
			return
		}
		w.mac, w.index = i.HardwareAddr, i.Index
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		if err := unix.SetsockoptInt(w.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			t.Error(err)
		}
		tv := unix.NsecToTimeval(bound.Nanoseconds())
		if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			t.Error(err)
		}
		if err := unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: i.Index}); err != nil { // ETH_P_ALL
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

func (w *wire) send(frame []byte) {
	w.t.Helper()
	if _, err := unix.Write(w.fd, frame); err != nil {
		w.t.Fatal(err)
	}
}

// receive is the next frame, or nil when none comes within the bound.
func (w *wire) receive() gopacket.Packet {
	buf := make([]byte, 1<<16)
	n, err := unix.Read(w.fd, buf)
	if err != nil {
		return nil
	}
	return gopacket.NewPacket(buf[:n], layers.LayerTypeEthernet, gopacket.Default)
}

// until collects frames up to the one that is wanted, which is not among them.
func (w *wire) until(wanted func(gopacket.Packet) bool) (before []gopacket.Packet) {
	w.t.Helper()
	for {
		p := w.receive()
		if p == nil {
			w.t.Fatalf("the awaited frame did not come; before it: %v", before)
		}
		if wanted(p) {
			return before
		}
		before = append(before, p)
	}
}

// serialize builds a packet, checksums and lengths filled in.
func serialize(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// tcpService is a service with real servers "addr port method".
func tcpService(vip string, port uint16, servers ...conf.Server) conf.Service {
	return conf.Service{Key: conf.ServiceKey{Proto: packet.TCP, Addr: addr(vip), Port: port}, Servers: servers}
}

func nat(rip string, port uint16) conf.Server {
	return conf.Server{Addr: addr(rip), Port: port, Forward: conf.NAT, Weight: 1}
}
