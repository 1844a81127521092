package main

import (
	"fmt"
	"math"
	"strings"
)

// markdown is the report; plot is the file of the picture, "" if there is none.
func markdown(r *results, plot string) string {
	var b strings.Builder
	b.WriteString("# Beside its peers\n\n")
	fmt.Fprintf(&b, "%v.\n\n", r.Machine)
	fmt.Fprintf(&b, "%s; medians, in brackets the least and the most of the rounds. A ratio (×) is the median of the rounds' ratios: both figures are of the same round, minutes apart at most. ", rounds(r.Rounds))
	b.WriteString("Only ratios carry over to other machines. The ends (generator, clients, servers) are on one CPU, the director's process on another; kernel rows without RPS run on the ends' CPU and leave the other idle, so the RPS row is a userspace director's equal. Answers of DR and IPIP go past the director. The server takes IPIP off in userspace, on the ends' CPU, which is what limits that row wherever the server answers.\n\n")
	if r.Quick {
		b.WriteString("**Quick: short samples, to see that it works. Not to be quoted.**\n\n")
	}
	if !r.Whole {
		b.WriteString("**Interrupted: not all rounds are here.**\n\n")
	}
	if r.Machine.Busy > 0.1 {
		fmt.Fprintf(&b, "**The machine had other work: %.2f CPUs were busy before the run.**\n\n", r.Machine.Busy)
	}
	if stolen := r.stolen(); stolen > 0.05 {
		fmt.Fprintf(&b, "**The host took away up to %.2f CPUs.**\n\n", stolen)
	}
	if plot != "" {
		fmt.Fprintf(&b, "![medians and spread of every measure](%s)\n\n", plot)
	}
	b.WriteString(targetTable(r))
	for _, t := range tables() {
		b.WriteString(t.markdown(r))
	}
	b.WriteString(floodTable(r))
	if f := r.failures(); len(f) > 0 {
		b.WriteString("## What failed\n\n")
		for _, s := range f {
			fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(s, "\n", " "))
		}
		b.WriteString("\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// markdown is the table, "" if nothing of it was measured.
func (t *table) markdown(r *results) string {
	refs := t.refs[:0:0]
	for _, ref := range t.refs {
		if r.summary(ref, t.measure, t.of).n > 0 {
			refs = append(refs, ref)
		}
	}
	var rows strings.Builder
	for _, f := range r.Rows {
		s := r.summary(f.Name, t.measure, t.of)
		why := r.refused(f.Name, t.measure)
		switch {
		case why != "":
			fmt.Fprintf(&rows, "| %s | refused: %s |", f.Title, strings.NewReplacer("\n", " ", "|", "/").Replace(why))
		case s.n == 0:
			continue
		default:
			fmt.Fprintf(&rows, "| %s | %s |", f.Title, s)
		}
		for _, ref := range refs {
			fmt.Fprintf(&rows, " %s |", ratioText(r.ratio(f.Name, ref, t.measure, t.of)))
		}
		for _, c := range t.extra {
			fmt.Fprintf(&rows, " %s |", short(r.summary(f.Name, t.measure, c.of)))
		}
		rows.WriteString("\n")
	}
	if rows.Len() == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", t.title)
	if t.note != "" {
		fmt.Fprintf(&b, "%s\n\n", t.note)
	}
	fmt.Fprintf(&b, "| forwarder | %s |", t.heading)
	for _, ref := range refs {
		fmt.Fprintf(&b, " × %s |", ref)
	}
	for _, c := range t.extra {
		fmt.Fprintf(&b, " %s |", c.heading)
	}
	fmt.Fprintf(&b, "\n|---|%s\n%s\n", strings.Repeat("---|", 1+len(refs)+len(t.extra)), rows.String())
	return b.String()
}

// targetTable checks the targets.
func targetTable(r *results) string {
	var rows strings.Builder
	any := false
	for _, t := range targets() {
		s := t.measured(r)
		any = any || s.n > 0
		got := "–"
		if s.n > 0 {
			got = s.String()
		}
		fmt.Fprintf(&rows, "| %s | %s | %s | %s |\n", t.what, t.bounds(), got, t.verdict(s))
	}
	if !any {
		return ""
	}
	return "## Targets\n\n| measure | target | measured | reached |\n|---|---|---|---|\n" + rows.String() + "\n"
}

// floodTable is a list: there is one forwarder.
func floodTable(r *results) string {
	var rows strings.Builder
	for _, c := range []column{
		{"SYNs/s offered", value("syns", 1)},
		{"requests answered", value("requests", 1)},
		{"requests lost", value("failed", 1)},
		{"request p50, ms", value("request_p50", 1e-3)},
		{"request p99, ms", value("request_p99", 1e-3)},
		{"longest request, ms", value("request_max", 1e-3)},
		{"connections in the table, most", value("connections", 1)},
		{"resident memory before, MiB", value("rss_before", 1)},
		{"resident memory, most, MiB", value("rss_after", 1)},
		{"control socket, slowest answer, ms", value("control_ms", 1)},
		{"control socket, no answer", value("control_failed", 1)},
		{"director's CPUs", value("cpus", 1)},
	} {
		if s := r.summary("dirigo-nat", "flood", c.of); s.n > 0 {
			fmt.Fprintf(&rows, "| %s | %s |\n", c.heading, s)
		}
	}
	if rows.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("## SYN flood\n\nDirigo NAT with max_connections = %d: SYNs of ever new clients as fast as they can be sent, beside %d users who go on asking once a second on HTTP connections they had before.\n\n| | |\n|---|---|\n%s\n", floodConns, floodUsers, rows.String())
}

func rounds(n int) string {
	if n == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", n)
}

// String is the median with the spread.
func (s summary) String() string {
	if s.n < 2 {
		return short(s)
	}
	return fmt.Sprintf("%s (%s–%s)", digits(s.median), digits(s.min), digits(s.max))
}

// short is the median.
func short(s summary) string {
	if s.n == 0 {
		return "–"
	}
	return digits(s.median)
}

// ratioText is a ratio.
func ratioText(s summary) string {
	if s.n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", s.median)
}

// digits shows three significant digits, whole numbers from a hundred on.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.01:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1g", v)
}
