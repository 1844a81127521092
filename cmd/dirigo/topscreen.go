package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dirigo-lb/dirigo/control/api"
)

// topScreen is all that top's screen depends on but the terminal's size.
type topScreen struct {
	snap   snapshot
	err    error // of the last question; snap is from before it
	sort   byte  // c, p, b, a, w or n
	filter string
	typing bool // the filter
	down   int  // rows scrolled
}

const (
	topHelp  = "sort: c p b a w n   / filter   j k scroll   q quit"
	topFixed = 4 // lines beside the rows: director, frames, heading, help
)

// key takes a key, or an escape sequence, and reports whether to quit.
func (s *topScreen) key(k string) (quit bool) {
	if s.typing {
		switch {
		case k == "\x1b":
			s.typing, s.filter = false, ""
		case k == "\r" || k == "\n":
			s.typing = false
		case k == "\x7f" || k == "\b":
			_, n := utf8.DecodeLastRuneInString(s.filter)
			s.filter = s.filter[:len(s.filter)-n]
		case k >= " " && !strings.HasPrefix(k, "\x1b"):
			s.filter += k
		}
		s.down = 0
		return false
	}
	switch k {
	case "q":
		return true
	case "c", "p", "b", "a", "w", "n":
		s.sort = k[0]
	case "/":
		s.typing, s.filter = true, ""
	case "\x1b":
		s.filter = ""
	case "j", "\x1b[B":
		s.down = min(s.down+1, max(len(s.rows())-1, 0))
	case "k", "\x1b[A":
		s.down = max(s.down-1, 0)
	}
	return false
}

// topRow is a service or one of its servers.
type topRow struct {
	name             string
	server           bool
	weight           int
	active, inactive int
	rates            api.Rates
}

// rows are the services, sorted, each with its servers, sorted. A service that the filter
// fits has all its servers.
func (s *topScreen) rows() (rows []topRow) {
	type group struct {
		head topRow
		list []topRow
	}
	var groups []group
	for i := range s.snap.Services {
		svc := &s.snap.Services[i]
		name := svc.Service.Service.String()
		if svc.Name != "" {
			name = svc.Name + " " + name
		}
		g := group{head: topRow{name: name, rates: svc.Rates}}
		all := s.fits(name)
		states, out := s.snap.states(svc)
		for j := range svc.Servers {
			d := &svc.Servers[j]
			g.head.weight, g.head.active, g.head.inactive = g.head.weight+d.Weight, g.head.active+d.Active, g.head.inactive+d.Inactive
			if n := serverName(d) + spaced(states[d.Address]); all || s.fits(n) {
				g.list = append(g.list, topRow{n, true, d.Weight, d.Active, d.Inactive, d.Rates})
			}
		}
		for j := range out {
			if n := addressText(out[j].Server, out[j].Name) + " " + out[j].State; all || s.fits(n) {
				g.list = append(g.list, topRow{name: n, server: true})
			}
		}
		if all || len(g.list) > 0 {
			slices.SortStableFunc(g.list, s.compare)
			groups = append(groups, g)
		}
	}
	slices.SortStableFunc(groups, func(a, b group) int { return s.compare(a.head, b.head) })
	for _, g := range groups {
		rows = append(append(rows, g.head), g.list...)
	}
	return rows
}

func (s *topScreen) fits(name string) bool {
	return strings.Contains(strings.ToLower(name), strings.ToLower(s.filter))
}

// compare puts the greater first, and names in their order.
func (s *topScreen) compare(a, b topRow) int {
	switch s.sort {
	case 'c':
		return cmp.Compare(b.rates.Connections, a.rates.Connections)
	case 'p':
		return cmp.Compare(b.rates.InPackets+b.rates.OutPackets, a.rates.InPackets+a.rates.OutPackets)
	case 'b':
		return cmp.Compare(b.rates.InBytes+b.rates.OutBytes, a.rates.InBytes+a.rates.OutBytes)
	case 'a':
		return cmp.Compare(b.active, a.active)
	case 'w':
		return cmp.Compare(b.weight, a.weight)
	}
	return cmp.Compare(a.name, b.name)
}

