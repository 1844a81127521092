package kernel

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// program is something a line may run. args has the name in front.
type program func(sh *shell, args []string, io stdio) (rc int, err error)

// builtin finds a program; nil for one that is not replayed.
func builtin(name string) program {
	switch name {
	case "ipvsadm", "ipvsadm-save", "ipvsadm-restore", "/sbin/ipvsadm", "/sbin/ipvsadm-save", "/sbin/ipvsadm-restore":
		return (*shell).ipvsadm
	case "sysctl":
		return (*shell).sysctl
	case "printf":
		return printf
	case "echo":
		return echo
	case "cat":
		return cat
	case "sort":
		return sortLines
	case "grep":
		return grep
	case "wc":
		return wc
	case "diff":
		return diff
	case "head", "tail":
		return ends
	case "ip":
		return ip
	case "sleep":
		return sleep
	case "rm":
		return rm
	case "true", ":":
		return func(*shell, []string, stdio) (int, error) { return 0, nil }
	case "false":
		return func(*shell, []string, stdio) (int, error) { return 1, nil }
	}
	return nil
}

// ipvsadm is the program under test. Like a C program whose output is no terminal it
// writes to standard output when it ends, so messages come before it.
func (sh *shell) ipvsadm(args []string, std stdio) (int, error) {
	sh.unorder = sh.unorder || slices.Contains(args, "--nosort")
	var out bytes.Buffer
	rc := ipvsadm.Run(args, ipvsadm.Stdio{In: bytes.NewReader(std.in), Out: &out, Err: std.err}, machineEnv, (*backend)(sh))
	std.out.Write(out.Bytes())
	return rc, nil
}

