package dataplane_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// complaint is an ICMP error from a host about a packet of another's, with so many bytes
// more in its quote.
func complaint(port int, from packet.Addr, quoted packet.Spec, more int) packet.Spec {
	s := packet.Spec{
		Flow:     packet.Flow{Src: from, Dst: quoted.Src, Proto: packet.ICMP, V6: quoted.V6},
		ICMPType: 3, TTL: 64, DF: true, EthDst: dirMACs[port], EthSrc: hostMAC(port, from),
		Payload: append(quoted.Frame()[14:], make([]byte, more)...),
	}
	if s.V6 {
		s.Proto, s.ICMPType = packet.ICMPv6, 1
	}
	return s
}

// An error is routed like any packet, before a hook sees it: nobody believes one from a
// source that cannot be (RFC 1812 section 5.3.7).
func TestICMPErrorOfAMartian(t *testing.T) {
	g := newRig(t, 1)
	g.serve(packet.TCP, 80, "rr", server(rs1, 8080, conf.NAT))
	g.rx(0, 0, tcp(client, 40000, packet.SYN).Frame(), packet.Vnet{})
	about := answer(vip, 80, client, 40000, packet.ACK)
	if g.rx(0, 0, complaint(0, client, about, 0).Frame(), packet.Vnet{}); g.r != dataplane.ForwardNAT {
		t.Fatalf("error of the client: %v", g.r)
	}
	if s := g.rx(0, 0, complaint(0, addr("127.0.0.1"), about, 0).Frame(), packet.Vnet{}); g.r != dataplane.Martian || len(s) != 0 {
		t.Errorf("error of 127.0.0.1: %v, %d frames", g.r, len(s))
	}
}

// An error with a record route option is recorded in by the way to the client too
// (ip_forward_options).
func TestICMPErrorRecordsItsRoute(t *testing.T) {
	g := newRig(t, 1)
	g.serve(packet.TCP, 80, "rr", server(rs1, 8080, conf.NAT))
	g.rx(0, 0, tcp(client, 40000, packet.SYN).Frame(), packet.Vnet{})
	about := tcp(client, 40000, packet.SYN)
	about.Dst, about.DstPort = rs1, 8080
	b := complaint(1, rs1, about, 0).Frame()
	b = slices.Insert(b, 34, 7, 7, 4, 0, 0, 0, 0, 0) // RFC 791 section 3.1
	b[14], b[17] = 0x47, b[17]+8
	b[24], b[25] = 0, 0
	binary.BigEndian.PutUint16(b[24:], packet.Checksum(b[14:42]))
	s := g.rx(0, 1, b, packet.Vnet{})
	if want := []byte{7, 7, 8, 10, 0, 1, 1, 0}; len(s) != 1 || !bytes.Equal(s[0].frame[34:42], want) {
		t.Fatalf("%v, %d frames; want options %x: %x", g.r, len(s), want, s)
	}
}

