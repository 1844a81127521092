package encap

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"
)

// kernelFragment is one conversation: fragments in, what IPVS did, fragments out.
type kernelFragment struct {
	name    string
	do      func(t *testing.T, f *packet.Frame, want []byte)
	in, out []string
}

func TestFragmentsAsTheKernel(t *testing.T) {
	for _, c := range kernelFragments {
		t.Run(c.name, func(t *testing.T) {
			r := NewReassembler(Limits{})
			dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
			var res Result
			for i, s := range c.in {
				if res = r.Add(0, load(t, unhex(t, s), true), &dst); (res.Outcome == FragComplete) != (i == len(c.in)-1) {
					t.Fatalf("%d: %v", i, res.Outcome)
				}
			}
			checkFields(t, &dst)
			if !dst.VerifyTransport() {
				t.Error("the packet's checksum is wrong")
			}
			want := unhex(t, c.out[0])
			if !DecTTL(&dst) {
				t.Fatal("TTL")
			}
			c.do(t, &dst, want)
			dst.Parse() // a kernel's source port may have been taken over
			dst.SetMACs((*packet.MAC)(want[:6]), (*packet.MAC)(want[6:12]))
			frag := Fragmenter{ID: binary.BigEndian.Uint32(want[58:])}
			if !frag.ResetReceived(&dst, 1500, res.Received) {
				t.Fatal("not cut")
			}
			piece := packet.Frame{Buf: make([]byte, frag.Size())}
			for i := range c.out {
				if !frag.Next(&piece) {
					t.Fatalf("%d fragments, want %d", i, len(c.out))
				}
				checkFields(t, &piece)
				checkBytes(t, piece.Bytes(), unhex(t, c.out[i]), i)
			}
			if frag.Next(&piece) {
				t.Fatal("more fragments than the kernel's")
			}
		})
	}
}

// cutAt cuts the frame b of s into fragments of the given lengths of data, by hand.
func cutAt(s spec, b []byte, sizes []int, id uint32) (frames [][]byte) {
	head, l3 := s.headerLen(), 0
	if s.l2 {
		l3 = 14
	}
	if s.v6 && s.hopByHop {
		head = 48
	}
	off := 0
	for i, n := range sizes {
		p := bytes.Clone(b[:l3+head])
		more := i < len(sizes)-1
		if s.v6 {
			name := l3 + 6
			if s.hopByHop {
				name = l3 + 40
			}
			field := uint16(off)
			if more {
				field |= 1
			}
			p = append(p, p[name], 0)
			p[name] = 44
			p = binary.BigEndian.AppendUint16(p, field)
			p = binary.BigEndian.AppendUint32(p, id)
			binary.BigEndian.PutUint16(p[l3+4:], uint16(len(p)-l3-40+n))
		} else {
			field := binary.BigEndian.Uint16(p[l3+6:])&0x4000 | uint16(off/8)
			if more {
				field |= 0x2000
			}
			binary.BigEndian.PutUint16(p[l3+2:], uint16(head+n))
			binary.BigEndian.PutUint16(p[l3+6:], field)
			fixSum(p[l3 : l3+head])
		}
		frames = append(frames, append(p, b[l3+head+off:][:n]...))
		off += n
	}
	return frames
}

// fixSum computes an IPv4 header checksum word by word.
func fixSum(ip []byte) {
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^slowSum(ip))
}

// randomSizes cuts n bytes into at least two pieces, multiples of 8 but for the last.
func randomSizes(r *rand.Rand, n int) (sizes []int) {
	longest := 8 * (1 + r.IntN(1+n/8/2))
	for n > 0 {
		k := 8 * (1 + r.IntN(longest/8))
		if len(sizes) == 0 {
			k = min(k, (n-1)&^7)
		}
		k = min(k, n)
		sizes = append(sizes, k)
		n -= k
	}
	return sizes
}

