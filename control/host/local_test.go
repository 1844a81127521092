package host

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/songgao/water"
)

// tun is the director's end of a TUN device.
type tun struct {
	t testing.TB
	f *os.File
}

// openTUN makes the device in the namespace. The device lives as long as its descriptor.
func openTUN(t testing.TB, ns, name string) *tun {
	t.Helper()
	u := &tun{t: t}
	in(t, ns, func() {
		dev, err := water.New(water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{Name: name}})
		if err != nil {
			t.Error(err)
			return
		}
		// water's file has been put into blocking mode; a duplicate that polls has deadlines.
		f := dev.ReadWriteCloser.(*os.File)
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			t.Error(err)
			return
		}
		dev.Close()
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Error(err)
		}
		u.f = os.NewFile(uintptr(fd), "tun")
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { u.f.Close() })
	return u
}

// read is the next packet the host sends into the device that is not the host's own
// neighbour discovery; nil when none comes in time.
func (u *tun) read(wait time.Duration) gopacket.Packet {
	u.t.Helper()
	buf := make([]byte, 1<<16)
	if err := u.f.SetReadDeadline(time.Now().Add(wait)); err != nil {
		u.t.Fatal(err)
	}
	for {
		n, err := u.f.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			u.t.Fatal(err)
		}
		first := layers.LayerTypeIPv4
		if buf[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
		if p := gopacket.NewPacket(append([]byte(nil), buf[:n]...), first, gopacket.Default); !isNDP(p) {
			return p
		}
	}
}

// ends of a packet as addresses with ports.
func ends(p gopacket.Packet) (src, dst netip.AddrPort) {
	s, d := p.NetworkLayer().NetworkFlow().Endpoints()
	sa, _ := netip.AddrFromSlice(s.Raw())
	da, _ := netip.AddrFromSlice(d.Raw())
	var sp, dp uint16
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		sp, dp = uint16(l.SrcPort), uint16(l.DstPort)
	case *layers.UDP:
		sp, dp = uint16(l.SrcPort), uint16(l.DstPort)
	}
	return netip.AddrPortFrom(sa, sp), netip.AddrPortFrom(da, dp)
}

func synPacket(t testing.TB, src, dst netip.AddrPort) []byte {
	l := &lab{t: t, v6: dst.Addr().Is6()}
	return serialize(t, l.ip(src.Addr(), dst.Addr(), layers.IPProtocolTCP,
		&layers.TCP{SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), SYN: true, Seq: 1, Window: 1000})...)
}

// localHost is a namespace with a DIP, a default route that leads elsewhere, strict
// reverse-path filtering if wanted, and listeners.
func localHost(t testing.TB, rpFilter string) string {
	t.Helper()
	ns, far := newNS(t), newNS(t)
	ip(t, ns, "link add eth0 type veth peer name p0 netns "+far)
	ip(t, far, "link set p0 up")
	ip(t, ns, "link set eth0 up")
	ip(t, ns, "addr add 10.8.0.2/24 dev eth0")
	ip(t, ns, "addr add 2001:db8:8::2/64 dev eth0 nodad")
	ip(t, ns, "route add default via 10.8.0.1")
	ip(t, ns, "route add default via 2001:db8:8::1")
	sysctl(t, ns, "ipv4/conf/all/rp_filter", rpFilter)
	sysctl(t, ns, "ipv4/conf/default/rp_filter", rpFilter)
	return ns
}

func listen(t testing.TB, ns, at string) {
	t.Helper()
	in(t, ns, func() {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { ln.Close() })
	})
}

// answer writes a SYN for the server into the device and returns what comes back out.
func (u *tun) answer(s Server, client netip.AddrPort, wait time.Duration) gopacket.Packet {
	u.t.Helper()
	if _, err := u.f.Write(synPacket(u.t, client, netip.AddrPortFrom(s.Addr, s.Port))); err != nil {
		u.t.Fatal(err)
	}
	return u.read(wait)
}

func clientOf(s Server, port int) netip.AddrPort {
	if s.Addr.Is6() {
		return netip.AddrPortFrom(addr("2001:db8:51::7"), uint16(port))
	}
	return netip.AddrPortFrom(addr("198.51.100.7"), uint16(port))
}

func install(t testing.TB, ns string, l *Local, servers ...Server) {
	t.Helper()
	in(t, ns, func() {
		if err := l.Install(servers); err != nil {
			t.Error(err)
		}
	})
}

