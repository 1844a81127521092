package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// A sink counts what an interface receives. The kernel counts; reading takes
// microseconds, so that a queue on the way has no time to empty itself unseen.
type sink struct {
	dev  string
	file *os.File // /proc/net/dev of the namespace
	buf  [8 << 10]byte
}

// newSink counts at dev, where datagrams for portSink end, tunnelled or not, and TCP of
// the generator's clients.
func newSink(ns *lab.NS, dev string) (*sink, error) {
	// In a tunnel the datagram's port is behind two IPv4 headers: bits 336 to 351.
	nft(ns, fmt.Sprintf(`add table netdev sink; add chain netdev sink in { type filter hook ingress device %q priority 0; }; add rule netdev sink in udp dport %d drop; add rule netdev sink in ip protocol ipip @nh,336,16 %d drop; add rule netdev sink in ip saddr 172.16.0.0/12 drop`, dev, portSink, portSink))
	s := &sink{dev: dev}
	var err error
	ns.Do(func() { s.file, err = os.Open("/proc/thread-self/net/dev") })
	return s, err
}

// count is the number of frames received so far, whatever they are.
func (s *sink) count() (int, error) {
	n, err := s.file.ReadAt(s.buf[:], 0)
	if n == 0 {
		return 0, err
	}
	return received(string(s.buf[:n]), s.dev)
}

// received reads the frames received by dev from /proc/net/dev, proc(5): bytes and
// packets follow the name.
func received(table, dev string) (int, error) {
	for line := range strings.Lines(table) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), dev+":"); ok {
			if f := strings.Fields(rest); len(f) > 1 {
				return strconv.Atoi(f[1])
			}
		}
	}
	return 0, fmt.Errorf("/proc/net/dev: no %s", dev)
}

func (s *sink) close() { s.file.Close() }
