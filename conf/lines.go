package conf

import (
	"bytes"
	"strconv"
	"strings"
)

// lineIndex gives the line, from 1, at which a key, table or array element begins.
// The decoder keeps positions only of its syntax errors, so the lines of everything
// else are found here.
type lineIndex map[string]int

// of is the line of path or, where path is not written, of the nearest table around it.
func (l lineIndex) of(path string) int {
	for ; path != ""; path = parent(path) {
		if n, ok := l[path]; ok {
			return n
		}
	}
	return 0
}

// alone is the path as the file has it: what may be a list and is written as one value has
// no index there.
func (l lineIndex) alone(path string) string {
	for from := 0; ; {
		i := strings.Index(path[from:], "[0]")
		if i < 0 {
			return path
		}
		i += from
		if from = i + len("[0]"); l[path[:from]] == 0 && l[path[:i]] != 0 {
			path, from = path[:i]+path[from:], i
		}
	}
}

// maxDepth is how deep tables and lists may lie in each other; our language needs six.
// The decoder has no bound: it takes seconds, then the stack.
const maxDepth = 32

// indexLines walks a document. It knows where TOML's keys, strings, arrays and inline
// tables begin and end, and leaves their meaning to the decoder; on a document that is
// not TOML it gives some index and ends. deep is the line at which something lies
// deeper than maxDepth, where the walk ends too; 0 if nothing does.
func indexLines(data []byte) (lines lineIndex, deep int) {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} { // the decoder passes them too
		data = bytes.TrimPrefix(data, []byte(mark))
	}
	s := &lineScanner{
		b: data, line: 1,
		lines: make(lineIndex), tables: make(map[string]int),
	}
	table := ""
	for s.skipBlank(true); s.more(); s.skipBlank(true) {
		if s.b[s.i] == '[' {
			table = s.header()
		} else {
			s.pair(table)
		}
		s.skipLine()
	}
	return s.lines, s.deep
}

type lineScanner struct {
	b      []byte
	i      int // next byte
	line   int // its line
	lines  lineIndex
	tables map[string]int // how many [[tables]] of a path there have been
	depth  int            // of the value or dotted key at hand
	deep   int            // line of what is too deep
}

func (s *lineScanner) more() bool { return s.i < len(s.b) }

// step passes one byte and counts its line.
func (s *lineScanner) step() {
	if s.b[s.i] == '\n' {
		s.line++
	}
	s.i++
}

// skipBlank passes spaces, and line ends and comments too where they are allowed.
func (s *lineScanner) skipBlank(newlines bool) {
	for s.more() {
		switch c := s.b[s.i]; {
		case c == ' ' || c == '\t' || c == '\r' || newlines && c == '\n':
			s.step()
		case newlines && c == '#':
			s.skipLine()
		default:
			return
		}
	}
}

// skipLine passes the rest of the line, but not its end.
func (s *lineScanner) skipLine() {
	for s.more() && s.b[s.i] != '\n' {
		s.i++
	}
}

func (s *lineScanner) note(path string) {
	if _, known := s.lines[path]; !known {
		s.lines[path] = s.line
	}
}

// header reads [table] or [[table]] and gives its path with the indexes of the tables
// it is part of.
func (s *lineScanner) header() (path string) {
	s.i++
	array := s.more() && s.b[s.i] == '['
	if array {
		s.i++
	}
	keys := s.keys()
	for i, key := range keys {
		path = join(path, key)
		last := i == len(keys)-1
		if last && array {
			s.note(path)
			s.tables[path]++
		}
		if n := s.tables[path]; n > 0 {
			path = at(path, n-1)
		}
		s.note(path)
	}
	return path
}

// pair reads key = value in the table at path.
func (s *lineScanner) pair(path string) {
	for _, key := range s.keys() {
		path = join(path, key)
		s.note(path)
	}
	if s.more() && s.b[s.i] == '=' {
		s.i++
		s.skipBlank(false)
		s.value(path)
	}
}

// keys reads a dotted key.
func (s *lineScanner) keys() (keys []string) {
	for {
		s.skipBlank(false)
		start := s.i
		if s.more() && (s.b[s.i] == '"' || s.b[s.i] == '\'') {
			s.text()
			keys = append(keys, unquote(string(s.b[start:s.i])))
		} else {
			for s.more() && bare(string(s.b[s.i])) {
				s.i++
			}
			keys = append(keys, string(s.b[start:s.i]))
		}
		s.skipBlank(false)
		if !s.more() || s.b[s.i] != '.' {
			return keys
		}
		if len(keys) == maxDepth {
			s.tooDeep()
			return keys
		}
		s.i++
	}
}

// unquote gives the meaning of a quoted key. A basic string's escapes are nearly Go's;
// one that Go does not know only costs that key its line.
func unquote(text string) string {
	if text[0] == '"' {
		if t, err := strconv.Unquote(text); err == nil {
			return t
		}
	}
	if len(text) < 2 {
		return ""
	}
	return text[1 : len(text)-1]
}

// tooDeep ends the walk.
func (s *lineScanner) tooDeep() { s.deep, s.i = s.line, len(s.b) }

// value passes a value and notes what is inside.
func (s *lineScanner) value(path string) {
	if s.depth == maxDepth {
		s.tooDeep()
	}
	if !s.more() {
		return
	}
	s.depth++
	defer func() { s.depth-- }()
	switch s.b[s.i] {
	case '"', '\'':
		s.text()
	case '[':
		s.inside(']', func(n int) {
			s.note(at(path, n))
			s.value(at(path, n))
		})
	case '{':
		s.inside('}', func(int) { s.pair(path) })
	default:
		for s.more() && !bytes.ContainsRune([]byte(",]}#\n"), rune(s.b[s.i])) {
			s.i++
		}
	}
}

// inside calls item for each element up to the closing byte.
func (s *lineScanner) inside(closing byte, item func(n int)) {
	s.i++
	for n := 0; ; n++ {
		for s.skipBlank(true); s.more() && s.b[s.i] == ','; s.skipBlank(true) {
			s.i++
		}
		if !s.more() {
			return
		}
		if s.b[s.i] == closing {
			s.i++
			return
		}
		before := s.i
		if item(n); s.i == before {
			s.step() // not TOML: end all the same
		}
	}
}

// text passes a string of any of the four kinds.
func (s *lineScanner) text() {
	quote := s.b[s.i : s.i+1]
	end := quote
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(s.b[s.i:], triple) {
		end = triple
	}
	for s.i += len(end); s.more(); s.step() {
		switch {
		case s.b[s.i] == '\\' && quote[0] == '"' && s.i+1 < len(s.b):
			s.step()
		case bytes.HasPrefix(s.b[s.i:], end):
			s.i += len(end)
			for len(end) == 3 && s.more() && s.b[s.i] == quote[0] {
				s.i++ // up to two quotes may stand before the closing three
			}
			return
		}
	}
}
