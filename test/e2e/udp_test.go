package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// echoUDP answers each datagram with its name and the datagram, from the address it was
// asked at.
func (s *server) echoUDP(at netip.AddrPort) {
	conn := s.ListenUDP(at)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return // closed at the end of the test
			}
			_, _ = conn.WriteToUDPAddrPort(append([]byte(s.name+":"), buf[:n]...), from)
		}
	}()
}

// ask sends one datagram and returns the answer.
func ask(conn net.Conn, what string) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(what)); err != nil {
		return "", err
	}
	buf := make([]byte, 2048)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

func TestUDP(t *testing.T) {
	for _, method := range []string{"nat", "dr", "tun"} {
		t.Run(method, func(t *testing.T) {
			c := newCluster(t, shape{method: method, arms: 2, servers: 2})
			for _, s := range c.servers {
				at := c.vip
				if method == "nat" {
					at = s.addr
				}
				s.echoUDP(netip.AddrPortFrom(at, 53))
			}
			startDirector(t, c.director, c.config(2, strings.Replace(c.web("rr", "", 1, 1), "tcp/VIP:80", "udp/VIP:53", 1)))
			count := map[string]int{}
			for i := range 20 {
				// The socket is connected: an answer from another address than the VIP's is refused.
				conn, err := c.client.Dial(context.Background(), "udp", netip.AddrPortFrom(c.vip, 53).String(), netip.AddrPort{})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				var server string
				for q := range 3 { // one conversation stays with one server
					// The largest is nearly a full packet.
					question := fmt.Sprintf("%d.%d.%s", i, q, strings.Repeat("x", q*700))
					got, err := ask(conn, question)
					name, echo, _ := strings.Cut(got, ":")
					if err != nil || echo != question || server != "" && name != server {
						t.Fatalf("conversation %d with %q, question %d: answer of %d bytes from %q, %v", i, server, q, len(got), name, err)
					}
					server = name
				}
				count[server]++
			}
			c.want("20 conversations", count, map[string]int{"s1": 10, "s2": 10})
		})
	}
}
