package packet

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestParseAgreesWithGopacketOnRandomPackets(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20000 {
		s := randomSpec(r)
		b := s.Frame()
		f := NewFrame(append(b, make([]byte, r.IntN(20))...))
		if bad := f.Parse(); bad != None {
			t.Fatalf("%+v: %v", s, bad)
		}
		if f.Flow != s.Flow || f.TTL != s.TTL || f.IPLen() != len(b)-14 || !f.VerifyTransport() {
			t.Fatalf("built %+v\nparsed %+v", s, *f)
		}
		if s.Proto == TCP && f.TCPFlags != s.TCPFlags {
			t.Fatalf("flags %#x, want %#x", f.TCPFlags, s.TCPFlags)
		}
		if !agree(t, f) {
			t.Fatalf("gopacket does not decode %+v", s)
		}
	}
}

func randomSpec(r *rand.Rand) Spec {
	protos := []uint8{TCP, TCP, UDP, UDP, SCTP, ICMP, GRE, ESP}
	s := spec(protos[r.IntN(len(protos))], r.IntN(2) == 0)
	if s.V6 && s.Proto == ICMP {
		s.Proto = ICMPv6
	}
	bytesOf := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	copy(s.Src[12:], bytesOf(4))
	copy(s.Dst[12:], bytesOf(4))
	switch s.Proto {
	case TCP, UDP, SCTP:
		s.SrcPort, s.DstPort = uint16(r.Uint32()), uint16(r.Uint32())
	default:
		s.SrcPort, s.DstPort = 0, 0
	}
	s.TTL, s.TOS, s.ID, s.DF = 1+byte(r.IntN(255)), byte(r.Uint32()), uint16(r.Uint32()), r.IntN(2) == 0
	s.TCPFlags, s.Seq, s.Ack, s.Window = byte(r.Uint32()), r.Uint32(), r.Uint32(), 1+uint16(r.IntN(65535))
	if r.IntN(2) == 0 {
		s.TCPOptions = []byte{2, 4, 5, 180, 1, 3, 3, 7}
	}
	s.ICMPType, s.ICMPCode, s.ICMPRest = byte(r.Uint32()), byte(r.IntN(4)), r.Uint32()
	s.UDPNoSum = !s.V6 && r.IntN(8) == 0
	s.Payload = bytesOf(r.IntN(100))
	return s
}

// agree fails if gopacket reads something else from f's packet than Parse did, and
// reports whether gopacket found all the layers that Parse did (it refuses more).
func agree(t *testing.T, f *Frame) bool {
	t.Helper()
	first := gopacket.LayerType(layers.LayerTypeEthernet)
	if !f.L2 {
		first = layers.LayerTypeIPv4
		if f.Flow.V6 {
			first = layers.LayerTypeIPv6
		}
	}
	pkt := gopacket.NewPacket(f.Bytes(), first, gopacket.DecodeOptions{Lazy: false, NoCopy: true})
	var src, dst netip.Addr
	if !f.Flow.V6 {
		ip, ok := pkt.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if !ok {
			return false
		}
		src, _ = netip.AddrFromSlice(ip.SrcIP.To4())
		dst, _ = netip.AddrFromSlice(ip.DstIP.To4())
		if uint8(ip.Protocol) != f.Flow.Proto || ip.TTL != f.TTL || uint32(ip.IHL)*4 != f.L4-f.L3 ||
			ip.FragOffset*8 != f.FragOff || (ip.Flags&layers.IPv4MoreFragments != 0) != f.MoreFrag ||
			(ip.Flags&layers.IPv4DontFragment != 0) != f.DF {
			t.Fatalf("IPv4 %+v\nparsed %+v", ip, *f)
		}
	} else {
		ip, ok := pkt.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		if !ok {
			return false
		}
		src, _ = netip.AddrFromSlice(ip.SrcIP)
		dst, _ = netip.AddrFromSlice(ip.DstIP)
		if ip.HopLimit != f.TTL {
			t.Fatalf("IPv6 %+v\nparsed %+v", ip, *f)
		}
	}
	if AddrFrom(src) != f.Flow.Src || AddrFrom(dst) != f.Flow.Dst {
		t.Fatalf("gopacket %v to %v, parsed %+v", src, dst, f.Flow)
	}
	p := f.Flow.Proto
	if p != TCP && p != UDP && p != SCTP || f.FragOff != 0 {
		return true
	}
	var sp, dp uint16
	switch l := pkt.TransportLayer().(type) {
	case *layers.TCP:
		sp, dp = uint16(l.SrcPort), uint16(l.DstPort)
	case *layers.UDP:
		sp, dp = uint16(l.SrcPort), uint16(l.DstPort)
	case *layers.SCTP:
		sp, dp = uint16(l.SrcPort), uint16(l.DstPort)
	default:
		return false
	}
	if sp != f.Flow.SrcPort || dp != f.Flow.DstPort {
		t.Fatalf("gopacket ports %d %d, parsed %+v", sp, dp, f.Flow)
	}
	return true
}
