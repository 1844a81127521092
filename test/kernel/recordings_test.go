package kernel

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/test/recording"
)

// TestRecordings plays every recording of the folder that DIRIGO_RECORDINGS names, by
// default the project's own, and compares each emitted frame and what each line
// of a shell wrote and returned.
func TestRecordings(t *testing.T) {
	dir := os.Getenv("DIRIGO_RECORDINGS")
	if dir == "" {
		dir = "testdata"
	} else if _, err := os.Stat(dir); err != nil && !filepath.IsAbs(dir) {
		dir = filepath.Join("..", "..", dir) // as seen from where go test was called
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "transcript.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings in %s: %v", dir, err)
	}
	var sum tally
	different := 0
	for _, file := range files {
		r, err := recording.Load(filepath.Dir(file))
		if err != nil {
			t.Errorf("%v", err)
			different++
			continue
		}
		n, diffs := play(r)
		sum.add(n)
		for _, d := range diffs {
			t.Errorf("%s: %s", r.Name, d)
		}
		if len(diffs) > 0 {
			different++
		}
	}
	fmt.Printf("%d steps, %d frames, %d commands, %d listings compared\n", sum.steps, sum.frames, sum.commands, sum.listings)
	fmt.Printf("recordings: %d equal, %d different\n", len(files)-different, different)
}

// TestVIPAlone plays the project's recordings with VIPs that only the director has: it
// must answer for them what the recorded host's stack answered, to the byte.
func TestVIPAlone(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*", "transcript.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		r, err := recording.Load(filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		r.Alone = true
		_, diffs := play(r)
		for _, d := range diffs {
			t.Errorf("%s: %s", r.Name, d)
		}
	}
}

// tally counts what was compared.
type tally struct{ steps, frames, commands, listings int }

func (t *tally) add(o tally) {
	t.steps += o.steps
	t.frames += o.frames
	t.commands += o.commands
	t.listings += o.listings
}

