package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// terminal is what top shows itself on. Sequences are those of ECMA-48 and xterm's
// alternate screen, which terminals of today have in common.
type terminal struct {
	in, out *os.File
	was     unix.Termios
}

// openTerminal reports whether both files are terminals.
func openTerminal(in, out *os.File) (*terminal, bool) {
	if _, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS); err != nil {
		return nil, false
	}
	was, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil {
		return nil, false
	}
	return &terminal{in: in, out: out, was: *was}, true
}

// enter begins a screen of its own, on which keys come at once and are not echoed.
// Ctrl-C stays a signal; Ctrl-Z does not, as a stopped program could not give the screen
// back.
func (t *terminal) enter() error {
	raw := t.was
	raw.Lflag &^= unix.ICANON | unix.ECHO
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME], raw.Cc[unix.VSUSP] = 1, 0, 0
	if err := unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETS, &raw); err != nil {
		return err
	}
	_, err := t.out.WriteString("\x1b[?1049h\x1b[?25l")
	return err
}

// leave makes the terminal what it was.
func (t *terminal) leave() error {
	_, err := t.out.WriteString("\x1b[?25h\x1b[?1049l")
	if e := unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETS, &t.was); err == nil {
		err = e
	}
	return err
}

// size is columns and lines; 80 and 24 if the terminal does not say.
func (t *terminal) size() (w, h int) {
	s, err := unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || s.Col == 0 || s.Row == 0 {
		return 80, 24
	}
	return int(s.Col), int(s.Row)
}

// draw shows lines from the top, in one write. A line that fills its row leaves the
// cursor there, so what is erased is erased before.
func (t *terminal) draw(lines []string) error {
	var b strings.Builder
	for i, l := range lines {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[K%s", i+1, l)
	}
	_, err := t.out.WriteString(b.String())
	return err
}

// read gives the keys one by one, an escape sequence as one, and closes keys when the
// terminal is gone.
func (t *terminal) read(ctx context.Context, keys chan<- string) {
	defer close(keys)
	buf := make([]byte, 64)
	for {
		n, err := t.in.Read(buf)
		if err != nil || n == 0 {
			return
		}
		for _, k := range splitKeys(string(buf[:n])) {
			select {
			case keys <- k:
			case <-ctx.Done():
				return
			}
		}
	}
}

// splitKeys parts what came in one read. What begins with ESC came from one key: people
// are slower.
func splitKeys(s string) (keys []string) {
	for s != "" {
		n := len(s)
		if s[0] != '\x1b' {
			_, n = utf8.DecodeRuneInString(s)
		} else if len(s) > 2 && s[1] == '[' {
			n = 3
		}
		keys, s = append(keys, s[:n]), s[n:]
	}
	return keys
}
