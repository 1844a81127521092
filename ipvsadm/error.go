package ipvsadm

import "fmt"

// Exit codes of ipvsadm.
const (
	ExitList    = 1   // a listing could not be read
	ExitSyntax  = 2   // a command line that makes no sense
	ExitRefused = 255 // refused by the director, an unknown option, the usage hint
)

// Error is a refusal as ipvsadm words it. Text goes to stderr, followed by a newline.
type Error struct {
	Text     string
	ExitCode int
	Hint     bool // Text is the hint to ask for help
	// Ends says that a restore run stops here, as ipvsadm exits at once for it. An
	// unknown option and a refusal of the director do not end the run.
	Ends bool
}

func (e *Error) Error() string { return e.Text }

// bad is a mistake found in the words themselves.
func bad(format string, args ...any) *Error {
	return &Error{Text: fmt.Sprintf(format, args...), ExitCode: ExitSyntax, Ends: true}
}

// hint is the answer to a command line that does not begin with a command.
func hint(program string) *Error {
	return &Error{
		Text:     fmt.Sprintf("Try `%s -h' or '%s --help' for more information.", program, program),
		ExitCode: ExitRefused,
		Hint:     true,
		Ends:     true,
	}
}
