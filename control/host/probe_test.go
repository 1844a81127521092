package host

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// probeSocket dials UDP from inside the namespace by a socket that is bound to the TUN.
func probeSocket(t *testing.T, ns string, from, to netip.AddrPort) net.Conn {
	t.Helper()
	var c net.Conn
	in(t, ns, func() {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(from), Control: func(_, _ string, raw syscall.RawConn) (err error) {
			if e := raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "tun0") }); e != nil {
				return e
			}
			return err
		}}
		var err error
		if c, err = d.Dial("udp", to.String()); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func udpPacket(t *testing.T, src, dst netip.AddrPort, payload string) []byte {
	l := &lab{t: t, v6: dst.Addr().Is6()}
	return serialize(t, l.ip(src.Addr(), dst.Addr(), layers.IPProtocolUDP,
		&layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}, gopacket.Payload(payload))...)
}

// A socket bound to the TUN speaks with a VIP through it, whether or not the host has the
// VIP too, whatever the host's reverse-path filter; and all is undone.
func TestProbesGoThroughTheTUN(t *testing.T) {
	for _, rp := range []string{"0", "1"} {
		for _, v6 := range []bool{false, true} {
			for _, there := range []bool{false, true} {
				ns := localHost(t, rp)
				from, vip, where := netip.MustParseAddrPort("10.8.0.2:61000"), addr("10.8.0.100"), "/32 dev eth0"
				if v6 {
					from, vip, where = netip.MustParseAddrPort("[2001:db8:8::2]:61000"), addr("2001:db8:8::100"), "/128 dev eth0 nodad"
				}
				if there {
					ip(t, ns, "addr add "+vip.String()+where)
				}
				clean := bare(t, ns)
				u := openTUN(t, ns, "tun0")
				l := NewLocal("x", "tun0")
				install(t, ns, l, Server{addr("10.8.0.2"), packet.TCP, 80})
				in(t, ns, func() {
					for range 2 {
						if err := l.OpenProbes(v6); err != nil {
							t.Error(err)
						}
					}
				})
				to := netip.AddrPortFrom(vip, 53)
				c := probeSocket(t, ns, from, to)
				if _, err := c.Write([]byte("name?")); err != nil {
					t.Fatal(err)
				}
				p := u.read(bound)
				if p == nil {
					t.Fatalf("rp_filter %s, %v, there %v: nothing came by the TUN", rp, vip, there)
				}
				if src, dst := ends(p); src != from || dst != to {
					t.Errorf("from %v to %v, want %v to %v", src, dst, from, to)
				}
				if _, err := u.f.Write(udpPacket(t, to, from, "me")); err != nil {
					t.Fatal(err)
				}
				c.SetReadDeadline(time.Now().Add(bound))
				buf := make([]byte, 9)
				if n, err := c.Read(buf); string(buf[:n]) != "me" {
					t.Errorf("rp_filter %s, %v, there %v: the host got %q, %v", rp, vip, there, buf[:n], err)
				}
				in(t, ns, func() {
					if err := l.Remove(); err != nil {
						t.Error(err)
					}
					if out := ip(t, ns, "-4 addr show dev tun0"); strings.Contains(out, "inet") {
						t.Errorf("after Remove: %s", out)
					}
					if got, _ := os.ReadFile("/proc/sys/net/ipv4/conf/tun0/accept_local"); string(got) != "0\n" {
						t.Errorf("after Remove accept_local is %q", got)
					}
				})
				if got := bare(t, ns); got != clean {
					t.Errorf("after Remove:\n%s\nbefore:\n%s", got, clean)
				}
				u.f.Close()
			}
		}
	}
}

func TestProbesNeedLocalDelivery(t *testing.T) {
	if err := NewLocal("x", "tun0").OpenProbes(false); err == nil || !strings.Contains(err.Error(), "not installed") {
		t.Errorf("before Install: %v", err)
	}
}
