package demo

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	mdpacket "github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// tapped bounds how many connections a tap remembers: one is shown.
const tapped = 256

// tap watches how connections begin at a node's eth0.
type tap struct {
	conn *mdpacket.Conn
	macs map[packet.MAC]string
	done chan struct{}

	mu    sync.Mutex
	first []uint16              // client ports in the order they were seen
	seen  map[uint16]*handshake // by client port
}

// handshake is the first two packets of a connection, as text.
type handshake struct{ syn, answer string }

// watch opens a tap.
func (l *lab) watch(s *space) (*tap, error) {
	t := &tap{macs: l.macs, done: make(chan struct{}), seen: map[uint16]*handshake{}}
	err := l.in(s, func() error {
		dev, err := net.InterfaceByName("eth0")
		if err == nil {
			t.conn, err = mdpacket.Listen(dev, mdpacket.Raw, unix.ETH_P_ALL, nil)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", s.name, err)
	}
	go t.read()
	return t, nil
}

// read ends when close closes the socket.
func (t *tap) read() {
	defer close(t.done)
	buf := make([]byte, 2048)
	for {
		n, _, err := t.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		t.note(buf[:n])
	}
}

func (t *tap) close() {
	t.conn.Close()
	<-t.done
}

// note remembers a frame if it begins a connection or answers the beginning.
func (t *tap) note(b []byte) {
	var line strings.Builder
	f := packet.NewFrame(b)
	if f.Parse() != packet.None {
		return
	}
	eth := f.Bytes()
	fmt.Fprintf(&line, "%-21s", t.who(eth[6:12])+" > "+t.who(eth[:6]))
	for f.Flow.Proto == packet.IPIP {
		fmt.Fprintf(&line, " [%v > %v IPIP]", f.Flow.Src, f.Flow.Dst)
		f = packet.NewIPFrame(f.Buf[f.L4:f.IPEnd])
		if f.Parse() != packet.None {
			return
		}
	}
	if f.Flow.Proto != packet.TCP || f.TCPFlags&packet.SYN == 0 {
		return
	}
	fmt.Fprintf(&line, " %v > %v", netip.AddrPortFrom(f.Flow.Src.Netip(), f.Flow.SrcPort), netip.AddrPortFrom(f.Flow.Dst.Netip(), f.Flow.DstPort))
	t.mu.Lock()
	defer t.mu.Unlock()
	port, answer := f.Flow.SrcPort, f.TCPFlags&packet.ACK != 0
	if answer {
		port = f.Flow.DstPort
	}
	h := t.seen[port]
	if h == nil {
		if len(t.first) == tapped {
			return
		}
		h = new(handshake)
		t.seen[port], t.first = h, append(t.first, port)
	}
	if answer {
		h.answer = line.String()
	} else {
		h.syn = line.String()
	}
}

// who has a MAC address.
func (t *tap) who(mac []byte) string {
	if name := t.macs[packet.MAC(mac)]; name != "" {
		return name
	}
	return net.HardwareAddr(mac).String()
}

// journey is one connection as client and server saw it begin, four lines, or none if
// no connection was seen by both.
func journey(client, server *tap, name string) []string {
	client.mu.Lock()
	defer client.mu.Unlock()
	server.mu.Lock()
	defer server.mu.Unlock()
	for _, port := range server.first {
		s, c := server.seen[port], client.seen[port]
		if c == nil || c.syn == "" || c.answer == "" || s.syn == "" || s.answer == "" {
			continue
		}
		return []string{
			"client sends      " + c.syn,
			name + " receives  " + s.syn,
			name + " answers   " + s.answer,
			"client receives   " + c.answer,
		}
	}
	return nil
}
