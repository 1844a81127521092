package conf

import (
	"fmt"
	"slices"
	"strings"
)

// Merge is what a state that commands have changed becomes when its file is read again:
// base is the file as last read, running the state now, file the file as it is. What only
// the file changed is taken over; what only commands changed stays. Where both changed an
// object differently (the definition of a service, a server, the timeouts, a sysctl, the
// marks, the routes, the neighbours) the command's state is kept and the conflict is told
// in words. Ports, and what else concerns the process, are the file's. All are valid
// states, and none is changed; the result has still to be validated.
func Merge(base, running, file *Config) (merged *Config, conflicts []string) {
	m := &merger{}
	out := running.Clone()
	next := file.Clone()
	out.Director, out.Ports, out.Metrics, out.API = next.Director, next.Ports, next.Metrics, next.API
	out.Conntrack = m.conntrack(&base.Conntrack, &running.Conntrack, &file.Conntrack)
	for i := range settings {
		t := &settings[i]
		was, is, text := t.text(&base.Sysctl), t.text(&running.Sysctl), t.text(&file.Sysctl)
		if m.takes(was == text, was == is, is == text, func() (string, said) {
			return "sysctl " + t.name, said{"says " + text, "said " + is, is}
		}) {
			t.copy(&out.Sysctl, &file.Sysctl)
		}
	}
	if lists(m, "the mark rules", base.Marks, running.Marks, file.Marks, sameMarks) {
		out.Marks = next.Marks
	}
	if lists(m, "the routes", base.Routes, running.Routes, file.Routes, sameRoutes) {
		out.Routes = next.Routes
	}
	if lists(m, "the neighbours", base.Neighbors, running.Neighbors, file.Neighbors, sameNeighbors) {
		out.Neighbors = next.Neighbors
	}
	out.Services = m.services(base, running, file)
	return out, m.conflicts
}

type merger struct{ conflicts []string }

// said is how a conflict is told: what the file says, what a command said, and what is
// kept.
type said struct{ file, command, kept string }

// values are the keys in which two states of an object differ. Of a single key the name is
// told once.
func values(file, command pairs) said {
	f, c := file.differing(command), command.differing(file)
	if len(f) == 1 && len(c) == 1 {
		_, value, _ := strings.Cut(c[0], " ")
		return said{"says " + f[0], "said " + value, value}
	}
	kept := strings.Join(c, ", ")
	return said{"says " + strings.Join(f, ", "), "said " + kept, kept}
}

func (m *merger) conflict(what string, s said) {
	m.conflicts = append(m.conflicts, fmt.Sprintf("%s: the file %s, a command %s: kept %s", what, s.file, s.command, s.kept))
}

// takes reports whether the file's state of an object is to be taken over, given which of
// the three states are the same.
func (m *merger) takes(fileSame, runningSame, agree bool, tell func() (what string, s said)) bool {
	switch {
	case fileSame || agree:
		return false
	case runningSame:
		return true
	}
	m.conflict(tell())
	return false
}

func (m *merger) conntrack(base, running, file *Conntrack) Conntrack {
	was, is, next := base.timeouts(), running.timeouts(), file.timeouts()
	out := *running
	if m.takes(slices.Equal(was, next), slices.Equal(was, is), slices.Equal(is, next), func() (string, said) { return "the timeouts", values(next, is) }) {
		out = *file
	}
	out.MaxConnections = file.MaxConnections
	return out
}

// lists judges a list that is one object.
func lists[T any](m *merger, what string, base, running, file []T, same func(a, b []T) bool) bool {
	return m.takes(same(base, file), same(base, running), same(running, file), func() (string, said) {
		return what, said{fmt.Sprintf("has others (%d)", len(file)), fmt.Sprintf("set others (%d)", len(running)), "the command's"}
	})
}

func sameMarks(a, b []Mark) bool {
	return slices.EqualFunc(a, b, func(a, b Mark) bool { return slices.Equal(a.pairs(), b.pairs()) })
}
func sameRoutes(a, b []Route) bool { return sameSet(a, b, (*Route).id, (*Route).pairs) }
func sameNeighbors(a, b []Neighbor) bool {
	return sameSet(a, b, (*Neighbor).id, (*Neighbor).pairs)
}