func randomFragments(r *rand.Rand, longest int) (s spec, whole []byte, sizes []int, frames [][]byte) {
	s = randomSpec(r)
	s.payload = make([]byte, 40+r.IntN(longest))
	for i := range s.payload {
		s.payload[i] = byte(r.Uint32())
	}
	s.opts = nil
	whole = s.wire()
	data := len(whole) - s.headerLen()
	if s.l2 {
		data -= 14
	}
	sizes = randomSizes(r, data)
	return s, whole, sizes, cutAt(s, whole, sizes, r.Uint32())
}

// TestAnyOrderGivesTheWholePacket: fragments of several packets in any order, with
// copies of what came before, give the packets; and sent on they leave as they came.
func TestAnyOrderGivesTheWholePacket(t *testing.T) {
	rnd := rng(30)
	r := NewReassembler(Limits{})
	dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
	for round := range 4000 {
		longest := 3000
		if round%100 == 0 {
			longest = 60000
		}
		s, whole, sizes, frames := randomFragments(rnd, longest)
		order := rnd.Perm(len(frames))
		for i, n := range order {
			res := r.Add(0, load(t, frames[n], s.l2), &dst)
			if i < len(order)-1 {
				if res.Outcome != FragIncomplete {
					t.Fatalf("%+v: %v", s, res.Outcome)
				}
				if res = r.Add(0, load(t, frames[order[rnd.IntN(i+1)]], s.l2), &dst); res.Outcome != FragDuplicate {
					t.Fatalf("again: %v", res.Outcome)
				}
				continue
			}
			if res.Outcome != FragComplete || r.Len() != 0 {
				t.Fatalf("%+v: %v, %d left", s, res.Outcome, r.Len())
			}
			checkBytes(t, dst.Bytes(), whole, s)
			checkFields(t, &dst)
			checkReceived(t, s, res, sizes)
			checkSentOn(t, s, &dst, res, frames)
		}
	}
	if uint32(len(r.blocks)-1) != r.freeBlocks {
		t.Errorf("%d of %d blocks are free at the end", r.freeBlocks, len(r.blocks)-1)
	}
}

func checkReceived(t *testing.T, s spec, res Result, sizes []int) {
	t.Helper()
	want := s.headerLen()
	if s.v6 {
		want += 8
	}
	want += slices.Max(sizes)
	if res.V6 != s.v6 || res.MaxLen != want || res.DF != (s.df && !s.v6) || len(res.Pieces) != len(sizes) {
		t.Fatalf("received %+v, want %d bytes at most in %v", res, want, sizes)
	}
	for i, n := range sizes {
		if int(res.Pieces[i]) != n {
			t.Fatalf("pieces %v, want %v", res.Pieces, sizes)
		}
	}
}

// checkSentOn: the fragments leave as they came, without DF.
func checkSentOn(t *testing.T, s spec, f *packet.Frame, res Result, frames [][]byte) {
	t.Helper()
	l3 := 0
	if s.l2 {
		l3 = 14
	}
	id := binary.BigEndian.Uint32(frames[0][l3+s.headerLen()+4:])
	frag := Fragmenter{ID: id}
	if !frag.ResetReceived(f, 65535, res.Received) {
		t.Fatalf("%+v: not cut", s)
	}
	dst := packet.Frame{Buf: make([]byte, frag.Size())}
	for _, want := range frames {
		if !frag.Next(&dst) {
			t.Fatal("a fragment is missing")
		}
		if s.df && !s.v6 {
			want[l3+6] &^= 0x40
			fixSum(want[l3 : l3+s.headerLen()])
		}
		checkBytes(t, dst.Bytes(), want, s)
		checkFields(t, &dst)
	}
	if frag.Next(&dst) {
		t.Fatal("one fragment too many")
	}
}