// An error that is too long for its way out is cut only on the way to a server, and in
// IPv4; nobody is told about one that is not (__ip_vs_get_out_rt, ip_forward).
func TestICMPErrorTooLong(t *testing.T) {
	for _, row := range []struct {
		name             string
		client, vip, rip packet.Addr
		toServer         int // frames
	}{
		{"IPv4", client, vip, rs1, 2},
		{"IPv6", addr("2001:db8:1::7"), addr("2001:db8:1::100"), addr("2001:db8:2::11"), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newRig(t, 1)
			env := dataplane.Environment{HostPort: -1}
			for i, nets := range [][]string{{"10.0.1.1/24", "2001:db8:1::1/64"}, {"10.0.2.1/24", "2001:db8:2::1/64"}} {
				p := dataplane.PortEnv{Link: dataplane.Link{Name: []string{"cl0", "sv0"}[i], MAC: dirMACs[i], MTU: 1300, L2: true}}
				for _, n := range nets {
					pre := netip.MustParsePrefix(n)
					p.Addresses = append(p.Addresses, pre)
					env.Routes = append(env.Routes, dataplane.Route{Dest: pre.Masked(), Port: i})
				}
				env.Ports = append(env.Ports, p)
			}
			g.plane.SetEnvironment(env)
			g.plane.Neighbors().SetStatic([]arp.Static{
				{Port: 0, Addr: row.client, MAC: hostMAC(0, row.client)}, {Port: 1, Addr: row.rip, MAC: hostMAC(1, row.rip)},
			})
			key := conf.ServiceKey{Proto: packet.TCP, Addr: row.vip.Netip(), Port: 80}
			if err := g.plane.AddService(conf.Service{Key: key, Scheduler: "rr"}); err != nil {
				t.Fatal(err)
			}
			if err := g.plane.AddServer(key, server(row.rip, 8080, conf.NAT)); err != nil {
				t.Fatal(err)
			}
			g.plane.Publish()
			syn := tcp(row.client, 40000, packet.SYN)
			syn.Dst, syn.V6 = row.vip, !row.vip.Is4()
			g.rx(0, 0, syn.Frame(), packet.Vnet{})
			about := answer(row.vip, 80, row.client, 40000, packet.ACK)
			about.V6 = syn.V6
			for more, frames := range map[int]int{0: 1, 1300: row.toServer} {
				if s := g.rx(0, 0, complaint(0, row.client, about, more).Frame(), packet.Vnet{}); len(s) != frames {
					t.Errorf("to the server, %d bytes more: %v, %d frames; want %d", more, g.r, len(s), frames)
				}
			}
			about = tcp(row.client, 40000, packet.ACK)
			about.Dst, about.DstPort, about.V6 = row.rip, 8080, syn.V6
			for more, frames := range map[int]int{0: 1, 1300: 0} {
				if s := g.rx(0, 1, complaint(1, row.rip, about, more).Frame(), packet.Vnet{}); len(s) != frames {
					t.Errorf("to the client, %d bytes more: %v, %d frames; want %d", more, g.r, len(s), frames)
				}
			}
		})
	}
}

// A long ping that came as an atomic fragment (RFC 6946), from a path with a larger MTU
// than the way back, is answered in pieces with one fragment header each.
func TestLongEchoReplyToAtomicFragment(t *testing.T) {
	g := newRig(t, 1)
	vip6, client6 := addr("2001:db8:1::100"), addr("2001:db8:1::7")
	g.env.Routes = append(g.env.Routes, dataplane.Route{Dest: netip.MustParsePrefix("2001:db8:1::/64"), Port: 0})
	g.plane.SetEnvironment(g.env)
	g.plane.Neighbors().SetStatic([]arp.Static{{Port: 0, Addr: client6, MAC: hostMAC(0, client6)}})
	if err := g.plane.AddService(conf.Service{Key: conf.ServiceKey{Proto: packet.TCP, Addr: vip6.Netip(), Port: 80}, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	g.plane.Publish()
	for _, size := range []int{100, 3000} {
		ping := packet.Spec{
			Flow:     packet.Flow{Src: client6, Dst: vip6, Proto: packet.ICMPv6, V6: true},
			ICMPType: packet.ICMPv6EchoRequest, Payload: make([]byte, size), EthDst: dirMACs[0], EthSrc: hostMAC(0, client6),
		}.Frame()
		ping = slices.Insert(ping, 14+40, packet.ICMPv6, 0, 0, 0, 1, 2, 3, 4)
		binary.BigEndian.PutUint16(ping[14+4:], uint16(8+8+size))
		ping[14+6] = 44
		out := g.rx(0, 0, ping, packet.Vnet{})
		if g.v != dataplane.Taken || g.r != dataplane.AnsweredEcho {
			t.Fatalf("%d bytes: ends as %v, %v", size, g.v, g.r)
		}
		if size == 100 {
			if len(out) != 1 || out[0].frame[14+6] != packet.ICMPv6 {
				t.Errorf("the short reply has next header %d", out[0].frame[14+6])
			}
			continue
		}
		got := 0
		for _, s := range out {
			b := s.frame[14:]
			if b[6] != 44 || b[40] != packet.ICMPv6 || len(b) > 1500 {
				t.Errorf("a piece of %d bytes with next headers %d, %d", len(b), b[6], b[40])
			}
			got += len(b) - 48
		}
		if got != 8+size {
			t.Errorf("%d bytes in %d pieces, want %d", got, len(out), 8+size)
		}
	}
}
