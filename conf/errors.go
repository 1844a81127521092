package conf

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What callers branch on. An ipvsadm front end tells them as the kernel's errnos.
var (
	ErrExists      = errors.New("exists already")            // EEXIST: service or server
	ErrNoService   = errors.New("no such service")           // ESRCH
	ErrNoServer    = errors.New("no such server")            // ENOENT: of a server command
	ErrNoScheduler = errors.New("no such scheduler")         // ENOENT of a service command: scheduler or persistence engine
	ErrNoSysctl    = errors.New("no such setting")           // ENOENT of /proc/sys: a kernel 6.1 has no such name
	ErrRange       = errors.New("number out of range")       // ERANGE: weight or threshold
	ErrInvalid     = errors.New("not a valid desired state") // EINVAL: any other rule; also beside the two above
)

// Error is one mistake in a desired state.
type Error struct {
	File string // "" for a state that did not come from a file
	Line int    // from 1; 0 when unknown
	Key  string // where in the state, counted from 0: `service[2] "web".scheduler`; "" for the file itself
	Msg  string // what is wrong; what is allowed
	Err  error  // the kind, for errors.Is: ErrNoScheduler, ErrRange, an error of the file system; nil for none
}

func (e Error) Error() string {
	var parts []string
	switch {
	case e.File != "" && e.Line > 0:
		parts = append(parts, fmt.Sprintf("%s:%d", e.File, e.Line))
	case e.File != "":
		parts = append(parts, e.File)
	}
	if e.Key != "" {
		parts = append(parts, e.Key)
	}
	return strings.Join(append(parts, e.Msg), ": ")
}

// Unwrap gives Err.
func (e Error) Unwrap() error { return e.Err }

// Errors are all mistakes of one state, by line. It is never empty as an error.
type Errors []Error

// Error has one line for each mistake.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each mistake, for errors.Is and errors.As.
func (es Errors) Unwrap() []error {
	all := make([]error, len(es))
	for i, e := range es {
		all[i] = e
	}
	return all
}

func (es Errors) sort() {
	slices.SortStableFunc(es, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
}

// problems collects mistakes by path. A path is a key without the names of services
// and servers: `service[2].scheduler`.
type problems struct {
	found  []problem
	seen   map[string]bool // paths that have a mistake already: the first one told is the cause
	broken map[string]bool // paths that should be tables and are not: nothing in them can be judged
}

type problem struct {
	path, msg string
	kind      error
}

// add notes a mistake, unless the path has one already.
func (p *problems) add(path, format string, args ...any) { p.addKind(nil, path, format, args...) }

func (p *problems) addKind(kind error, path, format string, args ...any) {
	for up := path; up != ""; up = parent(up) {
		if p.broken[up] {
			return
		}
	}
	if p.seen[path] {
		return
	}
	p.settle(path)
	p.found = append(p.found, problem{path, fmt.Sprintf(format, args...), kind})
}

// settle says that a later mistake at path would only follow from one already told.
func (p *problems) settle(path string) {
	if p.seen == nil {
		p.seen = make(map[string]bool)
	}
	p.seen[path] = true
}

// addBroken notes a mistake that hides all there is below path.
func (p *problems) addBroken(path, format string, args ...any) {
	p.add(path, format, args...)
	if p.broken == nil {
		p.broken = make(map[string]bool)
	}
	p.broken[path] = true
}

// errors finishes the mistakes: names beside the indexes, lines where known.
func (p *problems) errors(cfg *Config, file string, lines lineIndex) Errors {
	if len(p.found) == 0 {
		return nil
	}
	names := labels(cfg)
	var es Errors
	for _, m := range p.found {
		m.path = lines.alone(m.path)
		es = append(es, Error{File: file, Line: lines.of(m.path), Key: label(m.path, names), Msg: m.msg, Err: m.kind})
	}
	es.sort()
	return es
}
