package fastpath

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// A datagram whose checksum its sender left to the hardware arrives by other addresses and
// another port, and the checksum that is then made for it is right: the server's stack
// takes it.
func TestUnfinishedChecksum(t *testing.T) {
	clients, middle, servers := lab.New(t, "client"), lab.New(t, "middle"), lab.New(t, "server")
	for _, n := range []*lab.NS{clients, middle, servers} {
		n.Sysctl("ipv6/conf/all/disable_ipv6", "1")
	}
	lab.Veth(lab.Link{NS: clients, Dev: "c0"}, lab.Link{NS: middle, Dev: "m0"}, 1)
	lab.Veth(lab.Link{NS: middle, Dev: "m1"}, lab.Link{NS: servers, Dev: "s0"}, 1)
	middle.Offloads("m1", false) // the kernel finishes checksums before it sends
	clients.IP("addr add 10.1.0.2/24 dev c0", "route add default via 10.1.0.1")
	middle.IP("addr add 10.1.0.1/24 dev m0", "addr add 10.2.0.1/24 dev m1")
	servers.IP("addr add 10.2.0.2/24 dev s0", "route add default via 10.2.0.1")

	flows, err := newFlows()
	if err != nil {
		t.Fatal(err)
	}
	defer flows.Close()
	middle.Do(func() {
		var outside, inside *net.Interface
		if outside, err = net.InterfaceByName("m0"); err != nil {
			return
		}
		if inside, err = net.InterfaceByName("m1"); err != nil {
			return
		}
		e := entry{Src: client, Dst: server, SrcPort: [2]byte{0x9c, 0x40}, DstPort: [2]byte{0x1f, 0x90}, Device: uint32(inside.Index),
			MACs: macs(packet.MAC(servers.MAC("s0")), inside)}
		e.diffs(vip, server, 53, 8080)
		if err = flows.Put(key{client, vip, [2]byte{0x9c, 0x40}, [2]byte{0, 53}, packet.UDP}, e); err != nil {
			return
		}
		var p *ebpf.Program
		if p, err = load(flows, learning(config, outside, inside)); err != nil {
			return
		}
		t.Cleanup(func() { p.Close() })
		var l link.Link
		if l, err = link.AttachTCX(link.TCXOptions{Interface: outside.Index, Program: p, Attach: ebpf.AttachTCXIngress}); err == nil {
			t.Cleanup(func() { l.Close() })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	at := servers.ListenUDP(netip.AddrPortFrom(netip.AddrFrom4(server), 8080))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := clients.Dial(ctx, "udp", netip.AddrPortFrom(netip.AddrFrom4(vip), 53).String(), netip.AddrPortFrom(netip.AddrFrom4(client), 40000))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var buf [64]byte
	lab.Until(t, 10*time.Second, func() (bool, string) { // the first may wait for ARP, and longer than it is kept
		if _, err := c.Write([]byte("question")); err != nil {
			t.Fatal(err)
		}
		_ = at.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, from, err := at.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			out, _ := servers.Run("cat", "/proc/net/snmp")
			return false, err.Error() + "\n" + out
		}
		return string(buf[:n]) == "question" && from == netip.AddrPortFrom(netip.AddrFrom4(client), 40000), from.String()
	})
}