func TestGopacketPutsTheSameTogether(t *testing.T) {
	rnd := rng(31)
	dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
	for n := 0; n < 500; {
		s, _, _, frames := randomFragments(rnd, 2000)
		if s.v6 || s.df { // it knows IPv4, and takes DF for "no fragment"
			continue
		}
		n++
		r, d := NewReassembler(Limits{Bytes: 1}), ip4defrag.NewIPv4Defragmenter()
		for i, k := range rnd.Perm(len(frames)) {
			b := frames[k]
			res := r.Add(0, load(t, b, s.l2), &dst)
			if s.l2 {
				b = b[14:]
			}
			l, ok := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			if !ok {
				t.Fatalf("%x", b)
			}
			whole, err := d.DefragIPv4(l)
			if len(l.Payload) < 8 { // it takes no shorter ones
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if (whole != nil) != (res.Outcome == FragComplete) {
				t.Fatalf("%d: %v, gopacket: %v", i, res.Outcome, whole != nil)
			}
			if whole != nil {
				checkBytes(t, dst.Buf[dst.L4:dst.IPEnd], whole.Payload, s)
			}
		}
	}
}

// piece of a UDP-less IPv4 or IPv6 packet of protocol 253 (RFC 3692: for experiments).
type part struct {
	off, size int
	last      bool
	df        bool
	ecn       byte
	id        uint16
	port      uint16
}

func (p part) frame(t testing.TB, v6 bool) *packet.Frame {
	data := make([]byte, p.size)
	for i := range data {
		data[i] = byte((p.off + i) * 7)
	}
	s := packet.Spec{Flow: packet.Flow{Src: v4(192, 0, 2, 7), Dst: v4(10, 0, 1, 100), Proto: 253}, TOS: p.ecn, ID: p.id, DF: p.df, Payload: data}
	field := uint16(p.off)
	if v6 {
		s.Src, s.Dst, s.V6, s.Proto = addr("2001:db8::7"), addr("2001:db8::9"), true, 44
		if !p.last {
			field |= 1
		}
		h := binary.BigEndian.AppendUint16([]byte{253, 0}, field)
		s.Payload = append(binary.BigEndian.AppendUint32(h, uint32(p.id)), data...)
	}
	b := s.IP()
	if !v6 {
		field = field/8 | binary.BigEndian.Uint16(b[6:])
		if !p.last {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], field)
		fixSum(b[:20])
	}
	f := load(t, b, false)
	f.Port = p.port
	return f
}

