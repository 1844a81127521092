package conf

import (
	"bytes"
	"fmt"
)

// TOML writes the state as the file would spell it: one form for each state, only what
// is not a default. Parse gives an equal state back, if this one is valid.
func (c *Config) TOML() []byte {
	var w tomlWriter
	w.table("[director]", c.Director.pairs())
	w.table("[metrics]", c.Metrics.pairs())
	w.table("[api]", c.API.pairs())
	for i := range c.Ports {
		w.entry("[[port]]", c.Ports[i].pairs())
	}
	for i := range c.Routes {
		w.entry("[[route]]", c.Routes[i].pairs())
	}
	for i := range c.Neighbors {
		w.entry("[[neighbor]]", c.Neighbors[i].pairs())
	}
	var ct pairs
	ct.whole("max_connections", c.Conntrack.MaxConnections, DefaultMaxConnections)
	timeouts := c.Conntrack.timeouts().inline()
	ct.add("timeouts", timeouts, timeouts == "{}")
	w.table("[conntrack]", ct)
	w.table("[sysctl]", c.Sysctl.pairs())
	for i := range c.Marks {
		w.entry("[[mark]]", c.Marks[i].pairs())
	}
	for i := range c.Services {
		w.service(c.Services[i])
	}
	return w.Bytes()
}

type tomlWriter struct{ bytes.Buffer }

// table writes a table that is left out when all its keys have defaults.
func (w *tomlWriter) table(header string, ps pairs) {
	if ps.inline() != "{}" {
		w.entry(header, ps)
	}
}

func (w *tomlWriter) entry(header string, ps pairs) {
	if w.Len() > 0 {
		w.WriteByte('\n')
	}
	w.body(header, "", ps)
}

func (w *tomlWriter) body(header, indent string, ps pairs) {
	fmt.Fprintf(w, "%s%s\n", indent, header)
	for _, p := range ps {
		if !p.def {
			fmt.Fprintf(w, "%s%s = %s\n", indent, p.key, p.value)
		}
	}
}

// service writes the first server's method on the service; servers that differ have
// their own.
func (w *tomlWriter) service(s Service) {
	s.canonicalDefinition()
	ps, forward := s.pairs(), noMethod
	if len(s.Servers) > 0 {
		forward = s.Servers[0].Forward
		ps.add("forward", quote(forward.String()), false)
	}
	w.entry("[[service]]", ps)
	w.health(&s, forward)
	for _, d := range s.Servers {
		d.canonical()
		w.body("[[service.server]]", "  ", d.pairs(s.Key, forward))
		w.checks("service.server.check", "    ", d.Checks)
	}
}
