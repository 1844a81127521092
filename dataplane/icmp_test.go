package dataplane_test

import (
	"testing"

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
