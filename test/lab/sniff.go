package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// Sniffer counts the frames an interface receives that match, and keeps the first few
// for an error message.
type Sniffer struct {
	match func(Seen) bool
	fd    int
	done  chan struct{}

	mu    sync.Mutex
	n     int
	first []string
}

// Seen is a decoded frame.
type Seen struct {
	gopacket.Packet
}

// ARP is the frame's ARP layer, nil if it has none.
func (s Seen) ARP() *layers.ARP {
	a, _ := s.Layer(layers.LayerTypeARP).(*layers.ARP)
	return a
}

// From reports whether mac sent the frame.
func (s Seen) From(mac net.HardwareAddr) bool {
	e, ok := s.LinkLayer().(*layers.Ethernet)
	return ok && bytes.Equal(e.SrcMAC, mac)
}

// Sniff listens on an interface until the test ends. match runs in its goroutine.
func (n *NS) Sniff(dev string, match func(Seen) bool) *Sniffer {
	n.t.Helper()
	s := &Sniffer{match: match, done: make(chan struct{})}
	var err error
	n.Do(func() { s.fd, err = listenRaw(dev) })
	if err != nil {
		n.t.Fatalf("%s: sniff %s: %v", n.Role, dev, err)
	}
	stop := make(chan struct{})
	go s.read(stop)
	n.t.Cleanup(func() {
		close(stop)
		<-s.done
		unix.Close(s.fd)
	})
	return s
}

func listenRaw(dev string) (int, error) {
	iface, err := net.InterfaceByName(dev)
	if err != nil {
		return -1, err
	}
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// A read that returns now and then lets the reader see that it is over.
	tv := unix.Timeval{Usec: 50_000}
	for _, err := range []error{
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}),
	} {
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func (s *Sniffer) read(stop chan struct{}) {
	defer close(s.done)
	buf := make([]byte, 1<<16)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, _, err := unix.Recvfrom(s.fd, buf, 0)
		if err != nil || n <= 0 {
			continue
		}
		p := Seen{gopacket.NewPacket(buf[:min(n, 512)], layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true})}
		if !s.match(p) {
			continue
		}
		s.mu.Lock()
		s.n++
		if len(s.first) < 5 {
			s.first = append(s.first, p.String())
		}
		s.mu.Unlock()
	}
}

// Count is how many frames have matched, of all that have arrived by now.
func (s *Sniffer) Count() int {
	// The socket's queue is found empty twice: the frame taken out before the first look is
	// counted by the second.
	for empty := 0; empty < 2; time.Sleep(5 * time.Millisecond) {
		if n, err := unix.IoctlGetInt(s.fd, unix.TIOCINQ); err != nil || n == 0 {
			empty++
		} else {
			empty = 0
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// String shows the first frames that matched.
func (s *Sniffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d frames; the first: %v", s.n, s.first)
}