// render is the screen as at most h lines of exactly w columns.
func (s *topScreen) render(w, h int) []string {
	if w <= 0 || h <= 0 {
		return nil
	}
	st := &s.snap.Status
	lines := []string{fmt.Sprintf("%s  up %s  %d workers  %d of %d connections", st.Name, since(st.Uptime), st.Workers, st.Connections, st.Max), s.frames()}
	if st.Health != nil {
		lines[0] += "  health " + healthText(st.Health)
	}
	if s.err != nil {
		lines[1] = "! " + s.err.Error()
	}
	lines = append(lines, s.heading(w))
	rows := s.rows()
	rows = rows[min(s.down, len(rows)):]
	for _, r := range rows[:min(len(rows), max(h-topFixed, 0))] {
		lines = append(lines, r.line(w))
	}
	for len(lines) < h-1 {
		lines = append(lines, "")
	}
	foot := topHelp
	switch {
	case s.typing:
		foot = "/" + s.filter + "_"
	case s.filter != "":
		foot = "filter " + s.filter + " (Esc: all)   " + topHelp
	}
	lines = append(lines[:h-1:h-1], foot)
	if h == 1 {
		lines[0] = fmt.Sprintf("%s  %d connections", st.Name, st.Connections)
	}
	for i := range lines {
		lines[i] = fit(lines[i], w)
	}
	return lines
}

// frames sums up what the ports did, and why frames were dropped.
func (s *topScreen) frames() string {
	var rx, tx, lost uint64
	for _, p := range s.snap.Status.Ports {
		rx, tx, lost = rx+p.Received, tx+p.Sent, lost+p.Lost+p.Dropped
	}
	line := fmt.Sprintf("frames  in %s  out %s  lost %s", short(rx), short(tx), short(lost))
	for _, d := range dropsOf(s.snap.Status.Reasons) {
		line += fmt.Sprintf("  %s %s", d.reason, short(d.n))
	}
	return line
}

// topColumns are right of the name; narrow terminals have fewer, from the left.
var topColumns = []struct {
	head  string
	sort  byte
	width int
	cell  func(*topRow) string
}{
	{"WEIGHT", 'w', 7, func(r *topRow) string { return short(uint64(r.weight)) }},
	{"ACTIVE", 'a', 7, func(r *topRow) string { return short(uint64(r.active)) }},
	{"INACT", 0, 7, func(r *topRow) string { return short(uint64(r.inactive)) }},
	{"CONN/S", 'c', 8, func(r *topRow) string { return short(r.rates.Connections) }},
	{"PKT/S", 'p', 7, func(r *topRow) string { return short(r.rates.InPackets + r.rates.OutPackets) }},
	{"B/S", 'b', 7, func(r *topRow) string { return short(r.rates.InBytes + r.rates.OutBytes) }},
}

// split is how wide the name is and how many columns there are beside it.
func split(w int) (name, columns int) {
	name = w
	for columns < len(topColumns) && name-topColumns[columns].width >= 16 {
		name -= topColumns[columns].width
		columns++
	}
	return name, columns
}

// heading has a star at the column that decides the order.
func (s *topScreen) heading(w int) string {
	name, n := split(w)
	first := "SERVICE/SERVER"
	if s.sort == 'n' {
		first += "*"
	}
	line := fit(first, name)
	for _, c := range topColumns[:n] {
		head := c.head
		if c.sort == s.sort {
			head += "*"
		}
		line += fmt.Sprintf("%*s", c.width, head)
	}
	return line
}

func (r *topRow) line(w int) string {
	name, n := split(w)
	indent := ""
	if r.server {
		indent = "  "
	}
	line := fit(indent+r.name, name)
	for _, c := range topColumns[:n] {
		line += fmt.Sprintf("%*s", c.width, c.cell(r))
	}
	return line
}
