package ipvsadm

import (
	"bufio"
	"io"
	"iter"
	"strings"
)

// maxLine bounds one restore line, in bytes. A rule needs about 200.
const maxLine = 1 << 20

// Restore reads what "ipvsadm -R" reads: one command a line, its words separated by
// blanks, without quotes or comments; the word "ipvsadm" is dropped wherever it stands, and a
// line without words is passed over. Each line gives a command or an error. The
// sequence is over after an error whose Ends is set and after -h or -v, for which ipvsadm
// exits; what is left in r is then not read. A failure of r itself ends it too, with
// an *Error that carries its text.
func Restore(r io.Reader, env Env) iter.Seq2[*Command, error] {
	env.Restoring = true
	return func(yield func(*Command, error) bool) {
		lines(r, false, func(line string) bool { return restoreLine(line, env, yield) }, yield)
	}
}

// RestoreScript reads what ipvsadm-restore(8) reads: lines whose first character is '#'
// are left out, and the first command is an OpFlush.
func RestoreScript(r io.Reader, env Env) iter.Seq2[*Command, error] {
	env.Restoring = true
	return func(yield func(*Command, error) bool) {
		if !yield(&Command{Op: OpFlush}, nil) {
			return
		}
		lines(r, true, func(line string) bool { return restoreLine(line, env, yield) }, yield)
	}
}

// lines gives each line of r to each until it answers false.
func lines(r io.Reader, comments bool, each func(string) bool, yield func(*Command, error) bool) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		if comments && strings.HasPrefix(s.Text(), "#") {
			continue
		}
		if !each(s.Text()) {
			return
		}
	}
	if err := s.Err(); err != nil {
		yield(nil, bad("restore: %v", err))
	}
}

// restoreLine parses one line and reports whether to go on.
func restoreLine(line string, env Env, yield func(*Command, error) bool) bool {
	argv := make([]string, 0, 16)
	for word := range strings.FieldsFuncSeq(line, isBlank) {
		if word != "ipvsadm" {
			argv = append(argv, word)
		}
	}
	if len(argv) == 0 {
		return true
	}
	cmd, err := Parse(argv, env)
	if !yield(cmd, err) {
		return false
	}
	if e, ok := err.(*Error); ok {
		return !e.Ends
	}
	return cmd.Op != OpHelp && cmd.Op != OpVersion
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' || r == '\r' }
