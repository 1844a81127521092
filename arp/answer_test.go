package arp

import (
	"testing"

	"github.com/google/gopacket"

	"github.com/dirigo-lb/dirigo/packet"
)

// Who asks for a VIP is answered, alone, whatever form the question has.
func TestQueriesForVIPsAreAnswered(t *testing.T) {
	for _, tc := range []struct {
		name  string
		frame []byte
		want  Reason
		ans   seen
	}{
		{"broadcast", request(macR, real1, vip), Answered,
			seen{ethDst: macR, what: "reply", src: vip, target: real1, sha: macA, tha: macR}},
		{"unicast re-probe", arpFrame(macA, macR, 1, macR, real1, noMAC, vip), Answered,
			seen{ethDst: macR, what: "reply", src: vip, target: real1, sha: macA, tha: macR}},
		{"from another subnet", request(macR, ip("198.51.100.7"), vip), Answered,
			seen{ethDst: macR, what: "reply", src: vip, target: ip("198.51.100.7"), sha: macA, tha: macR}},
		{"address probe, arping -D, THA ff", arpFrame(broadcast, macR, 1, macR, zero4, broadcast, vip), ProbeAnswered,
			seen{ethDst: macR, what: "reply", src: vip, target: zero4, sha: macA, tha: macR}},
		{"solicitation", solicit(packet.MAC{0x33, 0x33, 0xff, 0, 0, 0x90}, macR, real6, ip("ff02::1:ff00:90"), vip6, macR), Answered,
			seen{ethDst: macR, what: "advert", src: vip6, dst: real6, target: vip6, sha: macA, flags: 0x60}},
		{"unicast solicitation without link-layer address", solicit(macA, macR, real6, vip6, vip6, noMAC), Answered,
			seen{ethDst: macR, what: "advert", src: vip6, dst: real6, target: vip6, sha: macA, flags: 0x60}},
		{"duplicate address detection", solicit(packet.MAC{0x33, 0x33, 0xff, 0, 0, 0x90}, macR, zero6, ip("ff02::1:ff00:90"), vip6, noMAC), ProbeAnswered,
			seen{ethDst: allNodeM, what: "advert", src: vip6, dst: allNodes, target: vip6, sha: macA, flags: 0x20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, now := newCache(t, Config{})
			got := one(t, input(t, c, now, 0, tc.frame, tc.want))
			if got != tc.ans {
				t.Errorf("answer %+v\nwant   %+v", got, tc.ans)
			}
			if c.Counters()[tc.want] != 1 || len(c.table.index) != 0 {
				t.Errorf("counted %d, %d entries made", c.Counters()[tc.want], len(c.table.index))
			}
		})
	}
}

func TestRouterFlag(t *testing.T) {
	c, now := newCache(t, Config{Router: true})
	ask := solicit(macA, macR, real6, vip6, vip6, macR)
	if got := one(t, input(t, c, now, 0, ask, Answered)); got.flags != 0xe0 {
		t.Errorf("flags %#x, want R, S and O", got.flags)
	}
}

