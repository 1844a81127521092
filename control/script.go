package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Command is one line of a replay's script: what an operator typed, and when.
type Command struct {
	At    time.Duration // since the capture's first frame; negative: before it
	Line  int           // in the script, from 1
	Words []string      // the program first: "ipvsadm" or "sysctl"
	Text  string        // as written, without the time
}

// maxCommandLine bounds a line of a script, in bytes.
const maxCommandLine = 1 << 16

// ParseCommands reads a script, one command a line after its time:
//
//	12.5 ipvsadm -e -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 0
//	13   sysctl -w net.ipv4.vs.expire_nodest_conn=1
//
// Times are decimal seconds since the first frame and never go back. Empty lines and
// those that begin with # are passed over. What is wrong with the form is an error that
// names name and line, all such lines at once; whether a command can be obeyed shows when
// it is its turn.
func ParseCommands(name string, r io.Reader) (list []Command, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxCommandLine)
	line := 0
	for in.Scan() {
		line++
		text := strings.TrimSpace(in.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		c, cerr := parseCommand(text)
		c.Line = line
		if n := len(list); cerr == nil && n > 0 && c.At < list[n-1].At {
			cerr = fmt.Errorf("%v is before line %d; write the commands in the order of their times", c.At, list[n-1].Line)
		}
		if cerr != nil {
			err = errors.Join(err, fmt.Errorf("%s:%d: %w", name, line, cerr))
			continue
		}
		list = append(list, c)
	}
	if in.Err() != nil {
		err = errors.Join(err, fmt.Errorf("%s:%d: %w", name, line+1, in.Err()))
	}
	return list, err
}

func parseCommand(text string) (c Command, err error) {
	word, rest, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	if c.At, err = parseSeconds(word); err != nil {
		return c, err
	}
	c.Text = strings.TrimSpace(rest)
	if c.Words, err = words(c.Text); err != nil {
		return c, err
	}
	if len(c.Words) == 0 {
		return c, errors.New("a time without a command; write ipvsadm or sysctl behind it")
	}
	if p := c.Words[0]; p != "ipvsadm" && p != "sysctl" {
		return c, fmt.Errorf("%q is not a command of a replay; write ipvsadm or sysctl", p)
	}
	return c, nil
}

// parseSeconds reads decimal seconds, exactly.
func parseSeconds(word string) (time.Duration, error) {
	d, err := time.ParseDuration(word + "s")
	if err != nil || strings.Trim(word, "+-.0123456789") != "" {
		return 0, fmt.Errorf("%q is not a time; begin the line with seconds since the first frame, like 12.5", word)
	}
	return d, nil
}

// words splits a command as a shell does, as far as quotes go: ' and " keep blanks, and
// nothing is substituted.
func words(text string) (list []string, err error) {
	var word strings.Builder
	open, quoted := false, rune(0)
	for _, c := range text {
		switch {
		case quoted != 0 && c == quoted:
			quoted = 0
		case quoted != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quoted, open = c, true
		case c == ' ':
			if open {
				list = append(list, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(c)
			open = true
		}
	}
	if quoted != 0 {
		return nil, fmt.Errorf("the quote %c is not closed", quoted)
	}
	if open {
		list = append(list, word.String())
	}
	return list, nil
}
