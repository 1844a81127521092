package kernel

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/conntrack"
	"github.com/dirigo-lb/dirigo/ipvsadm"
	"github.com/dirigo-lb/dirigo/test/recording"
)

// line runs a line of the recorded machine's shell and compares exit code and text;
// "" when they agree.
func (d *director) line(sh *shell, r *recording.Recording, s *recording.Step) string {
	got, rc, err := sh.do(s.Cmd)
	if err != nil {
		return err.Error()
	}
	if rc != s.RC {
		return fmt.Sprintf("%s: exit code %d, text %q; recorded %d, %q", s.Cmd, rc, got, s.RC, s.Text)
	}
	want, got := s.Text, asRecorded(got, r)
	switch {
	case sh.conns:
		return d.compareConns(sh, s, want, got)
	case sh.unorder:
		want, got = sortedServices(want), sortedServices(got)
	}
	if got != want {
		return s.Cmd + lineDiff(want, got)
	}
	return ""
}

// asRecorded puts the recorded program's version where ours is, and leaves out what our
// help says at its end.
func asRecorded(text string, r *recording.Recording) string {
	text = strings.ReplaceAll(text, ipvsadm.Version+"\n", r.Ipvsadm+"\n")
	const paragraph = "\nDifferences:\n"
	if help, more, ours := strings.Cut(text, paragraph); ours {
		_, rest, _ := strings.Cut(more, "\n\n")
		text = help + rest
	}
	return text
}

// compareConns compares a line that listed connections. A step's recorded instant is not
// that of the kernel's jiffy: an entry may be some milliseconds on this or that side of
// a whole second, so a line that only reads is run at three instants.
func (d *director) compareConns(sh *shell, s *recording.Step, want, got string) string {
	all := []string{sortedConns(got)}
	if !sh.changed {
		all = nil
		defer func() { d.shift = 0 }()
		for _, d.shift = range []time.Duration{jiffies, -jiffies, 0} {
			text, _, err := sh.do(s.Cmd)
			if err != nil {
				return err.Error()
			}
			all = append(all, sortedConns(text))
		}
	}
	want = sortedConns(want)
	if slices.Contains(all, want) {
		return ""
	}
	got = mergeSeconds(want, all)
	if d.sysctl.DropEntry >= conntrack.DefenceActing { // what the kernel sacrificed was drawn at random
		got = common(want, got)
	}
	if got != want {
		return s.Cmd + lineDiff(want, got)
	}
	return ""
}

// sortedServices puts the services of a listing, each with its servers, in order: the
// kernel lists them by a hash whose seed is random.
func sortedServices(text string) string {
	head, rest, found := strings.Cut(text, "\n  -> RemoteAddress:Port")
	if !found {
		return text
	}
	title, rest, _ := strings.Cut(rest, "\n")
	var blocks []string
	for l := range strings.Lines(rest) {
		if strings.HasPrefix(l, "  -> ") && len(blocks) > 0 {
			blocks[len(blocks)-1] += l
		} else {
			blocks = append(blocks, l)
		}
	}
	slices.Sort(blocks)
	return head + "\n  -> RemoteAddress:Port" + title + "\n" + strings.Join(blocks, "")
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
	return sortedConns(strings.Join(rows, "\n"))
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
	var titles, rows []string
	for l := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(l, "IPVS connection"), strings.HasPrefix(l, "pro expire"), strings.HasPrefix(l, "Pro FromIP"):
			titles = append(titles, l)
		case len(l) <= 9 || l[4:9] != "00:00":
			rows = append(rows, l)
		}
	}
	slices.Sort(rows)
	return strings.Join(append(titles, rows...), "")
}
