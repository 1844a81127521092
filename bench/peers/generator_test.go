package main

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// Every flow's frame is what another's implementation makes of the same headers, its
// checksums included.
func TestFrames(t *testing.T) {
	from, mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	to := netip.MustParseAddrPort("198.51.100.1:80")
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		var g generator
		g.template(from, mac, to, proto)
		seen := map[string]bool{}
		for _, flow := range []uint32{0, 1, 15, 16, 17, 999, 65535, 65536, 99_999, 1<<20 - 1, 1 << 20, maxFlows - 1} {
			f := &g.frames[flow%burst]
			g.set(f, flow)
			p := gopacket.NewPacket(f[:], layers.LayerTypeEthernet, gopacket.Default)
			ip, ok := p.NetworkLayer().(*layers.IPv4)
			if !ok || !netip.MustParsePrefix("172.16.0.0/12").Contains(netip.AddrFrom4([4]byte(ip.SrcIP))) {
				t.Fatalf("flow %d: %v", flow, p)
			}
			key := p.NetworkLayer().NetworkFlow().String() + p.TransportLayer().TransportFlow().String()
			if seen[key] {
				t.Errorf("flow %d is another's too: %s", flow, key)
			}
			seen[key] = true
			ipCheck := ip.Checksum
			var check, want uint16
			out := gopacket.NewSerializeBuffer()
			opt := gopacket.SerializeOptions{ComputeChecksums: true}
			switch l := p.TransportLayer().(type) {
			case *layers.UDP:
				check = l.Checksum
				_ = l.SetNetworkLayerForChecksum(ip)
				if err := gopacket.SerializeLayers(out, opt, ip, l, gopacket.Payload(l.Payload)); err != nil {
					t.Fatal(err)
				}
				want = l.Checksum
			case *layers.TCP:
				check = l.Checksum
				if !l.SYN || l.ACK || l.RST || l.FIN {
					t.Errorf("flow %d: %v", flow, l)
				}
				_ = l.SetNetworkLayerForChecksum(ip)
				if err := gopacket.SerializeLayers(out, opt, ip, l); err != nil {
					t.Fatal(err)
				}
				want = l.Checksum
			}
			if ip.Checksum != ipCheck || check != want {
				t.Errorf("protocol %d flow %d: checksums %#04x %#04x, want %#04x %#04x", proto, flow, ipCheck, check, ip.Checksum, want)
			}
		}
	}
}
