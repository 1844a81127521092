package afpacket

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A queue that was opened is closed again when its thread does not get its CPUs back, and
// so are those before it.
func TestOpenClosesAllWhenTheThreadIsNotRestored(t *testing.T) {
	dir, _ := pair(t)
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !mine.IsSet(cpu) {
		cpu++
	}
	sockets := func() (n int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "socket:") {
				n++
			}
		}
		return n
	}
	set := setAffinity
	defer func() { setAffinity = set }()
	before := sockets()
	for _, failing := range []int{2, 4} { // the restoring after the first queue, after the second
		calls := 0
		setAffinity = func(to *unix.CPUSet) error {
			if calls++; calls == failing {
				return unix.EINVAL
			}
			return set(to)
		}
		dir.do(func() error {
			d, err := New(Config{Interface: "d0", RingSlots: 8, CPUs: []int{cpu, cpu}})
			if err != nil {
				return err
			}
			if qs, err := d.Open(2); qs != nil || !errors.Is(err, unix.EINVAL) {
				t.Errorf("call %d fails: Open = %v, %v; want EINVAL", failing, qs, err)
			}
			return nil
		})
		if n := sockets(); n != before {
			t.Errorf("call %d fails: %d sockets are left open", failing, n-before)
		}
	}
}

// seen names a datagram of the test below.
type seen struct{ port, seq uint16 }

// drain receives from all queues until all are empty for a while, and tells how often
// each datagram came by each queue.
func drain(t *testing.T, qs []dataplane.Queue) []map[seen]int {
	t.Helper()
	count := make([]map[seen]int, len(qs))
	fds := make([]int, len(qs))
	for i, q := range qs {
		count[i] = map[seen]int{}
		fds[i] = q.FD()
	}
	var frames [16]packet.Frame
	for {
		ready, err := Poll(fds, 200*time.Millisecond, false)
		if err != nil {
			t.Fatal(err)
		}
		if ready == 0 {
			return count
		}
		for i, q := range qs {
			n, err := q.Receive(frames[:])
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames[:n] {
				if b := f.Bytes(); len(b) >= 44 && b[23] == packet.UDP {
					count[i][seen{binary.BigEndian.Uint16(b[34:]), binary.BigEndian.Uint16(b[42:])}]++
				}
			}
			q.Release()
		}
	}
}

// Every datagram comes once, a flow's datagrams by one queue, and flows by several.
func TestFanoutKeepsFlowsTogether(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		const flows, each, first = 61, 12, 20000 // no multiple of 4: taking turns would be seen
		dir, peer := pair(t)
		ip(t, "-n", peer.name, "addr", "add", "10.9.0.1/24", "dev", "p0")
		ip(t, "-n", peer.name, "neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:d0", "dev", "p0")
		qs := dir.open(Config{Interface: "d0", Mode: m, RingSlots: 1024, SlotSize: 4096}, 4)
		peer.do(func() error {
			var conns []net.Conn
			for i := range flows {
				c, err := net.DialUDP("udp", &net.UDPAddr{Port: first + i}, &net.UDPAddr{IP: net.IPv4(10, 9, 0, 2), Port: 80})
				if err != nil {
					return err
				}
				defer c.Close()
				conns = append(conns, c)
			}
			for seq := range uint16(each) {
				for _, c := range conns {
					if _, err := c.Write(binary.BigEndian.AppendUint16(nil, seq)); err != nil {
						return err
					}
				}
			}
			return nil
		})
		home, used := map[uint16]int{}, map[int]bool{}
		total := 0
		for i, c := range drain(t, qs) {
			for s, n := range c {
				if n != 1 {
					t.Fatalf("port %d, datagram %d came %d times by queue %d", s.port, s.seq, n, i)
				}
				if q, ok := home[s.port]; ok && q != i {
					t.Fatalf("port %d came by queues %d and %d", s.port, q, i)
				}
				home[s.port], used[i] = i, true
				total++
			}
		}
		if total != flows*each {
			t.Errorf("%d datagrams, want %d", total, flows*each)
		}
		if len(used) < 3 {
			t.Errorf("%d flows used only %d of 4 queues", flows, len(used))
		}
	})
}

// In a group PACKET_IGNORE_OUTGOING is the group's, not the socket's.
func TestFanoutIgnoresOutgoing(t *testing.T) {
	dir, _ := pair(t)
	qs := dir.open(Config{Interface: "d0", RingSlots: 64}, 2)
	var frames []*packet.Frame
	for i := range uint32(32) {
		frames = append(frames, ownFrame(testFrame(100, i)))
	}
	if n, err := qs[0].Transmit(frames); n != 32 || err != nil {
		t.Fatalf("Transmit = %d, %v", n, err)
	}
	fd := dir.raw("d0", 0)
	send(t, fd, testFrame(100, 99)) // another program of the host
	for i, q := range qs {
		idle(t, q)
		if s, err := q.Stats(); s != (dataplane.QueueStats{}) || err != nil {
			t.Errorf("queue %d: Stats() = %+v, %v; want nothing seen", i, s, err)
		}
	}
}

// The filter that stands in for the flag on older kernels refuses the same frames.
func TestOutgoingFilter(t *testing.T) {
	dir, peer := pair(t)
	fd := dir.raw("d0", unix.ETH_P_ALL)
	if err := openGate(fd, false); err != nil {
		t.Fatal(err)
	}
	send(t, dir.raw("d0", 0), testFrame(100, 1))
	send(t, peer.raw("p0", 0), testFrame(101, 2))
	buf := make([]byte, 2048)
	if n, _, err := recv(fd, buf); n != 101 || err != nil {
		t.Errorf("read %d bytes, %v; want the 101 that came from outside", n, err)
	}
}

// Two drivers on one interface do not share a group: each receives every frame.
func TestFanoutGroupsAreSeparate(t *testing.T) {
	dir, peer := pair(t)
	a := dir.open(Config{Interface: "d0", RingSlots: 64}, 2)
	b := dir.open(Config{Interface: "d0", RingSlots: 64}, 2)
	fd := peer.raw("p0", 0)
	for i := range uint32(20) {
		send(t, fd, testFrame(100, i))
	}
	settle()
	for name, qs := range map[string][]dataplane.Queue{"first": a, "second": b} {
		var got uint64
		for _, q := range qs {
			s, err := q.Stats()
			if err != nil {
				t.Fatal(err)
			}
			got += s.Received
		}
		if got != 20 {
			t.Errorf("%s driver received %d of 20 frames", name, got)
		}
	}
}

// Queues of a group survive the link, too.
func TestFanoutLinkDownUp(t *testing.T) {
	dir, peer := pair(t)
	qs := dir.open(Config{Interface: "d0", RingSlots: 64}, 2)
	ip(t, "-n", dir.name, "link", "set", "d0", "down")
	for i, q := range qs {
		if err := firstError(t, q); err != ErrLinkDown {
			t.Errorf("queue %d says %v, want ErrLinkDown", i, err)
		}
	}
	ip(t, "-n", dir.name, "link", "set", "d0", "up")
	fd := peer.raw("p0", 0)
	for i := range uint32(20) {
		send(t, fd, testFrame(100, i))
	}
	settle()
	var got uint64
	for _, q := range qs {
		s, err := q.Stats()
		if err != nil {
			t.Fatal(err)
		}
		got += s.Received
	}
	if got != 20 {
		t.Errorf("received %d of 20 frames after the link came up, each once", got)
	}
}
