package encap

import (
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

var (
	benchTCP  = spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 40000, dport: 80, ttl: 255, df: true, flags: 0x18, payload: make([]byte, 512), l2: true}
	benchUDP  = spec{proto: packet.UDP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), sport: 40000, dport: 80, ttl: 255, payload: make([]byte, 512), l2: true}
	benchTCP6 = spec{v6: true, proto: packet.TCP, src: addr("2001:db8::7"), dst: addr("2001:db8:1::100"), sport: 40000, dport: 80, ttl: 255, flags: 0x18, payload: make([]byte, 512), l2: true}
)

// batch is how many frames the hot path sees at once; a rare allocation shows in one.
const batch = 64

// hotPath is everything that is done to frames one by one, as a function over a batch.
// Each call begins with the frames as received; "nothing" shows what that costs.
func hotPath(tb testing.TB) map[string]func() {
	each := func(s spec, partial bool, do func(f *packet.Frame)) func() {
		const headers = packet.Headroom + 14 + 40 + 20
		var lent, work [batch]packet.Frame
		for i := range lent {
			lent[i] = *s.frame(tb, partial)
		}
		received := [headers]byte(lent[0].Buf)
		return func() {
			work = lent
			for i := range work {
				*(*[headers]byte)(work[i].Buf) = received
				do(&work[i])
			}
		}
	}
	rip, rip6 := v4(10, 0, 2, 11), addr("2001:db8:2::b")
	nat := func(rip packet.Addr) func(f *packet.Frame) {
		return func(f *packet.Frame) {
			DecTTL(f)
			Dest(f, rip, 8080)
		}
	}
	tunnel := func(t *Tunnel) func(f *packet.Frame) {
		return func(f *packet.Frame) {
			if !DecTTL(f) || !Encapsulate(f, t, 99) {
				panic("refused")
			}
		}
	}
	ends := Tunnel{Src: v4(10, 0, 2, 1), Dst: rip, PMTUDisc: true, Port: 6080}
	gue, gueCsum, gre := ends, ends, ends
	gue.Kind, gueCsum.Kind, gueCsum.Csum, gre.Kind = GUE, GUE, true, GRE
	ends6 := Tunnel{Src: addr("2001:db8:2::1"), Dst: rip6, V6: true}
	return map[string]func(){
		"nothing":        each(benchTCP, false, func(*packet.Frame) {}),
		"NAT":            each(benchTCP, false, nat(rip)),
		"NAT/partial":    each(benchTCP, true, nat(rip)),
		"NAT/udp":        each(benchUDP, false, nat(rip)),
		"NAT/v6":         each(benchTCP6, false, nat(rip6)),
		"FullNAT":        each(benchTCP, false, func(f *packet.Frame) { nat(rip)(f); Source(f, rip, 5000) }),
		"DR":             each(benchTCP, false, func(f *packet.Frame) { DecTTL(f); f.SetMACs(&packet.MAC{2}, &packet.MAC{4}) }),
		"IPIP":           each(benchTCP, false, tunnel(&ends)),
		"IPIP/v6":        each(benchTCP6, false, tunnel(&ends6)),
		"GRE":            each(benchTCP, false, tunnel(&gre)),
		"GUE":            each(benchTCP, false, tunnel(&gue)),
		"GUE/csum":       each(benchTCP, false, tunnel(&gueCsum)),
		"GUE/csum/inner": each(benchTCP, true, tunnel(&gueCsum)),
		"Decapsulate": each(benchTCP, false, func(f *packet.Frame) {
			if tunnel(&ends)(f); !Decapsulate(f, 0) {
				panic("refused")
			}
		}),
	}
}

func BenchmarkFrame(b *testing.B) {
	for name, do := range hotPath(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				do()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/frame")
		})
	}
}

// cutters cut one large packet to pieces and return how many.
func cutters(tb testing.TB) map[string]func() int {
	large, udp := benchTCP, benchUDP
	large.payload = make([]byte, 45*1448)
	udp.payload, udp.noSum = make([]byte, 8000), true
	super, long := superFrame(tb, large, 1448), udp.frame(tb, false)
	dst := packet.Frame{Buf: make([]byte, 2048)}
	var seg Segmenter
	var frag Fragmenter
	return map[string]func() int{
		"Segment": func() (n int) {
			for seg.Reset(super); seg.Next(&dst); n++ {
			}
			return n
		},
		"Fragment": func() (n int) {
			for frag.Reset(long, 1500, false); frag.Next(&dst); n++ {
			}
			return n
		},
	}
}

func BenchmarkCut(b *testing.B) {
	for name, do := range cutters(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			pieces := 0
			for range b.N {
				pieces += do()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(pieces), "ns/piece")
		})
	}
}

func TestNoAllocations(t *testing.T) {
	for name, do := range hotPath(t) {
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations for %d frames", name, n, batch)
		}
	}
	want := map[string]int{"Segment": 45, "Fragment": 6}
	for name, do := range cutters(t) {
		if got := do(); got != want[name] {
			t.Errorf("%s: %d pieces, want %d", name, got, want[name])
		}
		if n := testing.AllocsPerRun(100, func() { do() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