// escapes of printf's format.
var escapes = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`, `\r`, "\r", "%%", "%")

func printf(_ *shell, args []string, std stdio) (int, error) {
	if args = args[1:]; len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return 2, fmt.Errorf("no format")
	}
	format, args := args[0], args[1:]
	for {
		var b strings.Builder
		for rest := format; ; {
			text, after, found := strings.Cut(rest, "%")
			b.WriteString(escapes.Replace(text))
			if !found {
				break
			}
			switch {
			case strings.HasPrefix(after, "%"):
				b.WriteByte('%')
			case strings.HasPrefix(after, "s"), strings.HasPrefix(after, "d"), strings.HasPrefix(after, "b"):
				if len(args) > 0 {
					value := args[0]
					if after[0] == 'b' {
						value = escapes.Replace(value)
					}
					b.WriteString(value)
					args = args[1:]
				}
			default:
				return 2, fmt.Errorf("%q is not replayed", format)
			}
			rest = after[1:]
		}
		io.WriteString(std.out, b.String())
		if len(args) == 0 || !strings.Contains(strings.ReplaceAll(format, "%%", ""), "%") {
			return 0, nil
		}
	}
}

// echo is dash's: it knows escapes.
func echo(_ *shell, args []string, std stdio) (int, error) {
	args, end := args[1:], "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, end = args[1:], ""
	}
	io.WriteString(std.out, escapes.Replace(strings.Join(args, " "))+end)
	return 0, nil
}

// inputs gives the contents of the files named, or of standard input. Options are taken
// out before.
func (sh *shell) inputs(program string, names []string, std stdio) (all [][]byte, rc int) {
	if len(names) == 0 {
		return [][]byte{std.in}, 0
	}
	for _, name := range names {
		b, ok := std.in, true
		if name != "-" {
			b, ok = sh.read(name)
		}
		if !ok {
			fmt.Fprintf(std.err, "%s: %s: No such file or directory\n", program, name)
			rc = 1
			continue
		}
		all = append(all, b)
	}
	return all, rc
}

// options divides arguments into the letters of options and the rest.
func options(args []string) (letters string, rest []string) {
	for i, a := range args[1:] {
		if a == "--" {
			return letters, append(rest, args[i+2:]...)
		}
		if len(a) > 1 && a[0] == '-' {
			letters += a[1:]
		} else {
			rest = append(rest, a)
		}
	}
	return letters, rest
}

// known refuses options that are not among those a builtin has.
func known(letters, have string) error {
	if i := strings.IndexFunc(letters, func(r rune) bool { return !strings.ContainsRune(have, r) }); i >= 0 {
		return fmt.Errorf("option %c is not replayed", letters[i])
	}
	return nil
}

func cat(sh *shell, args []string, std stdio) (int, error) {
	letters, names := options(args)
	all, rc := sh.inputs("cat", names, std)
	std.out.Write(bytes.Join(all, nil))
	return rc, known(letters, "")
}

// lines are the lines of the inputs, without their ends.
func lines(inputs [][]byte) (all []string) {
	for _, in := range inputs {
		for l := range strings.Lines(string(in)) {
			all = append(all, strings.TrimSuffix(l, "\n"))
		}
	}
	return all
}

func sortLines(sh *shell, args []string, std stdio) (int, error) {
	letters, names := options(args)
	in, rc := sh.inputs("sort", names, std)
	all := lines(in)
	slices.Sort(all)
	if strings.Contains(letters, "u") {
		all = slices.Compact(all)
	}
	if strings.Contains(letters, "r") {
		slices.Reverse(all)
	}
	for _, l := range all {
		fmt.Fprintln(std.out, l)
	}
	return rc, known(letters, "ur")
}

// basic turns a basic regular expression into Go's: there the signs of an extended one
// are plain characters, unless a backslash is before them.
func basic(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\\' && i+1 < len(pattern):
			i++
			if !strings.ContainsRune("+?|(){}", rune(pattern[i])) {
				b.WriteByte('\\')
			}
			b.WriteByte(pattern[i])
		case strings.ContainsRune("+?|(){}", rune(c)), c == '*' && i == 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func grep(sh *shell, args []string, std stdio) (int, error) {
	if i := slices.Index(args, "-e"); i > 0 && i+1 < len(args) { // what follows is the pattern, whatever it begins with
		args = slices.Concat(args[:i], []string{"--"}, args[i+1:])
	}
	letters, rest := options(args)
	if err := known(letters, "ivcqEFx"); err != nil || len(rest) == 0 {
		return 2, fmt.Errorf("%v: %w", args, err)
	}
	has := func(l string) bool { return strings.Contains(letters, l) }
	pattern := basic(rest[0])
	switch {
	case has("F"):
		pattern = regexp.QuoteMeta(rest[0])
	case has("E"):
		pattern = rest[0]
	}
	if has("x") {
		pattern = "^(?:" + pattern + ")$"
	}
	if has("i") {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return 2, err
	}
	in, _ := sh.inputs("grep", rest[1:], std)
	n := 0
	for _, l := range lines(in) {
		if re.MatchString(l) == has("v") {
			continue
		}
		if n++; !has("c") && !has("q") {
			fmt.Fprintln(std.out, l)
		}
	}
	if has("c") {
		fmt.Fprintln(std.out, n)
	}
	if n == 0 {
		return 1, nil
	}
	return 0, nil
}

// wc counts one thing: lines, words or bytes.
func wc(sh *shell, args []string, std stdio) (int, error) {
	letters, names := options(args)
	if len(letters) != 1 || len(names) > 1 {
		return 2, fmt.Errorf("%v is not replayed", args)
	}
	in, rc := sh.inputs("wc", names, std)
	if rc != 0 {
		return rc, known(letters, "lwc")
	}
	n := map[string]int{"l": bytes.Count(in[0], []byte("\n")), "w": len(bytes.Fields(in[0])), "c": len(in[0])}[letters]
	fmt.Fprintln(std.out, strings.Join(append([]string{strconv.Itoa(n)}, names...), " "))
	return 0, known(letters, "lwc")
}

// ends is head or tail: -N, -n N or -nN; tail -n +N begins with line N.
func ends(sh *shell, args []string, std stdio) (int, error) {
	n, rest, from := 10, args[1:], false
	if len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		word := strings.TrimPrefix(strings.TrimPrefix(rest[0], "-"), "n")
		if rest = rest[1:]; word == "" && len(rest) > 0 {
			word, rest = rest[0], rest[1:]
		}
		from = args[0] == "tail" && strings.HasPrefix(word, "+")
		var err error
		if n, err = strconv.Atoi(word); err != nil || n < 0 {
			return 1, fmt.Errorf("%v is not replayed", args)
		}
	}
	in, rc := sh.inputs(args[0], rest, std)
	all := lines(in)
	switch {
	case from:
		all = all[min(max(n-1, 0), len(all)):]
	case args[0] == "head":
		all = all[:min(n, len(all))]
	default:
		all = all[max(len(all)-n, 0):]
	}
	for _, l := range all {
		fmt.Fprintln(std.out, l)
	}
	return rc, nil
}

// ip is ip route add blackhole|unreachable PREFIX.
func ip(sh *shell, args []string, _ stdio) (int, error) {
	if len(args) != 5 || args[1] != "route" || args[2] != "add" || args[3] != "blackhole" && args[3] != "unreachable" {
		return 1, fmt.Errorf("%v is not replayed", args)
	}
	sh.changed = true
	return 0, sh.d.deadEnd(args[4])
}

// sleep lets the director's time pass.
func sleep(sh *shell, args []string, _ stdio) (int, error) {
	if len(args) != 2 {
		return 1, fmt.Errorf("%v is not replayed", args)
	}
	s, err := strconv.ParseFloat(args[1], 64)
	if err != nil {
		return 1, err
	}
	sh.changed = true
	return 0, sh.d.advance(sh.d.now + time.Duration(s*float64(time.Second)))
}

func rm(sh *shell, args []string, _ stdio) (int, error) {
	letters, names := options(args)
	for _, n := range names {
		delete(sh.files, n)
	}
	return 0, known(letters, "f")
}
