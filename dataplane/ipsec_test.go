package dataplane_test

import (
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// AH and ESP go the way of the connection between UDP ports 500, and nowhere without
// one; they renew its timer and leave its state alone.
func TestIPsecFollowsIKE(t *testing.T) {
	for _, proto := range []uint8{packet.AH, packet.ESP} {
		g := newRig(t, 1)
		g.serve(packet.UDP, 500, "rr", server(rs1, 500, conf.NAT))
		body := []byte{50, 4, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} // AH: next header, length, SPI, sequence
		in := packet.Spec{Flow: packet.Flow{Src: client, Dst: vip, Proto: proto}, TTL: 64, Payload: body, EthDst: dirMACs[0], EthSrc: hostMAC(0, client)}
		if s := g.rx(0, 0, in.Frame(), packet.Vnet{}); len(s) != 1 || g.v != dataplane.Taken || g.r != dataplane.NotBalanced {
			t.Errorf("protocol %d without a connection: %v, %v", proto, g.v, g.r)
		}
		ike := packet.Spec{Flow: packet.Flow{Src: client, SrcPort: 500, Dst: vip, DstPort: 500, Proto: packet.UDP}, EthDst: dirMACs[0], EthSrc: hostMAC(0, client)}
		g.one(g.rx(0, 0, ike.Frame(), packet.Vnet{}), 1)
		g.now += 299 * time.Second
		f := g.one(g.rx(0, 0, in.Frame(), packet.Vnet{}), 1)
		if f.Flow.Dst != rs1 || f.Flow.Src != client || f.TTL != 63 {
			t.Errorf("protocol %d: to %v from %v, TTL %d", proto, f.Flow.Dst, f.Flow.Src, f.TTL)
		}
		g.now += 299 * time.Second // beyond the connection's 300 s, had that not renewed it
		out := packet.Spec{Flow: packet.Flow{Src: rs1, Dst: client, Proto: proto}, TTL: 64, Payload: body, EthDst: dirMACs[1], EthSrc: hostMAC(1, rs1)}
		if f := g.one(g.rx(0, 1, out.Frame(), packet.Vnet{}), 0); f.Flow.Src != vip || g.r != dataplane.ForwardReply {
			t.Errorf("protocol %d: answer from %v, %v; want it from the VIP", proto, f.Flow.Src, g.r)
		}
		n := 0
		g.plane.EachConn(func(c dataplane.Conn) bool {
			n++
			if c.State != "UDP" || c.Packets != 2 || c.Expires != 300*time.Second-conntrack.TickLen && c.Expires != 300*time.Second {
				t.Errorf("protocol %d: %+v, want UDP, 2 packets, 300 s", proto, c)
			}
			return true
		})
		if n != 1 {
			t.Errorf("protocol %d: %d entries, want 1", proto, n)
		}
		in.Flow.Src = addr("10.0.1.8")
		if s := g.rx(0, 0, in.Frame(), packet.Vnet{}); len(s) != 1 || g.r != dataplane.NotBalanced {
			t.Errorf("protocol %d of another client: %v", proto, g.r)
		}
	}
}

// Fragments of ESP are not collected: each goes by its addresses.
func TestIPsecFragmentsGoOneByOne(t *testing.T) {
	g := newRig(t, 1)
	g.serve(packet.UDP, 500, "rr", server(rs1, 500, conf.DR))
	ike := packet.Spec{Flow: packet.Flow{Src: client, SrcPort: 500, Dst: vip, DstPort: 500, Proto: packet.UDP}, EthDst: dirMACs[0], EthSrc: hostMAC(0, client)}
	g.one(g.rx(0, 0, ike.Frame(), packet.Vnet{}), 1)
	for _, flags := range []byte{0x20, 0x01} { // the first of more; a later one, at offset 2048
		b := packet.Spec{Flow: packet.Flow{Src: client, Dst: vip, Proto: packet.ESP}, Payload: make([]byte, 64), EthDst: dirMACs[0], EthSrc: hostMAC(0, client)}.Frame()
		b[20] = flags
		b[24], b[25] = 0, 0
		sum := ^packet.Fold(packet.Sum(b[14:34], 0))
		b[24], b[25] = byte(sum>>8), byte(sum)
		if f := g.one(g.rx(0, 0, b, packet.Vnet{}), 1); f.DstMAC() != hostMAC(1, rs1) || !f.Fragment() {
			t.Errorf("fragment %#x: to %v", flags, f.DstMAC())
		}
	}
}
