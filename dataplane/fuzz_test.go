package dataplane_test

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// Whatever comes in: no panic, one verdict, and no frame goes out whose checksums an
// independent decoder finds wrong, unless they were wrong when it came in.
func FuzzPipeline(f *testing.F) {
	vnet := func(t, flags uint8, hdr, size, start, off uint16) []byte {
		b := []byte{flags, t}
		for _, n := range []uint16{hdr, size, start, off} {
			b = binary.LittleEndian.AppendUint16(b, n)
		}
		return b
	}
	plain := vnet(0, 0, 0, 0, 0, 0)
	udp := packet.Spec{Flow: packet.Flow{Src: client, SrcPort: 5000, Dst: vip, DstPort: 53, Proto: packet.UDP}, EthDst: dirMACs[0], EthSrc: hostMAC(0, client), Payload: []byte("question")}
	long := tcp(client, 40009, packet.ACK)
	long.Payload = make([]byte, 4000)
	six := udp
	six.Flow = packet.Flow{Src: addr("2001:db8::7"), SrcPort: 5000, Dst: addr("2001:db8::100"), DstPort: 53, Proto: packet.UDP, V6: true}
	f.Add(uint8(0), plain, tcp(client, 40000, packet.SYN).Frame())             // opens a connection
	f.Add(uint8(1), plain, answer(rs1, 80, client, 40000, packet.ACK).Frame()) // an answer
	f.Add(uint8(0), plain, udp.Frame())                                        // UDP
	f.Add(uint8(2), plain, six.Frame())                                        // IPv6
	f.Add(uint8(0), vnet(packet.VnetGSOTCPv4, packet.VnetNeedsCsum, 54, 1400, 34, 16), long.Frame())
	f.Add(uint8(4), plain, packet.AppendARP(nil, packet.Broadcast, hostMAC(0, client), packet.ARPHeader{Op: packet.ARPRequest, SHA: hostMAC(0, client), SPA: client, TPA: vip}))
	f.Fuzz(func(t *testing.T, how uint8, vn, frame []byte) {
		if len(frame) > 70_000 || len(vn) < 10 {
			return
		}
		g := newRig(t, 1)
		method := []conf.Forward{conf.NAT, conf.DR, conf.Tunnel}[how>>1%3]
		port := int(how & 1)
		for _, k := range []conf.ServiceKey{
			{Proto: packet.TCP, Addr: vip.Netip(), Port: 80}, {Proto: packet.UDP, Addr: vip.Netip(), Port: 53},
			{Proto: packet.UDP, Addr: addr("2001:db8::100").Netip(), Port: 53},
		} {
			if err := g.plane.AddService(conf.Service{Key: k, Scheduler: "rr"}); err != nil {
				t.Fatal(err)
			}
			rs := server(rs1, k.Port, method)
			if k.Addr.Is6() {
				rs = server(addr("2001:db8::11"), 53, method)
			}
			if err := g.plane.AddServer(k, rs); err != nil {
				t.Fatal(err)
			}
		}
		g.plane.Publish()
		g.rx(0, 0, tcp(client, 40000, packet.SYN).Frame(), packet.Vnet{}) // so that answers and more packets have something to meet
		v := packet.Vnet{
			Flags: vn[0] & packet.VnetNeedsCsum, GSOType: vn[1], HdrLen: binary.LittleEndian.Uint16(vn[2:]),
			GSOSize: binary.LittleEndian.Uint16(vn[4:]), CsumStart: binary.LittleEndian.Uint16(vn[6:]), CsumOffset: binary.LittleEndian.Uint16(vn[8:]),
		}
		in := packet.NewFrame(frame)
		good := in.Parse() == packet.None && v == packet.Vnet{} && in.VerifyTransport()
		for _, s := range g.rx(0, port, frame, v) {
			if v == (packet.Vnet{}) {
				checkSums(t, s.frame, good)
			}
		}
		g.workers[0].HandOver()
		total := uint64(0)
		for _, n := range g.plane.Reasons() {
			total += n
		}
		if total != 2 { // the SYN and the frame
			t.Errorf("%d reasons counted for 2 frames", total)
		}
	})
}

// checkSums decodes a frame with gopacket and recomputes its checksums there.
func checkSums(t *testing.T, b []byte, transport bool) {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var network gopacket.NetworkLayer
	fragment := false
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			if sum(l.Contents) != 0xffff {
				t.Errorf("IPv4 header checksum is wrong: %x", b)
			}
			network, fragment = l, l.Flags&layers.IPv4MoreFragments != 0 || l.FragOffset != 0
		case *layers.IPv6:
			network = l
		case *layers.TCP, *layers.UDP:
			if !transport || fragment || network == nil {
				continue
			}
			content := append(append([]byte(nil), p.TransportLayer().LayerContents()...), p.TransportLayer().LayerPayload()...)
			if u, ok := l.(*layers.UDP); ok && (u.Checksum == 0 || int(u.Length) != len(content)) {
				continue
			}
			pseudo := append(append([]byte(nil), network.NetworkFlow().Src().Raw()...), network.NetworkFlow().Dst().Raw()...)
			proto := byte(6)
			if _, ok := l.(*layers.UDP); ok {
				proto = 17
			}
			pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(content)))
			pseudo = append(pseudo, 0, 0, 0, proto)
			if sum(append(pseudo, content...)) != 0xffff {
				t.Errorf("transport checksum is wrong: %x", b)
			}
		}
	}
}

// sum is RFC 1071, word by word.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