// bare is what ip(8) says of rules and of the tables a director may touch.
func bare(t testing.TB, ns string) string {
	rules := ip(t, ns, "rule") + ip(t, ns, "-6 rule")
	for _, line := range strings.Split(ip(t, ns, "route show table all")+ip(t, ns, "-6 route show table all"), "\n") {
		if strings.Contains(line, "table") && !strings.Contains(line, "table local") {
			rules += line + "\n"
		}
	}
	return rules
}

// A client's SYN, written into the TUN for an address of the host or of 127.0.0.0/8, is
// answered into the TUN, whatever the host's reverse-path filter; and all is undone.
func TestLocalServersAnswerIntoTheTUN(t *testing.T) {
	for _, rp := range []string{"0", "1", "2"} {
		t.Run("rp_filter="+rp, func(t *testing.T) {
			ns := localHost(t, rp)
			servers := []Server{
				{addr("127.0.0.1"), packet.TCP, 8080},
				{addr("127.0.0.2"), packet.TCP, 8080},
				{addr("10.8.0.2"), packet.TCP, 80},
				{addr("2001:db8:8::2"), packet.TCP, 80},
			}
			for _, s := range servers {
				listen(t, ns, netip.AddrPortFrom(s.Addr, s.Port).String())
			}
			clean := bare(t, ns)
			u := openTUN(t, ns, "tun0")
			l := NewLocal("x", "tun0")
			install(t, ns, l, servers...)
			for i, s := range servers {
				client := clientOf(s, 4000+i)
				p := u.answer(s, client, bound)
				if p == nil {
					t.Errorf("no answer of %v in the TUN", s)
					continue
				}
				tcp, ok := p.TransportLayer().(*layers.TCP)
				src, dst := ends(p)
				if !ok || !tcp.SYN || !tcp.ACK || src != netip.AddrPortFrom(s.Addr, s.Port) || dst != client {
					t.Errorf("%v answered %v", s, p)
				}
			}
			in(t, ns, func() {
				if err := l.Remove(); err != nil {
					t.Error(err)
				}
			})
			if got := bare(t, ns); got != clean {
				t.Errorf("after Remove:\n%s\nbefore:\n%s", got, clean)
			}
			in(t, ns, func() {
				for key, want := range map[string]string{"rp_filter": rp, "route_localnet": "0"} {
					if got, _ := os.ReadFile("/proc/sys/net/ipv4/conf/tun0/" + key); string(got) != want+"\n" {
						t.Errorf("after Remove %s is %q, was %s", key, got, want)
					}
				}
			})
		})
	}
}

// Each setting is needed: without it the host stays silent, and with it again it answers.
func TestLocalDeliveryNeedsRuleAndRouteLocalnet(t *testing.T) {
	const silence = 200 * time.Millisecond
	ns := localHost(t, "0")
	loop, dip := Server{addr("127.0.0.1"), packet.TCP, 8080}, Server{addr("10.8.0.2"), packet.TCP, 80}
	for _, s := range []Server{loop, dip} {
		listen(t, ns, netip.AddrPortFrom(s.Addr, s.Port).String())
	}
	u := openTUN(t, ns, "tun0")
	l := NewLocal("x", "tun0")
	install(t, ns, l, loop)
	if p := u.answer(dip, clientOf(dip, 4000), silence); p != nil {
		t.Errorf("without a rule %v answered into the TUN: %v", dip, p)
	}
	in(t, ns, func() {
		if err := l.Update([]Server{loop, dip}); err != nil {
			t.Error(err)
		}
	})
	if u.answer(dip, clientOf(dip, 4001), bound) == nil {
		t.Errorf("with a rule %v did not answer", dip)
	}
	sysctl(t, ns, "ipv4/conf/tun0/route_localnet", "0")
	if p := u.answer(loop, clientOf(loop, 4002), silence); p != nil {
		t.Errorf("without route_localnet %v answered: %v", loop, p)
	}
	sysctl(t, ns, "ipv4/conf/tun0/route_localnet", "1")
	if u.answer(loop, clientOf(loop, 4003), bound) == nil {
		t.Errorf("with route_localnet %v did not answer", loop)
	}
	in(t, ns, func() {
		if err := l.Update([]Server{loop}); err != nil {
			t.Error(err)
		}
	})
	if rules := ip(t, ns, "rule"); strings.Contains(rules, "10.8.0.2") || !strings.Contains(rules, "from 127.0.0.1 ipproto tcp sport 8080") {
		t.Errorf("after Update:\n%s", rules)
	}
}

