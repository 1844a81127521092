package realserver

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The client is the director's host, so that one link does for all.
const client4, client6 = "203.0.113.1", "2001:db8:1::1"

// from4 and from6 are the inner packets of a client on the director's host.
func from4(t *testing.T, dst string, data []byte) []byte {
	ip := ip4(client4, dst, layers.IPProtocolUDP, 0)
	udp := &layers.UDP{SrcPort: 5000, DstPort: 7}
	_ = udp.SetNetworkLayerForChecksum(ip) // it knows IPv4
	return serialize(t, ip, udp, gopacket.Payload(data))
}

func from6(t *testing.T, dst string, data []byte) []byte {
	b := inner6(t, dst, data)
	ip := &layers.IPv6{}
	if err := ip.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		t.Fatal(err)
	}
	ip.SrcIP = []byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, 15: 1}
	udp := &layers.UDP{SrcPort: 5000, DstPort: 7}
	_ = udp.SetNetworkLayerForChecksum(ip) // it knows IPv6
	return serialize(t, ip, udp, gopacket.Payload(data))
}

// A datagram of each tunnel reaches an echo service at the VIP, and its answer the
// client, up to what an IP packet can hold; with strict reverse path filtering too,
// which the packet's source, not behind the tunnel, would not pass.
func TestDecapsulates(t *testing.T) {
	for _, filter := range []string{"0", "1", "2"} {
		t.Run("rp_filter "+filter, func(t *testing.T) { decapsulates(t, filter) })
	}
}

// awaitEcho waits until the VIP answers by IPv6, and says how often it asked: Linux takes a
// moment until an address is used and the way to a neighbour known, and keeps few packets
// meanwhile.
func awaitEcho(t *testing.T, p *pair, six net.PacketConn, buf []byte) (asked int) {
	t.Helper()
	out := p.dial("ip4:41", "203.0.113.2")
	for give := time.Now().Add(bound); ; {
		if _, err := out.Write(from6(t, vip6.String(), nil)); err != nil {
			t.Fatal(err)
		}
		asked++
		_ = six.SetReadDeadline(time.Now().Add(bound / 20))
		if _, _, err := six.ReadFrom(buf); err == nil {
			break
		} else if time.Now().After(give) {
			t.Fatalf("the VIP does not answer by IPv6: %v", err)
		}
	}
	for err := error(nil); err == nil; { // what was asked more than once
		_ = six.SetReadDeadline(time.Now().Add(bound / 100))
		_, _, err = six.ReadFrom(buf)
	}
	return asked
}

