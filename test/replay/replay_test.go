package replay

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/dirigo-lb/dirigo/test/recording"
)

// TestRecordings replays every recording of the folder that DIRIGO_RECORDINGS names, by
// default the project's own, by the command dirigo replay: each frame is explained, each
// one that the kernel swallowed with a rule, and what is sent is what the kernel sent.
func TestRecordings(t *testing.T) {
	dir := os.Getenv("DIRIGO_RECORDINGS")
	if dir == "" {
		dir = filepath.Join("..", "kernel", "testdata")
	} else if _, err := os.Stat(dir); err != nil && !filepath.IsAbs(dir) {
		dir = filepath.Join("..", "..", dir) // as seen from where go test was called
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "transcript.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings in %s: %v", dir, err)
	}
	bin := filepath.Join(t.TempDir(), "dirigo")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/dirigo").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	var sum tally
	sum.rules = map[string]bool{}
	for _, file := range files {
		folder := filepath.Base(filepath.Dir(file))
		if strings.HasPrefix(folder, "sync-") { // the datagrams of sync daemons are not replayed
			continue
		}
		r, err := recording.Load(filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		p := &play{r: r, bin: bin, dir: t.TempDir(), sum: &sum}
		if err := p.run(); err != nil {
			t.Errorf("%s: %v", folder, err)
			sum.different++
			continue
		}
		for _, d := range p.diffs {
			t.Errorf("%s: %s", folder, d)
		}
		switch {
		case len(p.diffs) > 0:
			sum.different++
		case p.random > 0:
			sum.drawn = append(sum.drawn, folder)
		default:
			sum.equal++
		}
	}
	fmt.Printf("%d frames explained, %d drops, %d distinct rules\n", sum.frames, sum.drops, len(sum.rules))
	fmt.Printf("recordings: %d equal, %d different, %d differ by draws of scheduler twos %v\n", sum.equal, sum.different, len(sum.drawn), sum.drawn)
	fmt.Printf("%d frames sent compared, %d left to the host's own stack; %d listings compared\n", sum.sent, sum.hosts, sum.listings)
}

type tally struct {
	frames, drops, sent, hosts, listings int
	equal, different                     int
	drawn                                []string
	rules                                map[string]bool
}

// play is one recording's run.
type play struct {
	r      *recording.Recording
	bin    string
	dir    string
	sum    *tally
	in     input
	stdout string
	sent   map[int][]frame  // by step
	toHost map[int][][]byte // by step
	random int              // frames that went to another server by chance
	diffs  []string
}

var (
	explained = regexp.MustCompile(`^(\d+) \d\d:\d\d:\d\d\.\d{6} (\S+) (pass|send|taken|drop) ([a-z0-9_]+)( .*)?$`)
	rule      = regexp.MustCompile(` rule="([^"]+)"`)
	commanded = regexp.MustCompile(`^(.*):(\d+) \d\d:\d\d:\d\d\.\d{6} (.*)$`)
)

func (p *play) run() error {
	answers := map[int][][]byte{}
	for {
		var err error
		if p.in, err = convert(p.r, p.dir, answers); err != nil {
			return err
		}
		if err := p.replay(); err != nil {
			return err
		}
		// What the host answers is not in the recording, as it has no port of its own there.
		// A capture of a director with one would hold it.
		more := map[int][][]byte{}
		for i, packets := range p.toHost {
			for _, b := range packets {
				if a := refusal(b); a != nil {
					more[i] = append(more[i], a)
				}
			}
		}
		if len(flatten(more)) == len(flatten(answers)) {
			break
		}
		answers = more
	}
	if err := p.explanations(); err != nil {
		return err
	}
	return p.commands()
}

func flatten(m map[int][][]byte) (all [][]byte) {
	for _, l := range m {
		all = append(all, l...)
	}
	return all
}

