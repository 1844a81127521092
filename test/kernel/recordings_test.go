package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// TestRecordings plays every recording of the folder that DIRIGO_RECORDINGS names, by
// default the project's own, and compares each emitted frame and each listing.
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
		r, err := load(filepath.Dir(file))
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
	fmt.Printf("%d steps, %d frames, %d listings compared\n", sum.steps, sum.frames, sum.listings)
	fmt.Printf("recordings: %d equal, %d different\n", len(files)-different, different)
}

// tally counts what was compared.
type tally struct{ steps, frames, listings int }

func (t *tally) add(o tally) {
	t.steps += o.steps
	t.frames += o.frames
	t.listings += o.listings
}

// play replays one recording and returns a line for each difference.
func play(r *recording) (n tally, diffs []string) {
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
	report := func(s *step, format string, args ...any) {
		diffs = append(diffs, fmt.Sprintf("step %d (%s): %s", s.Step, s.Note, fmt.Sprintf(format, args...)))
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		if err := d.advance(start + s.at()); err != nil {
			report(s, "%v", err)
			return n, diffs
		}
		n.steps++
		switch s.Op {
		case "inject":
			b, err := unhex(s.In)
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
		case "cmd":
			if diff := d.command(s); diff != "" {
				report(s, "%s", diff)
			}
		case "dump":
			ok, diff := d.dump(s)
			if ok {
				n.listings++
			}
			if diff != "" {
				report(s, "%s", diff)
			}
		}
	}
	return n, diffs
}