// play replays one recording and returns a line for each difference.
func play(r *recording.Recording) (n tally, diffs []string) {
	defer func() {
		if p := recover(); p != nil { // the other recordings are played all the same
			diffs = append(diffs, fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	d, err := newDirector(r)
	if err != nil {
		return n, []string{err.Error()}
	}
	defer d.plane.Conns().Close()
	start := d.now
	sh := newShell(d)
	report := func(s *recording.Step, format string, args ...any) {
		diffs = append(diffs, fmt.Sprintf("step %d (%s): %s", s.Step, s.Note, fmt.Sprintf(format, args...)))
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		if err := d.advance(start + s.At()); err != nil {
			report(s, "%v", err)
			return n, diffs
		}
		n.steps++
		switch s.Op {
		case "inject":
			b, err := recording.Bytes(s.In)
			if err != nil {
				report(s, "%v", err)
				continue
			}
			d.out = nil
			d.steer(s)
			if err := d.inject(s.If, b); err != nil {
				report(s, "%v", err)
			}
			n.frames += len(s.Out)
			if diff := d.compare(s, b); diff != "" {
				report(s, "%s", diff)
			}
		case "cmd", "dump":
			if strings.HasPrefix(s.Cmd, "conntrack ") { // the recorded machine's netfilter, which a director here has none of
				continue
			}
			if s.Op == "dump" {
				n.listings++
			} else {
				n.commands++
			}
			if diff := d.line(sh, r, s); diff != "" {
				report(s, "%s", diff)
			}
		default:
			if s.Op != "wait" {
				report(s, "step %q is not replayed", s.Op)
			}
		}
	}
	return n, diffs
}

// compare holds what was emitted against the recording; "" when it agrees.
func (d *director) compare(s *recording.Step, in []byte) string {
	want := make([]frame, 0, len(s.Out))
	for _, e := range s.Out {
		b, err := recording.Bytes(e.Hex)
		if err != nil {
			return err.Error()
		}
		want = append(want, frame{e.If, b})
	}
	if len(d.out) == 0 && len(want) > 0 && d.hosts(want, in) {
		return ""
	}
	if len(want) == len(d.out) {
		same := true
		for i := range want {
			same = same && want[i].If == d.out[i].If && bytes.Equal(d.mask(want[i].Bytes), d.mask(d.out[i].Bytes))
		}
		if same {
			return ""
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "verdict %v, reason %v, rule: %s\n  in   %s", d.lastV, d.lastR, d.lastRule, decode(in))
	for _, f := range want {
		fmt.Fprintf(&b, "\n  want %s %s", f.If, decode(f.Bytes))
	}
	for _, f := range d.out {
		fmt.Fprintf(&b, "\n  got  %s %s", f.If, decode(f.Bytes))
	}
	return b.String()
}

// hosts reports whether what the recorded machine emitted came from its own stack: an
// answer of a local socket or a packet merely routed. Then passing is right.
func (d *director) hosts(want []frame, in []byte) bool {
	if d.lastV.String() != "pass" {
		return false
	}
	var f, o packet.Frame
	f = *packet.NewFrame(in)
	if f.Parse() != packet.None || d.alone[f.Flow.Dst] && d.plane.Serves(f.Flow.Dst.Netip()) && f.Flow.Proto != packet.ICMP && f.Flow.Proto != packet.ICMPv6 {
		return false
	}
	for _, w := range want {
		o = *packet.NewFrame(w.Bytes)
		if o.Parse() != packet.None {
			return false
		}
		switch {
		case o.Flow == f.Flow && o.TTL == f.TTL-1: // routed
		case f.Fragment() && o.Fragment() && o.Flow.Src == f.Flow.Src && o.Flow.Dst == f.Flow.Dst && o.TTL == f.TTL-1: // collected, routed, cut again
		case o.Flow.Proto == packet.TCP && o.TCPFlags&packet.RST != 0 && o.Flow.Src == f.Flow.Dst && o.Flow.Dst == f.Flow.Src:
		case o.Flow.Proto == packet.SCTP && o.Flow.Src == f.Flow.Dst && o.Flow.Dst == f.Flow.Src && firstChunk(&o) == packet.ChunkAbort:
		case o.Flow.Proto == packet.ICMP || o.Flow.Proto == packet.ICMPv6:
			if o.Flow.Dst != f.Flow.Src {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// mask clears what the kernel draws at random: the IP id of tunnel packets without DF
// and of packets the director makes itself (ICMP errors), the IPv6 flow label of those,
// IPv6 fragment ids, and the source port of GUE.
func (d *director) mask(frame []byte) []byte {
	f := packet.NewFrame(frame)
	if f.Parse() != packet.None {
		return frame
	}
	m := bytes.Clone(frame)
	ip, l4 := m[14:], m[14+f.L4-f.L3:]
	if f.Flow.V6 {
		if f.IsICMPError() || d.alone[f.Flow.Src] && f.TCPFlags&packet.RST != 0 {
			ip[1], ip[2], ip[3] = ip[1]&0xf0, 0, 0
		}
		if ip[6] == 44 {
			clear(ip[44:48])
		}
	} else {
		outer := ip[9] == packet.IPIP || ip[9] == packet.GRE || ip[9] == packet.IPv6 || d.gue(f)
		if (outer && ip[6]&0x40 == 0) || (ip[9] == packet.ICMP && f.FragOff == 0 && ip[20] != 0 && ip[20] != 8) {
			ip[4], ip[5] = 0, 0   // id
			ip[10], ip[11] = 0, 0 // the checksum over it
		}
	}
	if d.gue(f) && f.FragOff == 0 {
		l4[0], l4[1] = 0, 0
		l4[6], l4[7] = 0, 0
	}
	return m
}

// gue reports whether f is a packet to a GUE server.
func (d *director) gue(f *packet.Frame) bool {
	if f.Flow.Proto != packet.UDP {
		return false
	}
	for _, svc := range d.plane.Services() {
		for _, srv := range svc.Servers {
			if srv.TunType == conf.TunGUE && packet.AddrFrom(srv.Addr) == f.Flow.Dst && (srv.TunPort == f.Flow.DstPort || f.FragOff != 0) {
				return true
			}
		}
	}
	return false
}

func decode(b []byte) string {
	f := packet.NewFrame(b)
	if bad := f.Parse(); bad != packet.None {
		return fmt.Sprintf("%v: %x", bad, b)
	}
	s := fmt.Sprintf("%v > %v %v:%d > %v:%d proto %d ttl %d flags %#x len %d", f.SrcMAC(), f.DstMAC(), f.Flow.Src, f.Flow.SrcPort,
		f.Flow.Dst, f.Flow.DstPort, f.Flow.Proto, f.TTL, f.TCPFlags, f.IPLen())
	return s + fmt.Sprintf(" %x", b[14:min(len(b), 14+68)])
}

func firstChunk(f *packet.Frame) uint8 {
	chunk, _ := f.SCTPFirst()
	return chunk
}
