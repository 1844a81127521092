package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// plain is a device with the host's address 10.8.0.1/24.
var plain = Config{Name: "dgo0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")}}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"no name":     {},
		"long name":   {Name: "abcdefghijklmnop"},
		"pattern":     {Name: "tun%d"},
		"slash":       {Name: "a/b"},
		"dots":        {Name: ".."},
		"small MTU":   {Name: "dgo0", MTU: 67},
		"large MTU":   {Name: "dgo0", MTU: 65536},
		"bad address": {Name: "dgo0", Addresses: make([]netip.Prefix, 1)},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: New(%+v) is accepted", name, c)
		}
	}
	d, err := New(Config{Name: "dgo0"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.Link(), (dataplane.Link{Name: "dgo0", MTU: 1500}); got != want {
		t.Errorf("Link() = %+v, want %+v", got, want)
	}
	for _, n := range []int{0, maxQueues + 1} {
		if _, err := d.Open(n); err == nil {
			t.Errorf("Open(%d) is accepted", n)
		}
	}
}

// What the host's stack sends to the device arrives as it must stand on a wire: finished
// checksums included, which another decoder and RFC 1071 confirm.
func TestReceive(t *testing.T) {
	h := newHost(t)
	q := h.mustOpen(plain, 1)[0]
	if n, err := q.Receive(make([]packet.Frame, 4)); n != 0 || err != nil {
		t.Fatalf("empty: Receive = %d, %v", n, err)
	}
	c := h.udp("udp4", "10.8.0.1:4000")
	for i := range 100 {
		payload := bytes.Repeat([]byte{byte(i)}, 1+i*14) // up to 1387 bytes: no fragment
		sendTo(t, c, "10.8.0.9:80", payload)
		f := receive(t, q, 1)[0]
		if f.L2 || f.Vnet != (packet.Vnet{}) || f.Start < packet.Headroom+10 {
			t.Fatalf("frame %+v: L2, Vnet or headroom", f)
		}
		b := f.Bytes()
		p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.NoCopy)
		ip, _ := p.NetworkLayer().(*layers.IPv4)
		udp, _ := p.TransportLayer().(*layers.UDP)
		if ip == nil || udp == nil || !ip.SrcIP.Equal(net.IPv4(10, 8, 0, 1)) || !ip.DstIP.Equal(net.IPv4(10, 8, 0, 9)) ||
			udp.SrcPort != 4000 || udp.DstPort != 80 || !bytes.Equal(udp.Payload, payload) {
			t.Fatalf("packet %d is another: %v", i, p)
		}
		if sum := udpSum(b); sum != 0xffff {
			t.Fatalf("UDP checksum of packet %d does not verify: sum %#04x", i, sum)
		}
		q.Release()
	}
	if s, err := q.Stats(); s != (dataplane.QueueStats{Received: 100}) || err != nil {
		t.Errorf("Stats() = %+v, %v; want 100 received", s, err)
	}
	if s, err := q.Stats(); s != (dataplane.QueueStats{}) || err != nil {
		t.Errorf("second Stats() = %+v, %v; want nothing new", s, err)
	}
}