// A UDP server bound to its address answers into the TUN; a closed TCP port's RST comes
// the same way.
func TestLocalUDPAndRefusal(t *testing.T) {
	ns := localHost(t, "1")
	udp, closed := Server{addr("127.0.0.1"), packet.UDP, 5353}, Server{addr("127.0.0.1"), packet.TCP, 9}
	in(t, ns, func() {
		c, err := net.ListenPacket("udp", "127.0.0.1:5353")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			buf := make([]byte, 100)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(buf[:n], from)
			}
		}()
	})
	u := openTUN(t, ns, "tun0")
	install(t, ns, NewLocal("x", "tun0"), udp, closed)
	client := clientOf(udp, 4000)
	l := &lab{t: t}
	query := serialize(t, l.ip(client.Addr(), udp.Addr, layers.IPProtocolUDP, &layers.UDP{SrcPort: 4000, DstPort: 5353}, gopacket.Payload("who"))...)
	if _, err := u.f.Write(query); err != nil {
		t.Fatal(err)
	}
	if p := u.read(bound); p == nil || p.ApplicationLayer() == nil || string(p.ApplicationLayer().Payload()) != "who" {
		t.Errorf("UDP answer: %v", p)
	} else if src, dst := ends(p); src != netip.AddrPortFrom(udp.Addr, 5353) || dst != client {
		t.Errorf("UDP answer from %v to %v", src, dst)
	}
	if p := u.answer(closed, client, bound); p == nil || !p.TransportLayer().(*layers.TCP).RST {
		t.Errorf("closed port: %v", p)
	}
}

// What a crashed director left goes at the next start, and by ClearLocal; what another
// director or the administrator made stays.
func TestLocalLeftovers(t *testing.T) {
	ns := localHost(t, "0")
	ip(t, ns, "rule add from 10.9.9.9 lookup 100 priority 17481")
	u := openTUN(t, ns, "tun0")
	_ = u
	other := Server{addr("127.0.0.1"), packet.TCP, 1}
	install(t, ns, NewLocal("other", "tun0"), other)
	foreign := bare(t, ns)

	crashed := NewLocal("x", "tun0")
	install(t, ns, crashed, Server{addr("127.0.0.1"), packet.TCP, 2}, Server{addr("2001:db8:8::2"), packet.TCP, 2})
	install(t, ns, NewLocal("x", "tun0"), Server{addr("127.0.0.1"), packet.TCP, 3})
	rules := ip(t, ns, "rule") + ip(t, ns, "-6 rule")
	if strings.Contains(rules, "sport 2 ") || !strings.Contains(rules, "sport 3 ") || !strings.Contains(rules, "sport 1 ") {
		t.Errorf("after the next start:\n%s", rules)
	}
	in(t, ns, func() {
		for range 2 { // the second finds nothing, which is no error
			if err := ClearLocal("x"); err != nil {
				t.Error(err)
			}
		}
	})
	if got := bare(t, ns); got != foreign {
		t.Errorf("after ClearLocal:\n%s\nwanted:\n%s", got, foreign)
	}
}

func TestLocalRefusesWhatCannotWork(t *testing.T) {
	ns := localHost(t, "0")
	openTUN(t, ns, "tun0")
	clean := bare(t, ns)
	in(t, ns, func() {
		for _, c := range []struct {
			tun  string
			s    Server
			want string
		}{
			{"tun0", Server{addr("::1"), packet.TCP, 80}, "::1 cannot"},
			{"tun0", Server{addr("10.8.0.2"), packet.TCP, 0}, "a port is needed"},
			{"tun0", Server{addr("10.8.0.2"), packet.ICMP, 1}, "no ports"},
			{"tun0", Server{Proto: packet.TCP, Port: 1}, "without an address"},
			{"tun9", Server{addr("127.0.0.1"), packet.TCP, 80}, "not found"},
		} {
			if err := NewLocal("x", c.tun).Install([]Server{c.s}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v through %s: error %v, want %q", c.s, c.tun, err, c.want)
			}
		}
	})
	// Fails half-way: the IPv4 part is in place when the kernel refuses the IPv6 route.
	sysctl(t, ns, "ipv6/conf/tun0/disable_ipv6", "1")
	in(t, ns, func() {
		err := NewLocal("x", "tun0").Install([]Server{{addr("127.0.0.1"), packet.TCP, 80}, {addr("2001:db8:8::2"), packet.TCP, 80}})
		if err == nil || !strings.Contains(err.Error(), "default route") {
			t.Errorf("IPv6 server with IPv6 off on the device: %v", err)
		}
	})
	if got := bare(t, ns); got != clean {
		t.Errorf("after refusals:\n%s", got)
	}
}