// What must neither be answered nor learned from.
func TestFramesThatLeadToNothing(t *testing.T) {
	broken := solicit(macA, macR, real6, vip6, vip6, macR)
	broken[len(broken)-1] ^= 1 // after the checksum was made
	ask4 := request(macR, real1, vip)
	group := packet.MAC{1, 0, 0x5e, 0, 0, 1}
	for _, tc := range []struct {
		name  string
		frame []byte
		want  Reason
	}{
		{"empty", nil, NotNeighbour},
		{"IPv4", data("not ARP"), NotNeighbour},
		{"RARP operation", arpFrame(broadcast, macR, 3, macR, real1, noMAC, vip), NotNeighbour},
		{"router solicitation", ndFrame(allNodeM, macR, real6, allNodes, 255, gopacket.Payload{0, 0, 0, 0}, 133), NotNeighbour},
		{"cut ARP", ask4[:41], Malformed},
		{"sender without MAC", request(noMAC, real1, vip), Malformed},
		{"sender with broadcast MAC", request(broadcast, real1, vip), Malformed},
		{"reply claiming a group MAC, RFC 1812 section 3.3.2", reply(macA, group, real1, dip), Malformed},
		{"multicast sender", request(macR, ip("224.0.0.1"), vip), Malformed},
		{"broadcast sender", request(macR, ip("255.255.255.255"), vip), Malformed},
		{"loopback sender", request(macR, ip("127.0.0.1"), vip), Malformed},
		{"reply without sender", reply(macA, macR, zero4, dip), Malformed},
		{"wrong checksum", broken, Malformed},
		{"code not zero", mangle(solicit(macA, macR, real6, vip6, vip6, macR), 55, 1), Malformed},
		{"cut solicitation", solicit(macA, macR, real6, vip6, vip6, macR)[:70], Malformed},
		{"probe with link-layer address", solicit(allNodeM, macR, zero6, ip("ff02::1:ff00:90"), vip6, macR), Malformed},
		{"multicast target", solicit(macA, macR, real6, vip6, allNodes, macR), Malformed},
		{"IPv4-mapped target", solicit(macA, macR, real6, vip6, vip, macR), Malformed},
		{"solicited advertisement to a group", advert(allNodeM, macR, real6, allNodes, 0x60, real6, macR), Malformed},
		{"query for another address", request(macR, real1, real2), NotOurs},
		{"query for the host's own address", request(macR, real1, dip), NotOurs},
		{"query for the other port's VIP", request(macR, real1, vipB), NotOurs},
		{"solicitation for another address", solicit(macA, macR, real6, real6, ip("fd09::99"), macR), NotOurs},
		{"to another host", arpFrame(macEvil, macR, 1, macR, real1, noMAC, vip), OtherHost},
		{"from ourselves", request(macA, dip, vip), Own},
		{"from our other port", request(macB, dipB, vip), Own},
		{"answer not asked for", reply(macA, macR, real1, dip), UnsolicitedIgnored},
		{"announcement, no entry (arp_accept=0)", garp(macR, real1), UnsolicitedIgnored},
		{"announcement as reply, no entry", arpFrame(broadcast, macR, 2, macR, real1, macR, real1), UnsolicitedIgnored},
		{"advertisement, no entry", advert(allNodeM, macR, real6, allNodes, 0x20, real6, macR), UnsolicitedIgnored},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, now := newCache(t, Config{})
			nothing(t, input(t, c, now, 0, tc.frame, tc.want))
			if len(c.table.index) != 0 || c.Counters()[tc.want] != 1 || c.NextStep() != Never {
				t.Errorf("%d entries, counted %d, NextStep %v", len(c.table.index), c.Counters()[tc.want], c.NextStep())
			}
		})
	}
	t.Run("hop limit 254", func(t *testing.T) {
		c, now := newCache(t, Config{})
		f := solicit(macA, macR, real6, vip6, vip6, macR)
		f[21] = 254 // RFC 4861 section 7.1.1; the checksum does not cover it
		nothing(t, input(t, c, now, 0, f, Malformed))
	})
	t.Run("no such port", func(t *testing.T) {
		c, now := newCache(t, Config{})
		for _, port := range []int{-1, 2} {
			nothing(t, input(t, c, now, port, ask4, NoPort))
		}
	})
}

// mangle changes a byte of an ICMPv6 message and mends its checksum, RFC 1624.
func mangle(f []byte, at int, to byte) []byte {
	sum := uint32(^(uint16(f[56])<<8 | uint16(f[57])))
	old := uint16(f[at&^1])<<8 | uint16(f[at|1])
	f[at] = to
	sum += uint32(^old) + (uint32(f[at&^1])<<8 | uint32(f[at|1]))
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	f[56], f[57] = byte(^sum>>8), byte(^sum)
	return f
}

// Addresses the host does not hold are answered for when asked to.
func TestAnswerAddresses(t *testing.T) {
	c := New(Config{Announcements: -1})
	c.SetPorts([]PortConfig{{MAC: macA, Addresses: prefixes("10.9.0.1/24"), AnswerAddresses: true}})
	if got := one(t, input(t, c, 0, 0, request(macR, real1, dip), Answered)); got.src != dip || got.ethDst != macR {
		t.Errorf("answer %+v", got)
	}
	if got := one(t, c.Resolve(0, 0, real1, data("x"))); got.src != dip {
		t.Errorf("asks as %v", got.src)
	}
}

// A VIP no longer owned is not answered for, and not in conflict with who has it now.
func TestNotOwnerNeverAnswers(t *testing.T) {
	c, now := newCache(t, Config{})
	c.SetPorts([]PortConfig{{MAC: macA, Addresses: prefixes("10.9.0.1/24")}})
	nothing(t, input(t, c, now, 0, request(macR, real1, vip), NotOurs))
	nothing(t, input(t, c, now, 0, garp(macR, vip), UnsolicitedIgnored))
}

