package ipvsadm

import (
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strings"
)

// Stdio are the streams of the program.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run is the whole of ipvsadm(8): it carries out the command line argv, whose first word is
// the program's own name, and returns the exit code. Under the names ipvsadm-save and
// ipvsadm-restore it is those programs. env.Program is taken from argv. The director is
// asked only when a command line makes sense, so help and mistakes need none.
func Run(argv []string, std Stdio, env Env, director Backend) (exit int) {
	var words []string
	if len(argv) > 0 {
		env.Program, words = argv[0], argv[1:]
	}
	r := runner{Stdio: std, env: env, director: director}
	switch filepath.Base(env.Program) {
	case "ipvsadm-save":
		return r.saveScript(words)
	case "ipvsadm-restore":
		return r.restoreScript(words)
	}
	cmd, err := Parse(words, env)
	switch {
	case err != nil:
		r.fail(err.(*Error))
	case cmd.Op == OpRestore:
		r.restore(Restore(std.In, env))
	default:
		r.do(cmd)
	}
	return r.exit
}

// maxBatch bounds the commands of a restore that are given to the director together.
const maxBatch = 1 << 17

// runner is one run of the program.
type runner struct {
	Stdio
	env      Env
	director Backend
	exit     int  // as of the last command
	ended    bool // a mistake ended the run
}

// fail says what went wrong. The newline that Text may end with is ipvsadm's own.
func (r *runner) fail(e *Error) {
	fmt.Fprintln(r.Err, e.Text) // there is nowhere to tell that it failed
	r.exit, r.ended = e.ExitCode, e.Ends
}

// do carries out one command that is no restore.
func (r *runner) do(cmd *Command) {
	var err *Error
	r.exit = 0
	switch cmd.Op {
	case OpHelp:
		err = written(WriteUsage(r.Out, r.env.program()))
	case OpVersion:
		err = written(WriteVersion(r.Out))
	case OpList:
		err = r.list(cmd)
	case OpSave:
		err = r.save(cmd)
	default:
		r.change(func(yield func(*Command) bool) { yield(cmd) })
	}
	if err != nil {
		r.fail(err)
	}
}

// change has commands carried out and tells each refusal.
func (r *runner) change(commands iter.Seq[*Command]) {
	var ops []Op
	errs, err := r.director.Change(func(yield func(*Command) bool) {
		for cmd := range commands {
			if ops = append(ops, cmd.Op); !yield(cmd) {
				return
			}
		}
	})
	if err != nil {
		r.fail(refusalOf(append(ops, OpRestore)[0], err))
		r.ended = true
		return
	}
	for i, op := range ops {
		r.exit = 0
		if i < len(errs) && errs[i] != nil {
			r.fail(refusalOf(op, errs[i]))
		}
		if r.ended {
			return
		}
	}
}

// restore carries out lines as if one by one: what reads, prints or ends the run comes
// after all changes before it.
func (r *runner) restore(lines iter.Seq2[*Command, error]) {
	next, stop := iter.Pull2(lines)
	defer stop()
	for cmd, err, more := next(); more && !r.ended; {
		if err == nil && changes(cmd.Op) {
			cmd, err, more = r.batch(cmd, next)
			continue
		}
		if err != nil {
			r.fail(err.(*Error))
		} else {
			r.do(cmd)
		}
		if !r.ended {
			cmd, err, more = next()
		}
	}
}

// batch gives cmd to the director and the changes that follow it, while they are read. It
// returns what came after them.
func (r *runner) batch(cmd *Command, next func() (*Command, error, bool)) (after *Command, err error, more bool) {
	after, more = cmd, true
	r.change(func(yield func(*Command) bool) {
		for n := 0; n < maxBatch && more && err == nil && changes(after.Op) && yield(after); n++ {
			after, err, more = next()
		}
	})
	return after, err, more
}

// changes says which commands of a restore are of a batch.
func changes(op Op) bool {
	switch op {
	case OpList, OpSave, OpHelp, OpVersion:
		return false
	}
	return true
}

// saveScript is ipvsadm-save(8).
func (r *runner) saveScript(words []string) int {
	cmd := &Command{Op: OpSave}
	for _, w := range dashed(words) {
		if strings.Trim(w[1:], "n") != "" {
			return r.scriptHelp("[-n] > FILE", "write the rules of the director; -n: addresses and ports as numbers")
		}
		cmd.List.Numeric = true
	}
	r.do(cmd)
	return r.exit
}

// restoreScript is ipvsadm-restore(8).
func (r *runner) restoreScript(words []string) int {
	if len(dashed(words)) > 0 {
		return r.scriptHelp("< FILE", "replace the rules of the director by those of ipvsadm-save")
	}
	r.env.Program = strings.TrimSuffix(r.env.Program, "-restore") // whose -R it runs
	r.restore(RestoreScript(r.In, r.env))
	return r.exit
}

// dashed are the leading words that are options, as getopts of a shell sees them.
func dashed(words []string) (options []string) {
	for _, w := range words {
		if len(w) < 2 || w[0] != '-' || w == "--" {
			break
		}
		options = append(options, w)
	}
	return options
}

func (r *runner) scriptHelp(synopsis, purpose string) int {
	fmt.Fprintf(r.Err, "Usage: %s %s\n  %s\n", r.env.program(), synopsis, purpose)
	return ExitList
}

// written words a failure of standard output.
func written(err error) *Error {
	if err == nil {
		return nil
	}
	return &Error{Text: "write: " + err.Error(), ExitCode: ExitList, Ends: true}
}