// TestFragmentRules plays the cases of inet_frag_queue_insert, ip_frag_queue and
// nf_ct_frag6_queue. left: datagrams that live on.
func TestFragmentRules(t *testing.T) {
	type step struct {
		part
		four, six Outcome
	}
	for _, c := range []struct {
		name         string
		left4, left6 int
		steps        []step
	}{
		{"exact duplicate", 1, 1, []step{{part{off: 8, size: 8}, 0, 0}, {part{off: 8, size: 8}, FragDuplicate, FragDuplicate}}},
		{"inside one piece", 1, 1, []step{{part{off: 8, size: 24}, 0, 0}, {part{off: 16, size: 8}, FragDuplicate, FragDuplicate}}},
		{"over two pieces that came in order", 1, 1, []step{
			{part{size: 8}, 0, 0}, {part{off: 8, size: 8}, 0, 0}, {part{size: 16}, FragDuplicate, FragDuplicate}}},
		{"over two pieces that did not", 0, 0, []step{
			{part{off: 8, size: 8}, 0, 0}, {part{size: 8}, 0, 0}, {part{size: 16}, FragOverlap, FragOverlap}}},
		{"overlaps the end", 0, 0, []step{{part{size: 16}, 0, 0}, {part{off: 8, size: 16}, FragOverlap, FragOverlap}}},
		{"overlaps the beginning", 0, 0, []step{{part{off: 8, size: 16}, 0, 0}, {part{size: 16}, FragOverlap, FragOverlap}}},
		{"around another", 0, 0, []step{{part{off: 8, size: 8}, 0, 0}, {part{off: 32, size: 8}, 0, 0}, {part{size: 24}, FragOverlap, FragOverlap}}},
		{"after the overlap a new datagram begins", 1, 1, []step{
			{part{size: 16}, 0, 0}, {part{off: 8, size: 16}, FragOverlap, FragOverlap}, {part{off: 8, size: 16}, 0, 0}}},
		{"another last", 0, 1, []step{{part{off: 8, size: 5, last: true}, 0, 0}, {part{off: 8, size: 6, last: true}, FragBadLength, FragBadLength}}},
		{"bytes behind the last", 0, 1, []step{{part{off: 8, size: 5, last: true}, 0, 0}, {part{off: 16, size: 8}, FragBadLength, FragBadLength}}},
		{"a last before others", 0, 1, []step{{part{off: 16, size: 8}, 0, 0}, {part{off: 8, size: 5, last: true}, FragBadLength, FragBadLength}}},
		{"no multiple of 8", 1, 0, []step{{part{off: 16, size: 13}, FragIncomplete, FragBadLength}}},
		{"no multiple of 8, and others", 1, 0, []step{{part{off: 64, size: 8}, 0, 0}, {part{off: 16, size: 13}, FragIncomplete, FragBadLength}}},
		{"less than 8", 0, 0, []step{{part{off: 16, size: 7}, FragBadLength, FragBadLength}}},
		{"empty last", 0, 0, []step{{part{off: 16, last: true}, FragBadLength, FragBadLength}}},
		{"cut to a multiple of 8", 0, 1, []step{{part{size: 15}, FragIncomplete, FragBadLength}, {part{off: 8, size: 8, last: true}, FragComplete, FragIncomplete}}},
		{"ping of death", 0, 1, []step{{part{size: 1000}, 0, 0}, {part{off: 65528, size: 100, last: true}, FragOversize, FragOversize}}},
		{"another id", 2, 2, []step{{part{size: 8}, 0, 0}, {part{id: 1, off: 8, size: 8, last: true}, 0, 0}}},
		{"another port", 2, 2, []step{{part{size: 8}, 0, 0}, {part{port: 1, off: 8, size: 8, last: true}, 0, 0}}},
		{"partly not ECN-capable", 0, 0, []step{{part{size: 8, ecn: 2}, 0, 0}, {part{off: 8, size: 8, last: true}, FragBadECN, FragBadECN}}},
		{"too many", 0, 0, []step{{part{size: 8}, 0, 0}, {part{off: 16, size: 8}, 0, 0}, {part{off: 32, size: 8}, 0, 0}, {part{off: 48, size: 8}, FragTooMany, FragTooMany}}},
	} {
		for _, v6 := range []bool{false, true} {
			r := NewReassembler(Limits{Fragments: 3})
			dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
			for i, s := range c.steps {
				want, before := s.four, r.Count(s.four)
				if v6 {
					want, before = s.six, r.Count(s.six)
				}
				if got := r.Add(0, s.frame(t, v6), &dst).Outcome; got != want || r.Count(want) != before+1 {
					t.Errorf("%s, v6 %v, %d: %v, want %v", c.name, v6, i, got, want)
				}
			}
			want := c.left4
			if v6 {
				want = c.left6
			}
			if r.Len() != want {
				t.Errorf("%s, v6 %v: %d datagrams left, want %d", c.name, v6, r.Len(), want)
			}
			r.Expire(time.Hour)
			if int(r.freeBlocks) != len(r.blocks)-1 || r.Len() != 0 {
				t.Errorf("%s, v6 %v: not empty after the end of time", c.name, v6)
			}
		}
	}
}