// replay runs the command and reads the capture it makes.
func (p *play) replay() error {
	out := filepath.Join(p.dir, "out.pcapng")
	cmd := exec.Command(p.bin, "replay", "-c", p.in.config, p.in.capture, "-o", out, "--commands", p.in.script, "--explain")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	p.stdout = stdout.String()
	refused := strings.Contains(p.stdout, " refused: ")
	if (err != nil) != refused || err != nil && !strings.Contains(stderr.String(), "commands were refused") {
		return fmt.Errorf("%v, %s", err, stderr.String())
	}
	p.sent, p.toHost = map[int][]frame{}, map[int][][]byte{}
	file, err := os.Open(out)
	if err != nil {
		return err
	}
	defer file.Close()
	capture, err := pcap.NewReader(file)
	if err != nil {
		return err
	}
	for {
		rec, err := capture.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		i := int(rec.Time.UnixNano() % 1e6) // see step.at
		if rec.Interface == "host" {
			p.toHost[i] = append(p.toHost[i], rec.Data)
		} else {
			p.sent[i] = append(p.sent[i], frame{rec.Interface, rec.Data})
		}
	}
}

// explanations holds the explained frames and those sent against the recording.
func (p *play) explanations() error {
	n := 0
	var lines [][]string
	for line := range strings.Lines(p.stdout) {
		m := explained.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		n++
		if m[1] != strconv.Itoa(n) {
			return fmt.Errorf("frame %s is explained where frame %d should be", m[1], n)
		}
		if n > len(p.in.frames) {
			return fmt.Errorf("frame %d is explained, there are %d", n, len(p.in.frames))
		}
		lines = append(lines, m)
	}
	if n != len(p.in.frames) {
		return fmt.Errorf("%d frames are explained of %d:\n%s", n, len(p.in.frames), p.stdout)
	}
	gue := p.gue()
	for n, m := range lines {
		if p.in.frames[n] < 0 { // an answer of the host
			continue
		}
		left := m[3] == "pass"
		if n+1 < len(lines) && p.in.frames[n+1] < 0 {
			left = lines[n+1][3] == "pass"
		}
		p.sum.frames++
		p.frame(p.in.frames[n], m, left, gue)
	}
	return nil
}

// frame judges one frame by its line. left says that it, or the host's answer to it, was
// left to the host's own stack.
func (p *play) frame(i int, m []string, left bool, gue map[packet.Addr]bool) {
	s := &p.r.Steps[i]
	verdict := m[3]
	if m[2] != s.If {
		p.differs(s, "explained as of port %s", m[2])
	}
	why := rule.FindStringSubmatch(m[5])
	if verdict == "drop" {
		p.sum.drops++
	}
	if verdict != "send" && why == nil {
		p.differs(s, "no rule: %s", m[0])
	}
	if why != nil {
		p.sum.rules[shape(why[1])] = true
	}
	var want []frame
	for _, o := range s.Out {
		b, err := hex.DecodeString(o.Hex)
		if err != nil {
			p.differs(s, "%v", err)
		}
		want = append(want, frame{o.If, b})
	}
	in, _ := hex.DecodeString(s.In)
	got := p.sent[i]
	p.sum.sent += len(want)
	switch {
	case same(want, got, gue) && (len(want) > 0 || verdict != "send" || len(p.toHost[i]) > 0):
	case left && len(got) == 0 && hosts(want, in):
		p.sum.hosts++
	case p.twos(): // another server by chance, and what follows from it
		p.random++
	default:
		p.differs(s, "%s\n  want %s\n  got  %s", m[0], texts(want), texts(got))
	}
}

// twos reports whether the recording's services draw their servers.
func (p *play) twos() bool {
	return slices.ContainsFunc(p.r.Rules, func(l string) bool { return strings.Contains(l, "-s twos") })
}

func (p *play) differs(s *recording.Step, format string, args ...any) {
	p.diffs = append(p.diffs, fmt.Sprintf("step %d (%s): %s", s.Step, s.Note, fmt.Sprintf(format, args...)))
}

