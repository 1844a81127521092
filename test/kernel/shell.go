package kernel

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// shell runs the lines that were run on the recorded machine, with that machine's files
// in memory. It knows what recordings use; anything else is an error, which names it.
type shell struct {
	d     *director
	files map[string][]byte
	vars  map[string]string
	rc    int // of the last command: $?

	changed bool // a command changed the director or took time, so the line cannot be run again
	conns   bool // connections were listed, whose order is the kernel's
	unorder bool // services were listed in the kernel's order
}

func newShell(d *director) *shell {
	return &shell{d: d, files: map[string][]byte{}, vars: map[string]string{}}
}

// stdio are the streams of one command.
type stdio struct {
	in       []byte
	out, err io.Writer
}

// do runs one line. text is what it wrote to both its streams, as recordings have it.
func (sh *shell) do(line string) (text string, rc int, err error) {
	sh.changed, sh.conns, sh.unorder = false, false, false
	n, err := parseShell(line)
	if err != nil {
		return "", 0, fmt.Errorf("%q: %w", line, err)
	}
	var b bytes.Buffer
	rc, err = n.run(sh, stdio{nil, &b, &b})
	if err != nil {
		err = fmt.Errorf("%q: %w", line, err)
	}
	return b.String(), rc, err
}

func (s sequence) run(sh *shell, io stdio) (rc int, err error) {
	for _, c := range s {
		if c.before == "&&" && rc != 0 || c.before == "||" && rc == 0 {
			continue
		}
		if rc, err = c.node.run(sh, io); err != nil {
			return rc, err
		}
		sh.rc = rc
	}
	return rc, nil
}

func (p pipeline) run(sh *shell, io stdio) (rc int, err error) {
	for i, stage := range p {
		var pipe bytes.Buffer
		one := io
		if i < len(p)-1 {
			one.out = &pipe
		}
		if rc, err = stage.run(sh, one); err != nil {
			return rc, err
		}
		io.in = pipe.Bytes()
	}
	return rc, nil
}

func (l loop) run(sh *shell, io stdio) (rc int, err error) {
	for _, w := range sh.expandAll(l.words) {
		sh.vars[l.variable] = w
		if rc, err = l.body.run(sh, io); err != nil {
			return rc, err
		}
	}
	return rc, nil
}

// The words of /bin/sh (dash 0.5) for files it cannot open; the exit code is 2.
const (
	noInput  = "/bin/sh: 1: cannot open %s: No such file\n"
	noOutput = "/bin/sh: 1: cannot create %s: Directory nonexistent\n"
)

func (c simple) run(sh *shell, io stdio) (rc int, err error) {
	words := sh.expandAll(c.words)
	io, closers, rc := sh.redirect(c.redirects, io)
	if rc != 0 || len(words) == 0 {
		return rc, nil
	}
	if name, value, ok := strings.Cut(words[0], "="); ok && len(words) == 1 && nameLen(name) == len(name) {
		sh.vars[name] = value
		return 0, nil
	}
	f := builtin(words[0])
	if f == nil {
		return 0, fmt.Errorf("command %s is not replayed", words[0])
	}
	if rc, err = f(sh, words, io); err != nil {
		return rc, fmt.Errorf("%s: %w", words[0], err)
	}
	for _, c := range closers {
		if e := c(); e != "" {
			fmt.Fprintf(io.err, "/bin/sh: 1: %s: %s: %s\n", words[0], words[0], e)
			rc = 1
		}
	}
	return rc, nil
}

// redirect applies redirections from left to right. A closer is called when the command
// is over and says what is wrong with what was written.
func (sh *shell) redirect(rs []redirect, io stdio) (_ stdio, closers []func() string, rc int) {
	open := func(name string, keep bool) *bytes.Buffer {
		b := new(bytes.Buffer)
		if setting, ok := strings.CutPrefix(name, sysctlFiles); ok {
			closers = append(closers, func() string {
				sh.changed = true
				if sh.d.setSysctl(setting, strings.TrimSuffix(b.String(), "\n")) != nil {
					return "I/O error"
				}
				return ""
			})
			return b
		}
		if keep {
			b.Write(sh.files[name])
		}
		closers = append(closers, func() string {
			if name != "/dev/null" {
				sh.files[name] = b.Bytes()
			}
			return ""
		})
		return b
	}
	for _, r := range rs {
		name := strings.Join(sh.expand(r.file), " ")
		switch r.op {
		case "2>&1":
			io.err = io.out
		case ">&2", "1>&2":
			io.out = io.err
		case "<<":
			io.in = []byte(name)
		case "<":
			var ok bool
			if io.in, ok = sh.read(name); !ok {
				fmt.Fprintf(io.err, noInput, name)
				return io, nil, 2
			}
		default:
			if strings.HasPrefix(name, "/nosuch") {
				fmt.Fprintf(io.err, noOutput, name)
				return io, nil, 2
			}
			b := open(name, strings.HasSuffix(r.op, ">>"))
			if r.op[0] == '2' {
				io.err = b
			} else {
				io.out = b
			}
		}
	}
	return io, closers, 0
}

func (sh *shell) expandAll(words []token) (all []string) {
	for _, w := range words {
		all = append(all, sh.expand(w)...)
	}
	return all
}

// expand puts the values of variables in; those outside quotes may give several words.
func (sh *shell) expand(t token) (words []string) {
	var word strings.Builder
	begun := false
	for _, p := range t.parts {
		value := p.text
		if p.variable {
			value = sh.vars[p.text]
			if p.text == "?" {
				value = fmt.Sprint(sh.rc)
			}
		}
		if p.variable && !p.quoted {
			fields := strings.Fields(value)
			for i, f := range fields {
				if i > 0 {
					words = append(words, word.String())
					word.Reset()
				}
				word.WriteString(f)
				begun = true
			}
			continue
		}
		word.WriteString(value)
		begun = true
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}