// Two masters: RFC 5227 section 2.4.
func TestConflictIsReportedInEveryForm(t *testing.T) {
	for name, frame := range map[string][]byte{
		"announcement":              garp(macEvil, vip),
		"announcement as reply":     arpFrame(broadcast, macEvil, 2, macEvil, vip, macEvil, vip),
		"query sent from the VIP":   request(macEvil, vip, real1),
		"answer for the VIP":        reply(macA, macEvil, vip, dip),
		"advertisement":             advert(allNodeM, macEvil, vip6, allNodes, 0x20, vip6, macEvil),
		"advertisement without LLA": advert(allNodeM, macEvil, vip6, allNodes, 0x20, vip6, noMAC),
		"solicitation from the VIP": solicit(macA, macEvil, vip6, real6, real6, macEvil),
	} {
		t.Run(name, func(t *testing.T) {
			c, now := newCache(t, Config{})
			nothing(t, input(t, c, now, 0, frame, Conflict))
			if c.Counters()[Conflict] != 1 || len(c.table.index) != 0 {
				t.Error("not counted, or learned")
			}
			if name == "announcement" { // one port's VIP is nothing to the other
				nothing(t, input(t, c, now, 1, frame, UnsolicitedIgnored))
			}
		})
	}
}

// The same address on two ports is two neighbours.
func TestPortsAreIsolated(t *testing.T) {
	c, now := newCache(t, Config{})
	c.Resolve(now, 0, real1, data("zero"))
	if s := one(t, c.Resolve(now, 1, real1, data("one"))); s.port != 1 || s.src != dipB {
		t.Fatalf("query %+v", s)
	}
	input(t, c, now, 1, reply(macA, macR, real1, dip), OtherHost) // port 0's answer cannot come by port 1
	outs := input(t, c, now, 1, reply(macB, macR, real1, dipB), Learned)
	if len(outs) != 1 || outs[0].Port != 1 || string(outs[0].Frame[14:]) != "one" {
		t.Fatalf("released %+v", outs)
	}
	if _, ok := c.Lookup(0, real1); ok {
		t.Fatal("port 0 learned from port 1")
	}
	input(t, c, now, 0, garp(macNew, real1), Updated)
	if mac, _ := c.Lookup(1, real1); mac != macR {
		t.Fatal("port 1 learned from port 0")
	}
	nothing(t, input(t, c, now, 0, request(macR, real2, vipB), NotOurs))
}

// What agrees with a query of ours but was not sent to us alone is an announcement:
// used, but not proven, and no confirmation.
func TestOnlyWhatIsAddressedToUsIsAnAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		addr  packet.Addr
		frame []byte
	}{
		"reply to another address":         {real1, reply(macA, macR, real1, real2)},
		"reply to 0.0.0.0":                 {real1, reply(macA, macR, real1, zero4)},
		"reply to the VIP":                 {real1, reply(macA, macR, real1, vip)},
		"broadcast reply":                  {real1, arpFrame(broadcast, macR, 2, macR, real1, macA, dip)},
		"advertisement to another address": {real6, advert(macA, macR, real6, ip("fd09::77"), 0x60, real6, macR)},
		"advertisement not solicited":      {real6, advert(macA, macR, real6, dip6, 0x20, real6, macR)},
	} {
		t.Run(name, func(t *testing.T) {
			c, now := newCache(t, Config{})
			c.Resolve(now, 0, tc.addr, data("x"))
			input(t, c, now, 0, tc.frame, Updated)
			wantState(t, c, tc.addr, Delay, macR)
			one(t, c.Step(now+5*sec))
			nothing(t, input(t, c, now+5*sec, 0, tc.frame, Unchanged))
			wantState(t, c, tc.addr, Probe, macR)
		})
	}
}

func TestEthernetSourceOfOursIsOurs(t *testing.T) {
	c, now := newCache(t, Config{})
	nothing(t, input(t, c, now, 0, arpFrame(broadcast, macA, 1, macR, real1, noMAC, vip), Own))
	nothing(t, input(t, c, now, 0, advert(macA, macR, real6, dip6, 0x60, real6, macB), Own))
}

// RFC 4861 section 7.2.4: the answer goes to the solicitation's link-layer address.
func TestSolicitationNamesWhereTheAnswerGoes(t *testing.T) {
	c, now := newCache(t, Config{})
	if s := one(t, input(t, c, now, 0, solicit(macA, macNew, real6, vip6, vip6, macR), Answered)); s.ethDst != macR {
		t.Errorf("answered to %v", s.ethDst)
	}
}