func texts(fs []frame) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "\n    %s %x", f.If, f.Bytes)
	}
	return b.String()
}

// names are what one rule names differently each time: services, addresses, figures.
var names = regexp.MustCompile(`(tcp|udp|sctp)/\S+|fwmark \d+( ipv6)?|[0-9a-f:.\[\]]*\d[0-9a-f:.\[\]]*`)

// shape is a rule without what is said before it of an older connection, and without names.
func shape(rule string) string {
	if _, then, ended := strings.Cut(rule, "), then: "); ended {
		rule = then
	}
	return names.ReplaceAllString(rule, "N")
}

// gue are the servers that packets go to inside UDP.
func (p *play) gue() map[packet.Addr]bool {
	m := map[packet.Addr]bool{}
	lines := slices.Clone(p.r.Rules)
	for _, s := range p.r.Steps {
		lines = append(lines, s.Cmd)
	}
	for _, l := range lines {
		words := strings.Fields(l)
		if i := slices.Index(words, "-r"); i >= 0 && slices.Contains(words, "gue") {
			if a, err := netip.ParseAddrPort(words[i+1]); err == nil {
				m[packet.AddrFrom(a.Addr())] = true
			} else if a, err := netip.ParseAddr(words[i+1]); err == nil { // of a fwmark service
				m[packet.AddrFrom(a)] = true
			}
		}
	}
	return m
}

// commands compares how commands ended and what they listed.
func (p *play) commands() error {
	var at *recording.Step
	var text strings.Builder
	end := func() {
		if at != nil && at.Op == "dump" && !p.listed(at) {
			p.sum.listings++
			if p.random == 0 && !sameText(at.Cmd, at.Text, text.String()) {
				p.differs(at, "%s\nwant\n%sgot\n%s", at.Cmd, at.Text, text.String())
			}
		}
		at = nil
		text.Reset()
	}
	seen := 0
	for line := range strings.Lines(p.stdout) {
		m := commanded.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case m != nil && m[1] == p.in.script:
			end()
			n, _ := strconv.Atoi(m[2])
			i, ok := p.in.lines[n]
			if !ok {
				continue
			}
			seen++
			at = &p.r.Steps[i]
			if refused := strings.Contains(m[3], " refused: "); refused != (at.RC != 0) && at.Op == "cmd" && !strings.Contains(at.Cmd, ";") {
				p.differs(at, "%s; the kernel's exit status %d, %s", m[3], at.RC, at.Text)
			}
		case explained.MatchString(strings.TrimSuffix(line, "\n")), strings.Contains(line, " frames, ") && strings.Contains(line, " not replayed"):
			end()
		default:
			text.WriteString(line)
		}
	}
	end()
	if seen != len(p.in.lines) {
		return fmt.Errorf("%d of %d commands have a line", seen, len(p.in.lines))
	}
	return nil
}

// listed reports whether a listing is not compared: one that was refused, or that shows
// what the drop_entry defence sacrificed at random, the names of the recorded machine, an
// order drawn at random, or the outcome of a line of shell, which no script can have. The
// texts themselves are compared by the replay in test/kernel.
func (p *play) listed(s *recording.Step) bool {
	_, drops := p.r.Sysctls["net.ipv4.vs.drop_entry"]
	words := strings.Fields(s.Cmd)
	numeric := len(words) > 1 && (strings.Contains(words[1], "n") || slices.Contains(words, "--timeout") || slices.Contains(words, "--daemon"))
	for i := range p.r.Steps {
		o := &p.r.Steps[i]
		if o.Step < s.Step && strings.Contains(o.Cmd, "ipvsadm -R") {
			return true
		}
	}
	return s.RC != 0 || drops && strings.HasPrefix(s.Cmd, "ipvsadm -L") ||
		words[0] == "ipvsadm" && (!numeric || slices.Contains(words, "--nosort") || words[1] == "--version")
}