// compare holds what was emitted against the recording; "" when it agrees.
func (d *director) compare(s *step, in []byte) string {
	want := make([]frame, 0, len(s.Out))
	for _, e := range s.Out {
		b, err := unhex(e.Hex)
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
	fmt.Fprintf(&b, "verdict %v, reason %v\n  in   %s", d.lastV, d.lastR, decode(in))
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
	if f.Parse() != packet.None {
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
		if f.IsICMPError() {
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

// command obeys a cmd step.
func (d *director) command(s *step) string {
	words := strings.Fields(s.Cmd)
	switch words[0] {
	case "ipvsadm":
		_, err := d.ipvsadm(words[1:])
		if (err != nil) != (s.RC != 0) {
			return fmt.Sprintf("%s: %v; recorded exit code %d, text %q", s.Cmd, err, s.RC, s.Text)
		}
		return ""
	case "sysctl":
		return d.sysctlCommand(s)
	}
	if len(words) == 5 && words[0] == "ip" && words[1] == "route" && words[2] == "add" {
		return d.deadEnd(words[4])
	}
	return fmt.Sprintf("command %q is not replayed", s.Cmd)
}

// sysctlCommand is sysctl -w 'NAME=VALUE', which may be followed by 2>&1; sysctl NAME,
// whose text is compared then.
func (d *director) sysctlCommand(s *step) string {
	first, query, both := strings.Cut(s.Cmd, " 2>&1; ")
	name, value, _ := strings.Cut(strings.Trim(strings.TrimPrefix(first, "sysctl -w "), "'"), "=")
	err := d.setSysctl(name, value)
	if !both {
		if (err != nil) != (s.RC != 0) {
			return fmt.Sprintf("%s: %v; recorded exit code %d, text %q", s.Cmd, err, s.RC, s.Text)
		}
		return ""
	}
	short := strings.TrimPrefix(strings.TrimPrefix(query, "sysctl "), "net.ipv4.vs.")
	now, gerr := d.sysctl.Get(short)
	got := fmt.Sprintf("%s = %s\n", name, value)
	missing := fmt.Sprintf("sysctl: cannot stat /proc/sys/net/ipv4/vs/%s: No such file or directory\n", short)
	switch {
	case errors.Is(err, conf.ErrNoSysctl):
		got = missing
	case err != nil:
		got = fmt.Sprintf("sysctl: setting key %q: Invalid argument\n", name)
	}
	if gerr != nil {
		got += missing
	} else {
		got += fmt.Sprintf("net.ipv4.vs.%s = %s\n", short, now)
	}
	if got != s.Text {
		return s.Cmd + lineDiff(s.Text, got)
	}
	return ""
}

// deadEnd is ip route add blackhole|unreachable.
func (d *director) deadEnd(prefix string) string {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return err.Error()
	}
	d.env.Routes = append(d.env.Routes, dataplane.Route{Dest: p, Kind: dataplane.Unreachable})
	d.plane.SetEnvironment(d.env)
	d.plane.Publish()
	return ""
}

// dump compares a listing; ok says whether it is one that depends on behaviour.
func (d *director) dump(s *step) (ok bool, diff string) {
	words := strings.Fields(s.Cmd)
	if words[0] == "conntrack" { // the recorded machine's netfilter, which a director here has none of
		return false, ""
	}
	if s.Cmd == "cat /proc/net/ip_vs_app" {
		got := fmt.Sprintf("prot port    usecnt name\nTCP  21      %d      ftp              \n", d.plane.FTPConns())
		if got != s.Text {
			return true, s.Cmd + lineDiff(s.Text, got)
		}
		return true, ""
	}
	if len(words) < 2 || words[0] != "ipvsadm" || slices.ContainsFunc(words, func(w string) bool { return strings.ContainsAny(w, "|<>;") }) {
		return false, fmt.Sprintf("listing %q is not replayed", s.Cmd)
	}
	got, err := d.ipvsadm(words[1:])
	if err != nil {
		return true, fmt.Sprintf("%s: %v", s.Cmd, err)
	}
	want := s.Text
	if strings.HasPrefix(words[1], "-Lnc") {
		// A step's recorded instant is not that of the kernel's jiffy: an entry may be
		// some milliseconds on this or that side of a whole second.
		var all []string
		for _, d.shift = range []time.Duration{jiffies, -jiffies, 0} {
			if got, err = d.ipvsadm(words[1:]); err != nil {
				return true, fmt.Sprintf("%s: %v", s.Cmd, err)
			}
			all = append(all, sortedConns(got))
		}
		for _, got = range all {
			if got == sortedConns(want) {
				return true, ""
			}
		}
		want, got = sortedConns(want), mergeSeconds(sortedConns(want), all)
		if d.sysctl.DropEntry >= conntrack.DefenceActing { // what the kernel sacrificed was drawn at random
			got = common(want, got)
		}
	}
	if got != want {
		return true, s.Cmd + lineDiff(want, got)
	}
	return true, ""
}

// jiffies bounds how far a step's recorded instant is from the kernel's timers: the 12 ms
// it waited after each frame.
const jiffies = 12 * time.Millisecond

// mergeSeconds returns the last of the listings got with each row as want has it, if any
// of the listings has that row so.
func mergeSeconds(want string, got []string) string {
	seen := map[string]bool{}
	for _, g := range got {
		for l := range strings.SplitSeq(g, "\n") {
			seen[l] = true
		}
	}
	rows := strings.Split(got[len(got)-1], "\n")
	for w := range strings.SplitSeq(want, "\n") {
		if !seen[w] || len(w) < 9 {
			continue
		}
		for i, r := range rows {
			if len(r) > 9 && r[9:] == w[9:] && r[:4] == w[:4] {
				rows[i] = w
			}
		}
	}
	slices.Sort(rows[2 : len(rows)-1])
	return strings.Join(rows, "\n")
}

// common is got without the lines that want lacks.
func common(want, got string) string {
	w := strings.Split(want, "\n")
	g := slices.DeleteFunc(strings.Split(got, "\n"), func(l string) bool { return !slices.Contains(w, l) })
	return strings.Join(g, "\n")
}

// lineDiff names the lines that only one of two listings has.
func lineDiff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var b strings.Builder
	for _, l := range w {
		if i := slices.Index(g, l); i >= 0 {
			g = slices.Delete(g, i, i+1)
		} else {
			b.WriteString("\n  want " + l)
		}
	}
	for _, l := range g {
		b.WriteString("\n  got  " + l)
	}
	if b.Len() == 0 {
		return ": the same lines in another order"
	}
	return b.String()
}

// sortedConns sorts a connection listing and leaves out entries at 00:00, whose time is
// over and which the kernel's coarse timers have not removed yet.
func sortedConns(text string) string {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) < 2 {
		return text
	}
	rows := slices.DeleteFunc(slices.Clone(lines[2:]), func(l string) bool { return len(l) > 9 && l[4:9] == "00:00" })
	slices.Sort(rows)
	return strings.Join(append(lines[:2:2], rows...), "")
}

func firstChunk(f *packet.Frame) uint8 {
	chunk, _ := f.SCTPFirst()
	return chunk
}