// udpSum adds up, as RFC 1071 section 4.1 does, the pseudo-header and datagram of an
// IPv4 packet without options; 0xffff means that its checksum is right.
func udpSum(b []byte) uint16 {
	sum := uint32(packet.UDP) + uint32(len(b)-20)
	words := append(append([]byte(nil), b[12:]...), 0)
	for i := 0; i+1 < len(words); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(words[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// A datagram goes to the director, comes back with its ends swapped, and the host's own
// socket takes it for an answer, over both families.
func TestEcho(t *testing.T) {
	h := newHost(t)
	h.ipv6(true)
	q := h.mustOpen(Config{
		Name:      "dgo0",
		MTU:       9000,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("fd00:8::1/64")},
	}, 1)[0]
	h.awaitLocal("fd00:8::1")
	for _, c := range []struct {
		network, local, remote string
		src, dst, size, l4     int // where addresses and the UDP header are
	}{
		{"udp4", "10.8.0.1:4000", "10.8.0.9:7", 12, 16, 4, 20},
		{"udp6", "[fd00:8::1]:4000", "[fd00:8::9]:7", 8, 24, 16, 40},
	} {
		conn := h.udp(c.network, c.local)
		for _, size := range []int{1, 1000, 8900} {
			payload := bytes.Repeat([]byte{0xa5}, size)
			sendTo(t, conn, c.remote, payload)
			// Routing and multicast chatter of a new IPv6 device may come first.
			for echoed := false; !echoed; q.Release() {
				f := receive(t, q, 1)[0]
				b := f.Bytes()
				if len(b) < c.l4+8 || binary.BigEndian.Uint16(b[c.l4:]) != 4000 {
					continue
				}
				swap(b[c.src:][:c.size], b[c.dst:][:c.size])
				swap(b[c.l4:][:2], b[c.l4+2:][:2]) // a sum does not mind the order of its parts
				if n, err := q.Transmit([]*packet.Frame{&f}); n != 1 || err != nil {
					t.Fatalf("Transmit = %d, %v", n, err)
				}
				echoed = true
			}
			buf := make([]byte, 10000)
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil || !bytes.Equal(buf[:n], payload) || from.String() != c.remote {
				t.Errorf("%s: %d bytes from %v, %v; want %d from %s", c.network, n, from, err, size, c.remote)
			}
		}
	}
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// Frames that would be wrong on arrival are refused, their neighbours are not.
func TestTransmitRefuses(t *testing.T) {
	h := newHost(t)
	q := h.mustOpen(plain, 1)[0]
	c := h.udp("udp4", "10.8.0.1:4000")
	good := func(s string) *packet.Frame {
		return ownFrame(udpPacket(t, "10.8.0.9", "10.8.0.1", 80, 4000, []byte(s)))
	}
	partial, super, noIP, empty := good("no"), good("no"), good("no"), good("no")
	partial.Vnet.Flags = packet.VnetNeedsCsum
	super.Vnet.GSOType = packet.VnetGSOTCPv4
	noIP.Buf[noIP.Start] = 0x20
	empty.End = empty.Start
	frames := []*packet.Frame{partial, good("one"), super, noIP, good("two"), empty}
	if n, err := q.Transmit(frames); n != 2 || err != nil {
		t.Errorf("Transmit = %d, %v; want 2", n, err)
	}
	if n := refused(q); n != 4 {
		t.Errorf("%d refused, want 4", n)
	}
	buf := make([]byte, 100)
	for _, want := range []string{"one", "two"} {
		if n, err := c.Read(buf); string(buf[:n]) != want || err != nil {
			t.Errorf("host got %q, %v; want %q", buf[:n], err, want)
		}
	}
}

// What a Stats that failed would have told, the next one tells.
func TestStatsAfterFailure(t *testing.T) {
	h := newHost(t)
	q := h.mustOpen(plain, 1)[0].(*queue)
	sendTo(t, h.udp("udp4", "10.8.0.1:4000"), "10.8.0.9:80", []byte("x"))
	receive(t, q, 1)
	q.Release()
	if n, err := q.Transmit([]*packet.Frame{{}}); n != 0 || err != nil {
		t.Fatalf("Transmit of an empty frame = %d, %v", n, err)
	}
	index := q.index
	q.index = 1 << 30 // no such device
	if s, err := q.Stats(); s != (dataplane.QueueStats{}) || err == nil {
		t.Errorf("the device cannot be asked: Stats() = %+v, %v; want an error alone", s, err)
	}
	q.index = index
	if s, err := q.Stats(); s != (dataplane.QueueStats{Received: 1, Refused: 1}) || err != nil {
		t.Errorf("then: Stats() = %+v, %v; want 1 received, 1 refused", s, err)
	}
}

// No more is lent than there are buffers, nothing lent is overwritten, and what waits
// stays for after Release.
func TestLentPacketsStay(t *testing.T) {
	h := newHost(t)
	q := h.mustOpen(plain, 1)[0]
	c := h.udp("udp4", "10.8.0.1:4000")
	for i := range bufs + 10 {
		sendTo(t, c, "10.8.0.9:80", []byte{byte(i)})
	}
	frames := append(receive(t, q, 20), receive(t, q, bufs-20)...)
	if n, err := q.Receive(make([]packet.Frame, 5)); n != 0 || err != nil {
		t.Errorf("all lent: Receive = %d, %v", n, err)
	}
	for i, f := range frames {
		if b := f.Bytes(); b[28] != byte(i) {
			t.Fatalf("packet %d is number %d", i, b[28])
		}
	}
	q.Release()
	if f := receive(t, q, 10)[9]; f.Bytes()[28] != bufs+9 {
		t.Errorf("last packet is number %d, want %d", f.Bytes()[28], bufs+9)
	}
}

// What the device's queue cannot hold is counted, and the rest still comes.
func TestOverflowIsCounted(t *testing.T) {
	h := newHost(t)
	q := h.mustOpen(plain, 2)
	c := h.udp("udp4", "10.8.0.1:4000")
	const sent = 2000 // the device's txqueuelen is 500 a queue
	for range sent {
		sendTo(t, c, "10.8.0.9:80", []byte("x"))
	}
	var frames [bufs]packet.Frame
	var got, told, dropped uint64
	for _, q := range q {
		for {
			n, err := q.Receive(frames[:])
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			got += uint64(n)
			q.Release()
		}
		s, err := q.Stats()
		if err != nil {
			t.Fatal(err)
		}
		told, dropped = told+s.Received, dropped+s.Dropped
	}
	if got != told || dropped == 0 || got+dropped != sent {
		t.Errorf("received %d, told %d and %d dropped; want %d in all, some of them dropped", got, told, dropped, sent)
	}
}

// Flows are spread over the queues, each keeps to one.
func TestFlowsKeepToTheirQueue(t *testing.T) {
	h := newHost(t)
	qs := h.mustOpen(plain, 4)
	home, total := map[uint16]int{}, 0
	var conns []*net.UDPConn
	for range 32 {
		conns = append(conns, h.udp("udp4", "10.8.0.1:0"))
	}
	for range 5 {
		for _, c := range conns {
			sendTo(t, c, "10.8.0.9:80", []byte("x"))
		}
		for i, q := range qs {
			var frames [bufs]packet.Frame
			n, err := q.Receive(frames[:])
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames[:n] {
				port := binary.BigEndian.Uint16(f.Bytes()[20:])
				if q, ok := home[port]; ok && q != i {
					t.Errorf("port %d came by queues %d and %d", port, q, i)
				}
				home[port] = i
			}
			total += n
			q.Release()
		}
	}
	used := map[int]bool{}
	for _, i := range home {
		used[i] = true
	}
	if total != 5*32 || len(used) < 3 {
		t.Errorf("%d packets by %d queues, want 160 by 3 or 4", total, len(used))
	}
}

func TestLinkDownUpGone(t *testing.T) {
	h := newHost(t)
	q := h.mustOpen(plain, 1)[0]
	c := h.udp("udp4", "10.8.0.1:4000")
	one := []*packet.Frame{ownFrame(udpPacket(t, "10.8.0.9", "10.8.0.1", 80, 4000, []byte("x")))}
	h.ip("link", "set", "dgo0", "down")
	if n, err := q.Transmit(one); n != 0 || !errors.Is(err, ErrLinkDown) || !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("down: Transmit = %d, %v; want ErrLinkDown", n, err)
	}
	if n, err := q.Receive(make([]packet.Frame, 1)); n != 0 || err != nil {
		t.Errorf("down: Receive = %d, %v; want nothing", n, err)
	}
	h.ip("link", "set", "dgo0", "up")
	if n, err := q.Transmit(one); n != 1 || err != nil {
		t.Errorf("up again: Transmit = %d, %v", n, err)
	}
	sendTo(t, c, "10.8.0.9:80", []byte("x"))
	receive(t, q, 1)
	q.Release()
	h.ip("link", "del", "dgo0")
	for range 2 { // it stays so
		if n, err := q.Receive(make([]packet.Frame, 1)); n != 0 || !errors.Is(err, ErrGone) || !errors.Is(err, unix.ENODEV) {
			t.Errorf("gone: Receive = %d, %v; want ErrGone", n, err)
		}
		if n, err := q.Transmit(one); n != 0 || !errors.Is(err, ErrGone) {
			t.Errorf("gone: Transmit = %d, %v; want ErrGone", n, err)
		}
		if _, err := q.Stats(); !errors.Is(err, ErrGone) {
			t.Errorf("gone: Stats says %v, want ErrGone", err)
		}
	}
}

func TestClose(t *testing.T) {
	h := newHost(t)
	qs := h.mustOpen(plain, 2)
	if err := qs[0].Close(); err != nil || !h.has("dgo0") {
		t.Errorf("first of two queues closed (%v): device is there: %v", err, h.has("dgo0"))
	}
	if err := qs[1].Close(); err != nil || h.has("dgo0") {
		t.Errorf("both queues closed (%v): device is there: %v", err, h.has("dgo0"))
	}
	if err := qs[0].Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := qs[0].Receive(make([]packet.Frame, 1)); err != errClosed {
		t.Errorf("Receive says %v, want %v", err, errClosed)
	}
	if _, err := qs[0].Transmit([]*packet.Frame{ownFrame([]byte{0x45})}); err != errClosed {
		t.Errorf("Transmit says %v, want %v", err, errClosed)
	}
	if _, err := qs[0].Stats(); err != errClosed {
		t.Errorf("Stats says %v, want %v", err, errClosed)
	}
}

// Open leaves nothing behind when a late step fails: IPv6 needs an MTU of 1280
// (RFC 8200 section 5), so the address is refused after the device was made.
func TestFailedOpenLeavesNothing(t *testing.T) {
	h := newHost(t)
	h.ipv6(true)
	_, err := h.open(Config{Name: "dgo0", MTU: 1000, Addresses: []netip.Prefix{netip.MustParsePrefix("fd00:8::1/64")}}, 2)
	if err == nil || h.has("dgo0") {
		t.Errorf("Open: %v; device is there: %v", err, h.has("dgo0"))
	}
}

// A device made by the administrator is used and kept; one of somebody else is not.
func TestExistingDevice(t *testing.T) {
	h := newHost(t)
	h.ip("tuntap", "add", "dgo0", "mode", "tun", "multi_queue")
	q := h.mustOpen(plain, 2)
	if _, err := h.open(plain, 1); err == nil {
		t.Error("a device that another program has open is used")
	}
	for _, q := range q {
		q.Close()
	}
	if !h.has("dgo0") {
		t.Error("the administrator's device is gone after Close")
	}
	again := h.mustOpen(plain, 1)[0] // its address is there already
	again.Close()

	h.ip("tuntap", "add", "single", "mode", "tun")
	h.ip("tuntap", "add", "tap", "mode", "tap", "multi_queue")
	h.ip("link", "add", "dummy", "type", "veth", "peer", "name", "dummy1")
	h.mustOpen(Config{Name: "ours"}, 1)
	for _, name := range []string{"single", "tap", "dummy", "ours"} {
		if _, err := h.open(Config{Name: name}, 1); err == nil {
			t.Errorf("device %s is used", name)
		}
		if !h.has(name) {
			t.Errorf("device %s is gone", name)
		}
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	h := newHost(t)
	q := h.mustOpen(plain, 1)[0]
	c := h.udp("udp4", "10.8.0.1:4000")
	to := netip.MustParseAddrPort("10.8.0.9:80")
	frames := make([]packet.Frame, bufs)
	back := make([]*packet.Frame, bufs)
	for i := range back {
		back[i] = ownFrame(udpPacket(t, "10.8.0.9", "10.8.0.1", 80, 9, []byte("x"))) // nobody listens
	}
	payload := []byte("x")
	trouble := ""
	n := testing.AllocsPerRun(100, func() {
		for range frames {
			if _, err := c.WriteToUDPAddrPort(payload, to); err != nil {
				trouble = err.Error()
			}
		}
		if n, err := q.Receive(frames); n != bufs || err != nil {
			trouble = "receive"
		}
		if n, err := q.Transmit(back); n != bufs || err != nil {
			trouble = "transmit"
		}
		q.Release()
		for { // the host's answers, ICMP port unreachable
			n, err := q.Receive(frames)
			if err != nil {
				trouble = "empty receive"
			}
			q.Release()
			if n == 0 {
				break
			}
		}
	})
	if n != 0 || trouble != "" {
		t.Errorf("%v allocations a batch (trouble: %q), want none", n, trouble)
	}
}

// BenchmarkEcho is one packet from the host through the director and back.
func BenchmarkEcho(b *testing.B) {
	h := newHost(b)
	q := h.mustOpen(plain, 1)[0]
	c := h.udp("udp4", "10.8.0.1:4000")
	to := netip.MustParseAddrPort("10.8.0.9:7")
	frames := make([]packet.Frame, 1)
	buf := make([]byte, 100)
	back := []*packet.Frame{ownFrame(udpPacket(b, "10.8.0.9", "10.8.0.1", 7, 4000, []byte("x")))}
	for b.Loop() {
		if _, err := c.WriteToUDPAddrPort([]byte("x"), to); err != nil {
			b.Fatal(err)
		}
		if n, err := q.Receive(frames); n != 1 || err != nil {
			b.Fatal(n, err)
		}
		if n, err := q.Transmit(back); n != 1 || err != nil {
			b.Fatal(n, err)
		}
		q.Release()
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
