package conf

import (
	"strconv"
	"strings"
)

// join is the path of a key in the table at path. A key that TOML would have to quote
// is quoted here too, so a dot in a key cannot be taken for a step.
func join(path, key string) string {
	if !bare(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// at is the path of an element.
func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// bare reports whether key needs no quotes: TOML 1.0.0, "Keys".
func bare(key string) bool {
	for _, r := range key {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return false
		}
	}
	return key != ""
}

// labels gives the path of each table that has a name its name, quoted; a service or
// server without one has its address instead.
func labels(cfg *Config) map[string]string {
	names := make(map[string]string)
	put := func(path, name string) {
		if name != "" {
			names[path] = strconv.Quote(name)
		}
	}
	putChecks := func(path string, checks []HealthCheck) {
		for i := range checks {
			put(at(join(path, "check"), i), checks[i].label())
		}
	}
	for i := range cfg.Ports {
		put(at("port", i), cfg.Ports[i].Name)
	}
	for i := range cfg.Services {
		s, path := &cfg.Services[i], at("service", i)
		if s.Name != "" {
			put(path, s.Name)
		} else if s.Key.Fwmark != 0 || s.Key.Addr.IsValid() {
			put(path, s.Key.String())
		}
		if s.Health != nil {
			putChecks(path, s.Health.Checks)
		}
		for j := range s.Servers {
			d, path := &s.Servers[j], at(path+".server", j)
			if d.Name != "" {
				put(path, d.Name)
			} else if d.Addr.IsValid() {
				put(path, d.String())
			}
			putChecks(path, d.Checks)
		}
	}
	return names
}

// label puts the names into a path: `service[2] "web".scheduler`.
func label(path string, names map[string]string) string {
	var b strings.Builder
	done := 0
	for i := range len(path) {
		if path[i] == ']' {
			b.WriteString(path[done : i+1])
			done = i + 1
			if name := names[path[:i+1]]; name != "" {
				b.WriteString(" " + name)
			}
		}
	}
	return b.String() + path[done:]
}

// parent is the path one step up, "" at the top.
func parent(path string) string {
	quoted := false
	for i := len(path) - 1; i >= 0; i-- {
		switch c := path[i]; {
		case c == '"' && (i == 0 || path[i-1] != '\\'):
			quoted = !quoted
		case !quoted && (c == '.' || c == '['):
			return path[:i]
		}
	}
	return ""
}
