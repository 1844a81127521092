package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// returnUDP sends each datagram back as it came, whatever its size.
func (s *server) returnUDP(at netip.AddrPort) {
	conn := s.ListenUDP(at)
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return // closed at the end of the test
			}
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
}

// isFragment reports whether a frame is part of a packet (RFC 791 section 3.1, RFC 8200
// section 4.5).
func isFragment(s lab.Seen) bool {
	if ip, ok := s.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		return ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0
	}
	ip, ok := s.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	return ok && ip.NextHeader == layers.IPProtocolIPv6Fragment
}

// A datagram of 3000 bytes needs fragments on the way to the server and on the way back.
// One cable is narrower than the others: fragments have to be cut again, by the
// router before the director, and by the director itself.
func TestUDPFragments(t *testing.T)     { udpFragments(t, false) }
func TestUDPFragmentsIPv6(t *testing.T) { udpFragments(t, true) }

func udpFragments(t *testing.T, v6 bool) {
	for _, row := range []struct {
		method, narrow string
		v6             bool
	}{
		{"nat", "", false}, {"tun", "", false},
		{"nat", "out", false}, {"dr", "out", false}, {"tun", "out", false},
		// Here answers pass the narrow cable by, as they pass the director by.
		{"dr", "in", false}, {"tun", "in", false},
		{"nat", "", true}, {"tun", "", true},
		{"nat", "out", true}, {"dr", "out", true}, {"tun", "out", true},
	} {
		if row.v6 != v6 {
			continue
		}
		s := shape{method: row.method, arms: 2, servers: 2, v6: row.v6}
		t.Run(fmt.Sprintf("%v/narrow=%s", s, row.narrow), func(t *testing.T) {
			c := newCluster(t, s)
			for _, s := range c.servers {
				at := c.vip
				if row.method == "nat" {
					at = s.addr
				}
				s.returnUDP(netip.AddrPortFrom(at, 53))
			}
			switch row.narrow {
			case "out":
				c.director.IP("link set out mtu 1400")
				c.router.IP("link set outside mtu 1400")
			case "in":
				c.director.IP("link set in mtu 1400")
			}
			startDirector(t, c.director, c.config(2, strings.Replace(c.web("rr", "", 1, 1), "tcp/VIP:80", "udp/VIP:53", 1)))
			toDirector := c.director.Sniff("out", isFragment)
			toClient := c.client.Sniff("c0", isFragment)
			// Both servers' MAC addresses get known by small datagrams: three frames, and no more,
			// wait for one that is not, and a datagram cut twice has five.
			for i := range 12 {
				size := 3000
				if i < len(c.servers) {
					size = 3
				}
				conn, err := c.client.Dial(context.Background(), "udp", netip.AddrPortFrom(c.vip, 53).String(), netip.AddrPort{})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				question := make([]byte, size)
				_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(question)
				// In IPv6 routers do not fragment: they say what fits, and the datagram is lost,
				// once in each direction for each server (RFC 8200 section 5).
				tries := 1
				if row.v6 {
					tries = 5
				}
				if got, err := askLarge(conn, question, tries); err != nil || !bytes.Equal(got, question) {
					t.Fatalf("datagram %d: %d bytes came back, want the same %d: %v", i, len(got), len(question), err)
				}
			}
			// 3000 bytes are three fragments.
			for where, s := range map[string]*lab.Sniffer{"director": toDirector, "client": toClient} {
				if n := s.Count(); n < 30 {
					t.Errorf("%d fragments reached the %s, want 30 at least", n, where)
				}
			}
		})
	}
}

// askLarge sends a datagram and waits for an answer, again after a while without one or
// when the path turns out to be narrower.
func askLarge(conn net.Conn, question []byte, tries int) (answer []byte, err error) {
	answer = make([]byte, 1<<16)
	for range tries {
		if err := conn.SetDeadline(time.Now().Add(2 * time.Second / time.Duration(tries))); err != nil {
			return nil, err
		}
		if _, err = conn.Write(question); err != nil {
			return nil, err
		}
		var n int
		if n, err = conn.Read(answer); !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, unix.EMSGSIZE) {
			return answer[:n], err
		}
	}
	return nil, err
}
