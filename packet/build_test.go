package packet

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// serialize builds s with gopacket, lengths and checksums by its own code.
func serialize(t *testing.T, s Spec) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: s.EthSrc[:], DstMAC: s.EthDst[:], EthernetType: layers.EthernetTypeIPv4}
	var network gopacket.SerializableLayer
	var pseudo gopacket.NetworkLayer
	if s.V6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, TrafficClass: s.TOS, NextHeader: layers.IPProtocol(s.Proto), HopLimit: s.TTL,
			SrcIP: net.IP(s.Src[:]), DstIP: net.IP(s.Dst[:])}
		network, pseudo = ip, ip
	} else {
		ip := &layers.IPv4{Version: 4, TOS: s.TOS, Id: s.ID, TTL: s.TTL, Protocol: layers.IPProtocol(s.Proto),
			SrcIP: net.IP(s.Src[12:]), DstIP: net.IP(s.Dst[12:])}
		if s.DF {
			ip.Flags = layers.IPv4DontFragment
		}
		network, pseudo = ip, ip
	}
	ls := []gopacket.SerializableLayer{eth, network}
	switch s.Proto {
	case TCP:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(s.SrcPort), DstPort: layers.TCPPort(s.DstPort), Seq: s.Seq, Ack: s.Ack,
			Window: s.Window, FIN: s.TCPFlags&FIN != 0, SYN: s.TCPFlags&SYN != 0, RST: s.TCPFlags&RST != 0, PSH: s.TCPFlags&PSH != 0,
			ACK: s.TCPFlags&ACK != 0, URG: s.TCPFlags&URG != 0, ECE: s.TCPFlags&0x40 != 0, CWR: s.TCPFlags&0x80 != 0}
		if s.TCPOptions != nil { // those of randomSpec
			tcp.Options = []layers.TCPOption{
				{OptionType: 2, OptionLength: 4, OptionData: []byte{5, 180}},
				{OptionType: 1}, {OptionType: 3, OptionLength: 3, OptionData: []byte{7}}}
		}
		tcp.SetNetworkLayerForChecksum(pseudo)
		ls = append(ls, tcp)
	case UDP:
		udp := &layers.UDP{SrcPort: layers.UDPPort(s.SrcPort), DstPort: layers.UDPPort(s.DstPort)}
		udp.SetNetworkLayerForChecksum(pseudo)
		ls = append(ls, udp)
	case ICMP:
		ls = append(ls, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(s.ICMPType, s.ICMPCode),
			Id: uint16(s.ICMPRest >> 16), Seq: uint16(s.ICMPRest)})
	case ICMPv6:
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(s.ICMPType, s.ICMPCode)}
		icmp.SetNetworkLayerForChecksum(pseudo)
		r := s.ICMPRest
		ls = append(ls, icmp, gopacket.Payload{byte(r >> 24), byte(r >> 16), byte(r >> 8), byte(r)})
	}
	buf := gopacket.NewSerializeBuffer()
	ls = append(ls, gopacket.Payload(s.Payload))
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestSpecBuildsWhatGopacketBuilds(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 20000 {
		s := randomSpec(r)
		if s.Proto == SCTP {
			continue // gopacket's serializer has another idea of its CRC's byte order
		}
		got, want := s.Frame(), serialize(t, s)
		if len(want) == 60 { // gopacket pads to the least Ethernet frame
			want = want[:min(60, len(got))]
		}
		if s.Proto == UDP && (s.UDPNoSum || want[len(want)-len(s.Payload)-2]|want[len(want)-len(s.Payload)-1] == 0) {
			at := len(want) - len(s.Payload) - 2 // gopacket never writes "none", nor 0xffff for 0
			copy(want[at:], got[at:at+2])
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%+v\ngot  %x\nwant %x", s, got, want)
		}
	}
}

// RFC 9260 appendix A: the CRC32c register, sent with its least significant byte first.
func TestSpecBuildsSCTP(t *testing.T) {
	s := spec(SCTP, false)
	b := s.Frame()[34:]
	whole := append(append(append([]byte{}, b[:8]...), 0, 0, 0, 0), b[12:]...)
	c := crc32.Checksum(whole, crc32.MakeTable(crc32.Castagnoli))
	want := append([]byte{0x9c, 0x41, 0, 80, 0, 0, 0, 0, byte(c), byte(c >> 8), byte(c >> 16), byte(c >> 24)}, "payload"...)
	if !bytes.Equal(b, want) {
		t.Errorf("got  %x\nwant %x", b, want)
	}
}

func TestSpecDefaults(t *testing.T) {
	b := Spec{Flow: Flow{Src: client4, Dst: vip4, Proto: TCP}}.IP()
	if b[8] != 64 || b[34] != 0xff || b[35] != 0xff {
		t.Errorf("TTL %d window %x, want 64 ffff", b[8], b[34:36])
	}
}

func TestNewFrameIsACopyBehindHeadroom(t *testing.T) {
	b := spec(UDP, false).Frame()
	f := NewFrame(b)
	if f.Start != Headroom || !f.L2 || !bytes.Equal(f.Bytes(), b) {
		t.Fatalf("%+v", *f)
	}
	b[0] ^= 0xff
	if bytes.Equal(f.Bytes(), b) {
		t.Error("the frame shares the caller's bytes")
	}
}
