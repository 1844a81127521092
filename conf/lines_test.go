package conf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// One document with every way TOML spreads a value over lines, and the line, counted
// by eye, at which each thing begins.
func TestLineIndex(t *testing.T) {
	document := strings.Join([]string{
		/* 1 */ "\xef\xbb\xbftop = 1 # = [not.a.table]",
		/* 2 */ `[a."b.c"]`,
		/* 3 */ `x.y = { p = 1, "q r" = [1, 2], s = { u = 3 } }`,
		/* 4 */ `text = """`,
		/* 5 */ `[[not]] = "a""b`,
		/* 6 */ `z = 1 \"""`,
		/* 7 */ `""""" # five: two of the text and three that end it`,
		/* 8 */ `raw = '''`,
		/* 9 */ `k = 'x' \'''`,
		/* 10 */ `one = '\' # the backslash does not escape`,
		/* 11 */ "list = [\r",
		/* 12 */ `  "a", # ], "`,
		/* 13 */ ``,
		/* 14 */ `  ["b", "c]",`,
		/* 15 */ `   "d"],`,
		/* 16 */ `  { e = 1 }, { e = 2,`,
		/* 17 */ `  } ]`,
		/* 18 */ `[[t]]`,
		/* 19 */ `k = 1`,
		/* 20 */ `[[ t . u ]]`,
		/* 21 */ `k = 1979-05-27 07:32:00`,
		/* 22 */ `[[t.u]]`,
		/* 23 */ `'k' = ""`,
		/* 24 */ `[t.u.v]`,
		/* 25 */ `k = "\\"`,
		/* 26 */ `[[t]]`,
		/* 27 */ `[t.w]`,
		/* 28 */ `k=1`,
		/* 29 */ `q = ["""x""""", # text and end again, now before a comma`,
		/* 30 */ `2]`,
	}, "\n")
	got, deep := indexLines([]byte(document))
	if deep != 0 {
		t.Errorf("too deep at line %d", deep)
	}
	want := lineIndex{
		"top": 1, "a": 2, `a."b.c"`: 2, `a."b.c".x`: 3, `a."b.c".x.y`: 3, `a."b.c".x.y.p`: 3, `a."b.c".x.y."q r"`: 3,
		`a."b.c".x.y."q r"[0]`: 3, `a."b.c".x.y."q r"[1]`: 3, `a."b.c".x.y.s`: 3, `a."b.c".x.y.s.u`: 3,
		`a."b.c".text`: 4, `a."b.c".raw`: 8, `a."b.c".one`: 10, `a."b.c".list`: 11, `a."b.c".list[0]`: 12,
		`a."b.c".list[1]`: 14, `a."b.c".list[1][0]`: 14, `a."b.c".list[1][1]`: 14, `a."b.c".list[1][2]`: 15,
		`a."b.c".list[2]`: 16, `a."b.c".list[2].e`: 16, `a."b.c".list[3]`: 16, `a."b.c".list[3].e`: 16,
		"t": 18, "t[0]": 18, "t[0].k": 19, "t[0].u": 20, "t[0].u[0]": 20, "t[0].u[0].k": 21, "t[0].u[1]": 22, "t[0].u[1].k": 23,
		"t[0].u[1].v": 24, "t[0].u[1].v.k": 25, "t[1]": 26, "t[1].w": 27, "t[1].w.k": 28, "t[1].w.q": 29, "t[1].w.q[0]": 29, "t[1].w.q[1]": 30,
	}
	for path, line := range want {
		if got[path] != line {
			t.Errorf("%s is at line %d, want %d", path, got[path], line)
		}
	}
	for path, line := range got {
		if want[path] == 0 {
			t.Errorf("%s at line %d is not in the document", path, line)
		}
	}
	for path, line := range map[string]int{
		"t[1].w.missing": 27, "t[1].missing": 26, "t[0].u[7].x": 20, `a."b.c".missing[3]`: 2, "missing": 0, `"no.t".x`: 0,
	} {
		if n := got.of(path); n != line {
			t.Errorf("the line for %s is %d, want %d", path, n, line)
		}
	}
}

