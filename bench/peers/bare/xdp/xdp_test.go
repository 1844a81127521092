package xdp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// Frames with the address go through, many times what there is memory for, and no chunk
// gets lost or is used twice; frames without it are the host's.
func TestThrough(t *testing.T) {
	client, middle, server := lab.New(t, "client"), lab.New(t, "middle"), lab.New(t, "server")
	for _, n := range []*lab.NS{client, middle, server} {
		n.Sysctl("ipv6/conf/all/disable_ipv6", "1")
	}
	lab.Veth(lab.Link{NS: client, Dev: "c0"}, lab.Link{NS: middle, Dev: "m0"}, 1)
	lab.Veth(lab.Link{NS: middle, Dev: "m1"}, lab.Link{NS: server, Dev: "s0"}, 1)
	vip, other := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")

	var p *Pair
	var err error
	middle.Do(func() {
		takes := [2]Take{{At: 16, Addr: vip.As4()}, {At: 12, Addr: vip.As4()}}
		for i := range takes {
			if takes[i].Interface, err = net.InterfaceByName(fmt.Sprint("m", i)); err != nil {
				return
			}
		}
		p, err = Open(takes)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	arrived, passed := server.Sink(9), middle.Sink(9)
	flood := (&lab.Flood{To: netip.AddrPortFrom(vip, 9), MAC: middle.MAC("m0"), Flows: 100, Rate: 60_000}).Start(client, "c0")

	var frames [batch]packet.Frame
	var list []*packet.Frame
	in, out, to := &p.Queues[0], &p.Queues[1], server.MAC("s0")
	sent := 0
	pump := func() int {
		n, err := in.Receive(frames[:])
		if err != nil {
			t.Fatal(err)
		}
		list = list[:0]
		for i := range frames[:n] {
			copy(frames[i].Bytes(), to)
			if i%8 != 0 { // the rest is not sent: it must come back all the same
				list = append(list, &frames[i])
			}
		}
		taken, err := out.Transmit(list)
		if err != nil {
			t.Fatal(err)
		}
		sent += taken
		in.Release()
		return n
	}
	for end := time.Now().Add(30 * time.Second); sent < 3*chunks && time.Now().Before(end); {
		if pump() == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if _, err := flood.Stop(); err != nil {
		t.Fatal(err)
	}
	stray := (&lab.Flood{To: netip.AddrPortFrom(other, 9), MAC: middle.MAC("m0"), Flows: 1, Rate: 1000, Total: 10}).Start(client, "c0")
	if _, err := stray.Wait(); err != nil {
		t.Fatal(err)
	}
	lab.Until(t, 10*time.Second, func() (bool, string) {
		for pump() > 0 {
		}
		here := len(p.free) + p.Queues[0].fill.waiting() + p.Queues[1].fill.waiting()
		got, host := arrived(), passed()
		return here == chunks && got == sent && host == 10 && sent >= 3*chunks,
			fmt.Sprintf("%d of %d chunks are here; %d of %d sent have arrived, want %d; the host got %d of 10", here, chunks, got, sent, 3*chunks, host)
	})
	seen := map[uint64]bool{}
	for _, c := range p.free {
		if seen[c] || c%chunkSize != 0 {
			t.Fatalf("chunk %#x is free twice", c)
		}
		seen[c] = true
	}
}

// What cannot be opened is closed again, and says what it was.
func TestOpenFails(t *testing.T) {
	none := &net.Interface{Index: 1 << 30, Name: "none"}
	p, err := Open([2]Take{{Interface: none}, {Interface: none}})
	if err == nil {
		p.Close()
	}
	if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "none") {
		t.Errorf("%v, want that there is no interface none", err)
	}
}