// services merges them in the running order, what is new at the end.
func (m *merger) services(base, running, file *Config) (out []Service) {
	was, is, next := byKey(base.Services), byKey(running.Services), byKey(file.Services)
	for i := range running.Services {
		s := running.Services[i]
		k := s.Key.canonical()
		b, f := was[k], next[k]
		switch {
		case f != nil:
			out = append(out, m.service(b, &s, f))
		case b == nil: // a command's own
			out = append(out, s)
		default: // the file deleted it
			if touched := diffService(*b, canonicalOf(s)); len(touched) > 0 {
				m.conflict("service "+k.String(), said{"deleted it", fmt.Sprintf("said %q", touched[0]), "with its servers"})
				out = append(out, s)
			}
		}
	}
	for i := range file.Services {
		s := file.Services[i]
		k := s.Key.canonical()
		b := was[k]
		switch {
		case is[k] != nil:
		case b == nil:
			out = append(out, s)
		default: // a command deleted it
			if touched := diffService(*b, canonicalOf(s)); len(touched) > 0 {
				m.conflict("service "+k.String(), said{fmt.Sprintf("says %q", touched[0]), "deleted it", "deleted"})
			}
		}
	}
	return out
}

func canonicalOf(s Service) Service {
	s = s.Clone()
	s.canonical()
	return s
}

// service merges one that is running and in the file; base is nil if both added it.
func (m *merger) service(base, running, file *Service) Service {
	is, next := canonicalOf(*running), canonicalOf(*file)
	was := Service{}
	if base != nil {
		was = canonicalOf(*base)
	}
	known := func(a *Service) bool { return base != nil && sameDefinition(&was, a) }
	out := is
	if m.takes(known(&next), known(&is), sameDefinition(&is, &next), func() (string, said) {
		return "service " + is.Key.String(), values(next.pairs(), is.pairs())
	}) {
		out = next
	}
	out.Health = m.health(was.Health, is.Health, next.Health, is.Key)
	out.Servers = nil
	for _, d := range is.Servers {
		if kept, ok := m.server(was.Server(d.ID()), &d, next.Server(d.ID()), is.Key); ok {
			out.Servers = append(out.Servers, kept)
		}
	}
	for _, d := range next.Servers {
		if is.Server(d.ID()) != nil {
			continue
		}
		if kept, ok := m.server(was.Server(d.ID()), nil, &d, is.Key); ok {
			out.Servers = append(out.Servers, kept)
		}
	}
	return out
}

// server merges one; nil is none. ok is false if there is none in the end.
func (m *merger) server(was, is, next *Server, k ServiceKey) (d Server, ok bool) {
	both := is != nil && next != nil
	same := (*Server).Equal
	if both {
		same = sameServer // their checks are judged by themselves
	}
	tell := func() (string, said) {
		switch {
		case next == nil:
			kept := strings.Join(is.pairs(k, noMethod).differing(nil), ", ")
			return fmt.Sprintf("server %v of %v", is, k), said{"deleted it", "said " + kept, "with that"}
		case is == nil:
			text := strings.Join(next.pairs(k, noMethod).differing(nil), ", ")
			return fmt.Sprintf("server %v of %v", next, k), said{"says " + text, "deleted it", "deleted"}
		}
		return fmt.Sprintf("server %v of %v", is, k), values(next.pairs(k, noMethod), is.pairs(k, noMethod))
	}
	kept := is
	if m.takes(same(was, next), same(was, is), same(is, next), tell) {
		kept = next
	}
	if kept == nil {
		return d, false
	}
	d = *kept
	if both {
		var old []HealthCheck
		if was != nil {
			old = was.Checks
		}
		d.Checks = m.checks(old, is.Checks, next.Checks, fmt.Sprintf("server %v of %v", is, k))
	}
	return d, true
}

// differing says the keys whose value is another than in other pairs of one kind of thing,
// or, against nil, all that are no defaults.
func (ps pairs) differing(other pairs) (said []string) {
	for i, p := range ps {
		if i < len(other) && other[i].value == p.value || other == nil && (p.def || p.key == "address") {
			continue
		}
		said = append(said, p.key+" "+plain(p))
	}
	return said
}
