package control

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// patterns are those that the sources of this package register under /v1, sorted.
func patterns(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "HandleFunc" && sel.Sel.Name != "Handle" {
				return true
			}
			lit, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: a pattern that is no literal cannot be compared with openapi.yaml", name)
				return true
			}
			if p, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(p, " /v1/") {
				all = append(all, p)
			}
			return true
		})
	}
	slices.Sort(all)
	return all
}

// openapi.yaml describes every handler, and no other. Each is mounted.
func TestOpenAPIDescribesEveryHandler(t *testing.T) {
	data, err := os.ReadFile("api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var described []string
	for path, item := range doc.Paths {
		for method := range item {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(described)
	registered := patterns(t)
	for _, p := range registered {
		if !slices.Contains(described, p) {
			t.Errorf("%s is not in openapi.yaml", p)
		}
	}
	mux := newInMemory(t).routes()
	for _, p := range described {
		if !slices.Contains(registered, p) {
			t.Errorf("openapi.yaml has %s, which nobody handles", p)
		}
		method, path, _ := strings.Cut(p, " ")
		r, err := http.NewRequest(method, "http://d"+strings.ReplaceAll(path, "{name}", "x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, mounted := mux.Handler(r); mounted != p {
			t.Errorf("%s is answered by %q", p, mounted)
		}
	}
	if len(registered) < 18 {
		t.Errorf("only %d handlers seen", len(registered))
	}
}