// checkLines holds the index against the decoder: every key the decoder found has a
// line, and that line has the key's text.
func checkLines(t *testing.T, data []byte) {
	t.Helper()
	lines, deep := indexLines(data)
	if deep > 0 || bytes.ContainsRune(data, '\\') {
		return // refused, or with keys that have another text
	}
	var tree map[string]any
	if _, err := toml.Decode(string(data), &tree); err != nil {
		return
	}
	text := bytes.Split(data, []byte("\n"))
	var walk func(path, key string, v any)
	walk = func(path, key string, v any) {
		n, ok := lines[path]
		if !ok || n < 1 || n > len(text) {
			t.Errorf("%q has line %d (%v) in:\n%s", path, n, ok, data)
		} else if !bytes.Contains(text[n-1], []byte(key)) {
			t.Errorf("%q is not at line %d, which is %q", path, n, text[n-1])
		}
		if table, ok := v.(map[string]any); ok {
			for key, v := range table {
				walk(join(path, key), key, v)
			}
		}
		if all, ok := elements(v); ok {
			for i, v := range all {
				walk(at(path, i), "", v)
			}
		}
	}
	for key, v := range tree {
		walk(join("", key), key, v)
	}
}

func TestLinesOfExamples(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.toml")
	for _, file := range append(files, "reference.toml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		checkLines(t, data)
	}
}

// What lies too deep is refused before it costs time or the stack.
func TestDepthIsBounded(t *testing.T) {
	for name, text := range map[string]string{
		"lists":      "\na = " + strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6),
		"tables":     "\na = " + strings.Repeat("{a = ", 1e6) + "1" + strings.Repeat("}", 1e6),
		"dotted key": "\n" + strings.Repeat("a.", 1e6) + "a = 1",
		"header":     "\n[" + strings.Repeat("a.", 1e6) + "a]",
	} {
		_, err := Parse("f", []byte(text))
		if want := "f:2: tables and lists lie more than 32 deep in each other"; fmt.Sprint(err) != want {
			t.Errorf("%s: %.80v, want %s", name, err, want)
		}
	}
	// 32 deep is not too deep: the mistake is another.
	if _, err := Parse("f", []byte("a = "+strings.Repeat("[", 31)+"1"+strings.Repeat("]", 31))); !strings.Contains(err.Error(), "is not a key") {
		t.Errorf("got %v", err)
	}
}

// Labels put names beside indexes and leave the rest of a path alone.
func TestLabel(t *testing.T) {
	names := map[string]string{"service[2]": `"web"`, "service[2].server[0]": `"a.b[1]"`}
	for path, want := range map[string]string{
		"service[2].server[0].weight": `service[2] "web".server[0] "a.b[1]".weight`,
		"service[2].flags[1]":         `service[2] "web".flags[1]`,
		"service[1].flags":            "service[1].flags",
		"service[2]":                  `service[2] "web"`,
		"director.name":               "director.name",
		`sysctl."x.y"`:                `sysctl."x.y"`,
		"":                            "",
	} {
		if got := label(path, names); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// Near misses are suggested, others get the list.
func TestSuggestions(t *testing.T) {
	known := []string{"scheduler", "server", "listen", "mac", "mtu"}
	for word, want := range map[string]string{
		"schedular": `did you mean "scheduler"?`,
		"shceduler": `did you mean "scheduler"?`,
		"Server":    `did you mean "server"?`,
		"servers":   `did you mean "server"?`,
		"listne":    `did you mean "listen"?`,
		"mtus":      `did you mean "mtu"?`,
		"upstream":  "one of scheduler, server, listen, mac, mtu",
		"":          "one of scheduler, server, listen, mac, mtu",
	} {
		if got := suggest(word, known); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"abc", "abc", 0}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"abcd", "acbd", 1}, {"flaw", "lawn", 2}} {
		if got := editDistance(row.a, row.b); got != row.want {
			t.Errorf("%q to %q: %d, want %d", row.a, row.b, got, row.want)
		}
	}
}

// Every raw field is of a kind that fill knows, or fill would pass over it silently.
func TestRawFieldsCanBeFilled(t *testing.T) {
	var walk func(typ reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			switch {
			case f.Name == "At" && f.Type.Kind() == reflect.String && f.Tag == "":
			case f.Tag.Get("toml") == "":
				t.Errorf("%v.%s has no key", typ, f.Name)
			case f.Type == reflect.TypeFor[value]() || f.Type == reflect.TypeFor[openTable](), f.Type == reflect.TypeFor[[]rawCheck]():
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type)
			case (f.Type.Kind() == reflect.Slice || f.Type.Kind() == reflect.Pointer) && f.Type.Elem().Kind() == reflect.Struct:
				walk(f.Type.Elem())
			default:
				t.Errorf("%v.%s is of type %v", typ, f.Name, f.Type)
			}
		}
	}
	walk(reflect.TypeFor[rawConfig]())
}
