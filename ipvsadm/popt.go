package ipvsadm

import "strings"

// words walks an argv as the popt library (1.16 to 1.19) does for ipvsadm: options may be
// bundled, take their argument from the same word or the next, and be mixed with
// plain words, which are kept for the end. "--" ends the options.
type words struct {
	argv    []string
	at      int    // next word
	bundle  string // what is left of a word of short options
	bundled bool   // bundle is in use, even if empty (as after "-t=")
	plain   []string
	rest    bool // after "--"
}

// item is one option found.
type item struct {
	*spelling
	value string
	given bool // an argument was there; false only for argNone and argOptional
}

// The words popt has for mistakes.
const (
	poptUnknown = "unknown option"
	poptMissing = "missing argument"
)

// next returns the next option, or ok false at the end, or what popt says is wrong.
func (w *words) next() (it item, ok bool, wrong string) {
	for !w.bundled {
		if w.at == len(w.argv) {
			return item{}, false, ""
		}
		word := w.argv[w.at]
		w.at++
		switch {
		case w.rest || len(word) < 2 || word[0] != '-':
			w.plain = append(w.plain, word)
		case word == "--":
			w.rest = true
		case word[1] == '-':
			return w.long(word[2:])
		default:
			w.bundle, w.bundled = word[1:], true
		}
	}
	return w.short()
}

// long handles a word "--name" or "--name=value". A value written for an option that
// takes none is dropped without a word, as popt does.
func (w *words) long(name string) (item, bool, string) {
	name, value, given := strings.Cut(name, "=")
	s := findLong(name)
	switch {
	case s == nil:
		return item{}, false, poptUnknown
	case s.arg == argNone:
		return item{spelling: s}, true, ""
	case given:
		return item{s, value, true}, true, ""
	}
	return w.argument(s)
}

// short handles the next letter of a bundle.
func (w *words) short() (item, bool, string) {
	var s *spelling
	if w.bundle != "" {
		s = findShort(w.bundle[0])
	}
	if s == nil {
		w.bundled = false
		return item{}, false, poptUnknown
	}
	w.bundle = w.bundle[1:]
	w.bundled = w.bundle != ""
	w.bundle = strings.TrimPrefix(w.bundle, "=")
	switch {
	case s.arg == argNone:
		return item{spelling: s}, true, ""
	case w.bundled:
		w.bundled = false
		return item{s, w.bundle, true}, true, ""
	}
	return w.argument(s)
}

// argument takes the next word as s's argument.
func (w *words) argument(s *spelling) (item, bool, string) {
	switch {
	case w.at == len(w.argv):
		if s.arg == argOptional {
			return item{spelling: s}, true, ""
		}
		return item{}, false, poptMissing
	case s.arg == argOptional && strings.HasPrefix(w.argv[w.at], "-"):
		return item{spelling: s}, true, ""
	}
	w.at++
	return item{s, w.argv[w.at-1], true}, true, ""
}

// last is the word messages blame: the last one taken, even when it is the argument
// of the option that is wrong.
func (w *words) last() string {
	if w.at == 0 {
		return ""
	}
	return w.argv[w.at-1]
}
