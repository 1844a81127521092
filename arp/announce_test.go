package arp

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// Whole frames as recorded from heartbeat's send_arp (ARP, both forms, but for the
// padding to 60 bytes) and keepalived 2.2.7 (the advertisement).
func TestAnnouncementsAreTheRecordedBytes(t *testing.T) {
	c := New(Config{})
	c.SetPorts([]PortConfig{
		{MAC: macA, VIPs: []packet.Addr{vip}},
		{MAC: macB, VIPs: []packet.Addr{ip("fe80::60")}},
	})
	first, second := c.Step(0), c.Step(sec)
	pad := make([]byte, 60-42)
	na := unhex(t, "333300000001 02000000000b 86dd 60000000 0020 3a ff fe800000000000000000000000000060 ff020000000000000000000000000001"+
		"8800 56d3 20000000 fe800000000000000000000000000060 0201 02000000000b")
	want := [][]byte{
		append(unhex(t, "ffffffffffff 02000000000a 0806 0001 0800 0604 0001 02000000000a 0a09005a 000000000000 0a09005a"), pad...), na,
		append(unhex(t, "ffffffffffff 02000000000a 0806 0001 0800 0604 0002 02000000000a 0a09005a 02000000000a 0a09005a"), pad...), na,
	}
	got := append(first, second...)
	if len(first) != 2 || len(got) != len(want) {
		t.Fatalf("%d and %d frames, want 2 and 2", len(first), len(second))
	}
	for i := range want {
		if !bytes.Equal(got[i].Frame, want[i]) || got[i].Port != i%2 {
			t.Errorf("port %d sends\n%x, want\n%x", got[i].Port, got[i].Frame, want[i])
		}
	}
	nothing(t, c.Step(1000*sec))
	if c.NextStep() != Never || c.Counters()[Announced] != 4 {
		t.Errorf("NextStep %v, announced %d", c.NextStep(), c.Counters()[Announced])
	}
}

// announced runs until nothing is pending and returns who announced what how often.
func announced(t *testing.T, c *Cache, now time.Duration) map[string]int {
	t.Helper()
	got := map[string]int{}
	for n := 0; c.NextStep() != Never; n++ {
		if n > 10000 {
			t.Fatal("announcing does not end")
		}
		now = max(now, c.NextStep())
		for _, o := range c.Step(now) {
			s := decode(t, o)
			if s.src != s.target || s.ethDst != broadcast && s.ethDst != allNodeM {
				t.Fatalf("announcement %+v", s)
			}
			got[fmt.Sprint(s.port, " ", s.src)]++
		}
	}
	return got
}

func wantAnnounced(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if got[w] != 3 {
			t.Errorf("%s announced %d times, want 3", w, got[w])
		}
	}
	if len(got) != len(want) {
		t.Errorf("announced %v, want %v", got, want)
	}
}

func TestOnlyNewVIPsAreAnnounced(t *testing.T) {
	c := New(Config{Announcements: 3})
	now := 5 * sec
	c.SetPorts(twoPorts)
	wantAnnounced(t, announced(t, c, now), "0 10.9.0.90", "0 fd09::90", "1 192.0.2.90")
	c.SetPorts(twoPorts)
	wantAnnounced(t, announced(t, c, now))

	more := []PortConfig{twoPorts[0], twoPorts[1]}
	more[0].VIPs = []packet.Addr{vip6, ip("10.9.0.91"), ip("10.9.0.91"), vip} // reordered, one added, twice
	c.SetPorts(more)
	wantAnnounced(t, announced(t, c, now), "0 10.9.0.91")

	more[0].VIPs, more[1].VIPs = nil, []packet.Addr{vipB, vip} // moved to the other port
	c.SetPorts(more)
	wantAnnounced(t, announced(t, c, now), "1 10.9.0.90")

	c.Announce()
	c.Announce()
	wantAnnounced(t, announced(t, c, now), "1 10.9.0.90", "1 192.0.2.90")

	c.Announce()
	c.SetPorts(twoPorts[:1]) // pending ones of what is gone are not sent
	wantAnnounced(t, announced(t, c, now), "0 10.9.0.90", "0 fd09::90")
}

func TestChangedMACIsAnnouncedAndForgetsThePort(t *testing.T) {
	c, now := newCache(t, Config{Announcements: 3})
	announced(t, c, now)
	now += 10 * sec
	resolve1(t, c, now, macR)
	c.SetStatic([]Static{{0, real2, macR}})
	c.Resolve(now, 0, real6, data("x"))
	c.SetPorts([]PortConfig{{MAC: macB, VIPs: []packet.Addr{vip}}})
	outs := c.Step(now)
	if len(outs) != 1 || packet.MAC(outs[0].Frame[6:]) != macB || packet.MAC(outs[0].Frame[22:]) != macB {
		t.Fatalf("announced %+v", outs)
	}
	wantState(t, c, real1, 0, noMAC)
	wantState(t, c, real2, Permanent, macR)
	if n := c.Counters(); n[QueueDropped] != 1 {
		t.Errorf("queue_dropped %d", n[QueueDropped])
	}
}

func TestPortsWithoutEthernetAnnounceNothing(t *testing.T) {
	c := New(Config{})
	c.SetPorts([]PortConfig{{VIPs: []packet.Addr{vip}}})
	if c.NextStep() != Never {
		t.Error("something is to be announced")
	}
	nothing(t, c.Step(0))
	nothing(t, input(t, c, 0, 0, request(macR, real1, vip), NoPort))
}

// Ten thousand VIPs take time, and the rate holds.
func TestAnnouncementRate(t *testing.T) {
	var vips []packet.Addr
	for i := range 10000 {
		vips = append(vips, packet.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
	}
	c := New(Config{})
	c.SetPorts([]PortConfig{{MAC: macA, VIPs: vips}})
	seenForms := map[string]int{}
	sent, now := 0, time.Duration(0)
	for c.NextStep() != Never {
		now = max(now, c.NextStep())
		outs := c.Step(now)
		if len(outs) > AnnounceBurst {
			t.Fatalf("%d at once", len(outs))
		}
		nothing(t, c.Step(now+AnnounceGap-1))
		for _, o := range outs {
			s := decode(t, o)
			seenForms[s.what+s.src.String()]++
		}
		sent += len(outs)
	}
	if sent != 20000 || len(seenForms) != 20000 { // each VIP once in each form
		t.Errorf("%d sent, %d different", sent, len(seenForms))
	}
	if want := 20000 / AnnounceBurst * AnnounceGap; now < want-AnnounceGap || now > want+2*sec {
		t.Errorf("took %v, want about %v", now, want)
	}
}
