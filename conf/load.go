package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// Load reads and judges a file. An error is an Errors: every mistake at once.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var cause *fs.PathError
		why := err.Error()
		if errors.As(err, &cause) {
			why = cause.Err.Error() // the path stands before it already
		}
		return nil, Errors{{File: path, Msg: "cannot be read: " + why, Err: err}}
	}
	return Parse(path, data)
}

// Parse judges a file's text; name is what errors call it. An error is an Errors:
// every mistake at once, except that a text which is not TOML has only one.
func Parse(name string, data []byte) (*Config, error) {
	cfg, _, err := Check(name, data)
	return cfg, err
}

// Check is Parse that also gives the warnings of a valid file, with their lines.
func Check(name string, data []byte) (cfg *Config, warnings Errors, err error) {
	lines, deep := indexLines(data)
	if deep > 0 {
		return nil, nil, Errors{{File: name, Line: deep, Msg: fmt.Sprintf("tables and lists lie more than %d deep in each other", maxDepth)}}
	}
	var tree map[string]any
	if _, err := toml.Decode(string(data), &tree); err != nil {
		return nil, nil, Errors{syntaxError(name, data, err)}
	}
	p := new(problems)
	var raw rawConfig
	p.fill(reflect.ValueOf(&raw).Elem(), "", tree)
	cfg = p.build(&raw)
	p.validate(cfg)
	if found := p.errors(cfg, name, lines); found != nil {
		return nil, nil, found
	}
	w := new(problems)
	w.warn(cfg)
	return cfg, w.errors(cfg, name, lines), nil
}

// Validate judges a state that did not come from a file. The error, if any, is an
// Errors with keys but without lines.
func Validate(cfg *Config) error {
	p := new(problems)
	p.validate(cfg)
	if found := p.errors(cfg, "", nil); found != nil {
		return found
	}
	return nil
}

// Warnings lists what is allowed in a valid state and yet probably not meant.
func Warnings(cfg *Config) Errors {
	p := new(problems)
	p.warn(cfg)
	return p.errors(cfg, "", nil)
}

// syntaxError is the decoder's one error in our form.
func syntaxError(name string, data []byte, err error) Error {
	e := Error{File: name, Line: 1, Msg: err.Error()}
	var at toml.ParseError
	if errors.As(err, &at) {
		// The decoder counts a line too few at the end of the text, and its offset is
		// where a string began: the later of both is nearest.
		offset := min(max(0, at.Position.Start), len(data))
		e.Line = max(at.Position.Line, 1+bytes.Count(data[:offset], []byte("\n")))
		e.Line = min(e.Line, 1+bytes.Count(data, []byte("\n")))
		e.Msg = at.Message
	}
	e.Msg = "not TOML: " + strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, e.Msg)
	return e
}
