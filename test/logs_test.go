package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logLevels are the methods of slog.Logger that log, by the level's word in docs/logs.md.
var logLevels = map[string]string{"Debug": "debug", "Info": "info", "Warn": "warn", "Error": "error"}

// logCalls are the lines of docs/logs.md that the sources of a folder ask for, each with
// where it is.
func logCalls(t *testing.T, root string) map[string]string {
	t.Helper()
	calls := map[string]string{}
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || logLevels[sel.Sel.Name] == "" || !isLogger(sel.X) {
				return true
			}
			at := set.Position(call.Pos()).String()
			words := []string{constant(call.Args[0])}
			var keys []string
			for i := 1; i < len(call.Args); i += 2 {
				keys = append(keys, constant(call.Args[i]))
			}
			if words[0] == "" || slices.Contains(keys, "") || len(call.Args)%2 == 0 {
				t.Errorf("%s: message and keys of a log call are constants, each key with a value", at)
				return true
			}
			calls[line(logLevels[sel.Sel.Name], words[0], strings.Join(keys, ", "))] = at
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

func line(level, message, keys string) string {
	return fmt.Sprintf("| %s | %s | %s |", level, message, keys)
}

// isLogger reports whether an expression is a logger: log, x.log, opt.Log, slog.
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "log" || e.Name == "slog"
	case *ast.SelectorExpr:
		return e.Sel.Name == "log" || e.Sel.Name == "Log"
	}
	return false
}

func constant(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		s, _ := strconv.Unquote(lit.Value)
		return s
	}
	return ""
}

// docs/logs.md has every message with its keys, and no other; and says what each key means.
func TestLogsAreDocumented(t *testing.T) {
	calls := logCalls(t, "../control")
	for _, folder := range []string{"../cmd", "../health"} {
		maps.Copy(calls, logCalls(t, folder))
	}
	if len(calls) < 15 {
		t.Errorf("only %d log calls seen", len(calls))
	}
	doc, err := os.ReadFile("../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	used, explained := map[string]bool{}, map[string]bool{}
	for text := range strings.Lines(string(doc)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(text), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case strings.HasPrefix(text, "|---") || cells[0] == "level" || cells[0] == "key" && cells[1] == "meaning":
		case len(cells) == 4:
			l := line(cells[0], cells[1], cells[2])
			if calls[l] == "" {
				t.Errorf("docs/logs.md has a line that nobody logs so: %s", l)
			}
			delete(calls, l)
			for _, k := range strings.Split(cells[2], ", ") {
				used[k] = true
			}
		case len(cells) == 2:
			explained[cells[0]] = true
			if !used[cells[0]] {
				t.Errorf("docs/logs.md explains %q, which no message has", cells[0])
			}
		}
	}
	for l, at := range calls {
		t.Errorf("%s: not in docs/logs.md: %s", at, l)
	}
	for k := range used {
		if k != "" && !explained[k] {
			t.Errorf("docs/logs.md does not say what %q means", k)
		}
	}
}