func decapsulates(t *testing.T, filter string) {
	p := newPair(t)
	p.set("ipv4/conf/all/rp_filter", filter)
	p.set("ipv4/conf/default/rp_filter", filter)
	before := p.settings()
	s := p.serve("--vip", vip4.String(), "--vip", vip6.String(), "--decap", "--tun", "decap7", "--gue-port", fmt.Sprint(guePort))
	p.echo()
	four, six := p.listen("udp4", client4+":5000"), p.listen("udp6", "["+client6+"]:5000")
	icmp := p.listen("ip4:icmp", client4)
	buf := make([]byte, 1<<16)
	asked := awaitEcho(t, p, six, buf)
	for _, c := range []struct {
		name, network, server string
		v6                    bool
		wrap                  func([]byte) []byte
	}{
		{"IPIP", "ip4:4", "203.0.113.2", false, nil},
		{"IPv6 in IPv4", "ip4:41", "203.0.113.2", true, nil},
		{"GRE", "ip4:47", "203.0.113.2", false, func(b []byte) []byte { return greOf(t, false, b) }},
		{"GRE with checksum", "ip4:47", "203.0.113.2", false, func(b []byte) []byte { return greOf(t, true, b) }},
		{"GUE", "udp4", fmt.Sprintf("203.0.113.2:%d", guePort), false, gueOf},
		{"GUE of IPv6", "udp4", fmt.Sprintf("203.0.113.2:%d", guePort), true, gueOf},
		{"IPv4 in IPv6", "ip6:4", "2001:db8:1::2", false, nil},
		{"IPv6 in IPv6", "ip6:41", "2001:db8:1::2", true, nil},
		{"GRE in IPv6", "ip6:47", "2001:db8:1::2", false, func(b []byte) []byte { return greOf(t, false, b) }},
		{"GUE in IPv6", "udp6", fmt.Sprintf("[2001:db8:1::2]:%d", guePort), true, gueOf},
	} {
		out := p.dial(c.network, c.server)
		// Less one inner and one outer header of 40 bytes each, and 20 of UDP, GUE or GRE:
		// the longest a datagram through all of these can be.
		for _, size := range []int{0, 1, 1400, 9000, 65535 - 100} {
			data := bytes.Repeat([]byte{byte(size), 0xa5, 0x00}, size/3+1)[:size]
			answers, b := four, []byte(nil)
			if c.v6 {
				answers, b = six, from6(t, vip6.String(), data)
			} else {
				b = from4(t, vip4.String(), data)
			}
			if c.wrap != nil {
				b = c.wrap(b)
			}
			if _, err := out.Write(b); err != nil {
				t.Fatalf("%s, %d bytes: %v", c.name, size, err)
			}
			if err := answers.SetReadDeadline(time.Now().Add(bound)); err != nil {
				t.Fatal(err)
			}
			n, from, err := answers.ReadFrom(buf)
			if err != nil {
				t.Fatalf("%s, %d bytes: no answer: %v", c.name, size, err)
			}
			want := vip4.String() + ":7"
			if c.v6 {
				want = "[" + vip6.String() + "]:7"
			}
			if from.String() != want || !bytes.Equal(buf[:n], data) {
				t.Errorf("%s, %d bytes: answer of %d bytes from %v, want %s", c.name, size, n, from, want)
			}
		}
	}
	// The kernel would have said so before any answer: it never heard of these protocols.
	if err := icmp.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, from, err := icmp.ReadFrom(buf); err == nil {
		t.Errorf("ICMP from %v: % x", from, buf[:n])
	}

	// Another address of the host is not to be had through the tunnel.
	ipip := p.dial("ip4:4", "203.0.113.2")
	for range 3 {
		if _, err := ipip.Write(from4(t, "203.0.113.2", []byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ipip.Write([]byte("no packet")); err != nil {
		t.Fatal(err)
	}
	if _, err := ipip.Write(from4(t, vip4.String(), nil)); err != nil { // when it is answered the others have been judged
		t.Fatal(err)
	}
	if _, _, err := four.ReadFrom(buf); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	s.until("GUE ")
	want := [][]string{ // delivered, not for a VIP, not understood, too long, not taken, no room
		{"IPIP", "11", "3", "1", "0", "0", "0"}, {"IPv6 in IP", fmt.Sprint(10 + asked), "0", "0", "0", "0", "0"},
		{"GRE", "15", "0", "0", "0", "0", "0"}, {"GUE", "15", "0", "0", "0", "0", "0"},
	}
	printed := s.said.String()
	s.said.Reset()
	for _, said := range []string{printed, s.end(syscall.SIGTERM)} {
		for _, w := range want {
			found := false
			for _, line := range strings.Split(said, "\n") {
				rest, ok := strings.CutPrefix(line, w[0]+" ")
				if f := strings.Fields(rest); ok && len(f) == 7 && strings.Join(f[:6], " ") == strings.Join(w[1:], " ") {
					found = true
				}
			}
			if !found {
				t.Errorf("no counters %v in\n%s", w, said)
			}
		}
	}
	if after := p.settings(); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
}

// Without a decapsulator the kernel refuses the protocol; that it does not with one is
// what its raw socket is for.
func TestKernelRefusesProtocolWithoutIt(t *testing.T) {
	p := newPair(t)
	icmp := p.listen("ip4:icmp", client4)
	out := p.dial("ip4:4", "203.0.113.2")
	if _, err := out.Write(from4(t, vip4.String(), nil)); err != nil {
		t.Fatal(err)
	}
	if err := icmp.SetReadDeadline(time.Now().Add(bound)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	n, _, err := icmp.ReadFrom(buf)
	// RFC 792: type 3 is destination unreachable, code 2 protocol; 3 is port, which the
	// kernel's ipip module says.
	if err != nil || n < 2 || buf[0] != 3 || buf[1] != 2 && buf[1] != 3 {
		t.Errorf("%v: % x", err, buf[:n])
	}
}

// While it is stopped packets are lost; every one is counted, there or here.
func TestLostPacketsAreCounted(t *testing.T) {
	p := newPair(t)
	s := p.serve("--vip", vip4.String(), "--decap")
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const sent, size = 600, 60000 // more bytes than the socket's buffer holds
	out, b := p.dial("ip4:4", "203.0.113.2"), from4(t, vip4.String(), make([]byte, size))
	for range sent {
		if _, err := out.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var got, lost int
	for end := time.Now().Add(bound); got+lost < sent; {
		if time.Now().After(end) {
			t.Fatalf("%d delivered and %d lost of %d", got, lost, sent)
		}
		if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		s.said.Reset()
		s.until("GUE ")
		for _, line := range strings.Split(s.said.String(), "\n") {
			if f := strings.Fields(line); strings.HasPrefix(line, "IPIP ") {
				got, lost = number(t, f[1]), number(t, f[6])
			}
		}
	}
	if lost == 0 || got == 0 || got+lost != sent {
		t.Errorf("%d delivered and %d lost of %d", got, lost, sent)
	}
	s.end(syscall.SIGTERM)
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