// TestDFAndECNOfTheWhole: DF is kept if the longest fragment had it (ip_frag_reasm); CE
// of any fragment is the whole packet's, ECT of the first stays (RFC 3168 section 5.3).
func TestDFAndECNOfTheWhole(t *testing.T) {
	const ect1, ect0, ce = 1, 2, 3
	for _, c := range []struct {
		a, b part
		df   bool
		ecn  byte
	}{
		{part{size: 16, df: true}, part{off: 16, size: 8, last: true}, true, 0},
		{part{size: 16}, part{off: 16, size: 8, last: true, df: true}, false, 0},
		{part{size: 16, df: true}, part{off: 16, size: 16, last: true}, true, 0},
		{part{size: 16, ecn: ect0}, part{off: 16, size: 16, ecn: ce, last: true}, false, ce},
		{part{size: 16, ecn: ce}, part{off: 16, size: 16, ecn: ect1, last: true}, false, ce},
		{part{size: 16, ecn: ce}, part{off: 16, size: 16, ecn: ce, last: true}, false, ce},
		{part{size: 16, ecn: ect1}, part{off: 16, size: 16, ecn: ect0, last: true}, false, ect1},
	} {
		for _, v6 := range []bool{false, true} {
			r := NewReassembler(Limits{})
			dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
			r.Add(0, c.b.frame(t, v6), &dst)
			res := r.Add(0, c.a.frame(t, v6), &dst)
			ecn := dst.Buf[dst.L3+1] & 3
			if v6 {
				ecn = dst.Buf[dst.L3+1] >> 4
			}
			if res.Outcome != FragComplete || ecn != c.ecn || res.DF != (c.df && !v6) || dst.DF != (c.df || v6) {
				t.Errorf("%+v, v6 %v: %v, DF %v, ECN %d", c, v6, res.Outcome, res.DF, ecn)
			}
		}
	}
}

// TestTimeIsCountedFromTheFirstFragment: 30 s and 60 s, not prolonged by later ones.
func TestTimeIsCountedFromTheFirstFragment(t *testing.T) {
	r := NewReassembler(Limits{})
	dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
	r.Add(time.Second, part{size: 8}.frame(t, true), &dst)
	r.Add(time.Second, part{size: 8}.frame(t, false), &dst)
	r.Add(20*time.Second, part{off: 16, size: 8}.frame(t, false), &dst)
	r.Add(20*time.Second, part{id: 5, size: 8}.frame(t, false), &dst)
	for _, c := range []struct {
		at   time.Duration
		gone int
	}{{31*time.Second - 1, 0}, {31 * time.Second, 1}, {50 * time.Second, 1}, {61*time.Second - 1, 0}, {61 * time.Second, 1}} {
		if n := r.Expire(c.at); n != c.gone {
			t.Errorf("%v: %d are gone, want %d", c.at, n, c.gone)
		}
	}
	if r.Count(FragExpired) != 3 || r.Len() != 0 {
		t.Errorf("%d counted", r.Count(FragExpired))
	}
	r.Add(70*time.Second, part{size: 8}.frame(t, false), &dst)
	if got := r.Add(100*time.Second, part{off: 8, size: 8, last: true}.frame(t, false), &dst); got.Outcome != FragIncomplete || r.Len() != 1 {
		t.Error("a fragment met one whose time was over: ", got.Outcome)
	}
}

// A whole packet that does not parse, or is longer than dst, is not handed out.
func TestWhatComesTogetherIsJudged(t *testing.T) {
	s := spec{proto: packet.TCP, src: v4(192, 0, 2, 7), dst: v4(10, 0, 1, 100), ttl: 63, payload: make([]byte, 44)}
	b := s.wire()
	b[20+12] = 0x40 // a data offset of 4 words
	frames := cutAt(s, b, []int{8, 56}, 0)
	r := NewReassembler(Limits{})
	dst := packet.Frame{Buf: make([]byte, MaxReassembled)}
	r.Add(0, load(t, frames[0], false), &dst)
	if res := r.Add(0, load(t, frames[1], false), &dst); res.Outcome != FragMalformed || res.Bad != packet.BadTransport {
		t.Errorf("%v, %v", res.Outcome, res.Bad)
	}
	if res := r.Add(0, s.frame(t, false), &dst); res.Outcome != FragMalformed || r.Len() != 0 {
		t.Errorf("not a fragment: %v", res.Outcome)
	}
	frames = cutAt(s, s.wire(), []int{8, 56}, 0)
	short := packet.Frame{Buf: make([]byte, packet.Headroom+83)}
	r.Add(0, load(t, frames[0], false), &short)
	if res := r.Add(0, load(t, frames[1], false), &short); res.Outcome != FragOversize || r.Len() != 0 {
		t.Errorf("short buffer: %v", res.Outcome)
	}
	for o := range NumOutcomes {
		if name := Outcome(o).String(); name == "" || name == "unknown" {
			t.Errorf("outcome %d has no name", o)
		}
	}
}
