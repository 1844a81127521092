package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// types are the Go types of the schemas.
var types = typesOf(Status{}, Port{}, Queue{}, ServiceStatus{}, ServerStatus{}, Service{}, Server{}, Persistence{}, Tunnel{}, Counts{}, Rates{},
	Connection{}, Info{}, Timeouts{}, Changes{}, Change{}, ChangesReply{}, Refusal{}, ReloadReply{}, Health{}, Neighbor{}, Ports{}, PortStatus{},
	Reasons{}, Reason{}, Sysctls{}, Sysctl{}, SysctlValue{}, Marks{}, Mark{}, RatesReply{}, ServiceRates{}, Problem{},
	TraceLine{}, TraceEnd{}, Journey{}, Packet{}, SentFrame{}, DrainRequest{}, UndrainRequest{}, Drains{}, Drain{},
	ConfigDiff{}, Planned{}, Saved{}, ServiceHealth{}, Sorry{}, ServerHealth{}, WeightHealth{}, CheckHealth{}, ProbeResult{},
	HealthEvents{}, HealthEvent{}, HealthCheckRequest{}, HealthAnswers{}, HealthCounts{})

func typesOf(values ...any) map[string]reflect.Type {
	m := map[string]reflect.Type{}
	for _, v := range values {
		t := reflect.TypeOf(v)
		m[t.Name()] = t
	}
	return m
}

type object = map[string]any

func readOpenAPI(t *testing.T) object {
	t.Helper()
	data, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc object
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// schemaOf is what a Go type looks like on the wire.
func schemaOf(r reflect.Type) object {
	for r.Kind() == reflect.Pointer {
		r = r.Elem()
	}
	text := reflect.TypeFor[encoding.TextMarshaler]()
	switch k := r.Kind(); {
	case r.Implements(text), k == reflect.String:
		return object{"type": "string"}
	case k == reflect.Struct:
		return object{"$ref": "#/components/schemas/" + r.Name()}
	case k == reflect.Slice:
		return object{"type": "array", "items": schemaOf(r.Elem())}
	case k == reflect.Map:
		return object{"type": "object", "additionalProperties": schemaOf(r.Elem())}
	case k == reflect.Bool:
		return object{"type": "boolean"}
	case k == reflect.Float64:
		return object{"type": "number"}
	}
	return object{"type": "integer"}
}

// fields are a struct's properties, those of embedded structs included, and the names of
// those that are always there.
func fields(r reflect.Type) (props object, always []string) {
	props = object{}
	for i := range r.NumField() {
		if f := r.Field(i); f.Anonymous {
			inner, required := fields(f.Type)
			for name, s := range inner {
				props[name] = s
			}
			always = append(always, required...)
		}
	}
	for i := range r.NumField() {
		f := r.Field(i)
		if f.Anonymous {
			continue
		}
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		always = slices.DeleteFunc(always, func(n string) bool { return n == name })
		if props[name] = schemaOf(f.Type); option == "" {
			always = append(always, name)
		}
	}
	return props, always
}

// A schema has the fields of its Go type, with their types, and requires what is always
// written.
func TestSchemasAreTheTypes(t *testing.T) {
	schemas := readOpenAPI(t)["components"].(object)["schemas"].(object)
	for name := range schemas {
		if types[name] == nil {
			t.Errorf("schema %s: the test knows no such type", name)
		}
	}
	for name, r := range types {
		s, ok := schemas[name].(object)
		if !ok {
			t.Errorf("type %s has no schema", name)
			continue
		}
		want, always := fields(r)
		got := s["properties"].(object)
		for p, v := range got {
			delete(v.(object), "enum")
			delete(v.(object), "description")
			if !reflect.DeepEqual(v, want[p]) {
				t.Errorf("%s.%s is %v, in Go %v", name, p, v, want[p])
			}
		}
		for p := range want {
			if got[p] == nil {
				t.Errorf("%s.%s is not described", name, p)
			}
		}
		var required []string
		for _, p := range list(s["required"]) {
			required = append(required, p.(string))
		}
		if r == reflect.TypeFor[Changes]() { // a request may leave it out
			always = slices.DeleteFunc(always, func(n string) bool { return n == "whole" })
		}
		slices.Sort(required)
		slices.Sort(always)
		if !slices.Equal(required, always) {
			t.Errorf("%s requires %v, and what is always written is %v", name, required, always)
		}
	}
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// Every struct of the package that goes over the wire is known to the test above.
func TestAllWireTypesAreDescribed(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok || !slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool { return f.Tag != nil && strings.Contains(f.Tag.Value, "json:") }) {
				return true
			}
			seen++
			if types[spec.Name.Name] == nil {
				t.Errorf("%s: %s goes over the wire and is not in openapi.yaml", name, spec.Name.Name)
			}
			return true
		})
	}
	if seen != len(types) {
		t.Errorf("%d types seen, %d are described", seen, len(types))
	}
}

// Each example is what its Go type reads, strictly, and writes again.
func TestExamplesDecodeAndEncode(t *testing.T) {
	seen := 0
	var walk func(path string, node any)
	walk = func(path string, node any) {
		switch node := node.(type) {
		case []any:
			for i, n := range node {
				walk(fmt.Sprintf("%s[%d]", path, i), n)
			}
		case object:
			if content, ok := node["content"].(object); ok {
				for kind, media := range content {
					if kind != "text/plain" && kind != "application/vnd.tcpdump.pcap" && kind != "application/toml" {
						seen++
						checkExample(t, path, media.(object))
					}
				}
			}
			for k, n := range node {
				walk(path+"."+k, n)
			}
		}
	}
	walk("", readOpenAPI(t))
	if seen < 20 {
		t.Errorf("only %d examples seen", seen)
	}
}

func checkExample(t *testing.T, path string, media object) {
	t.Helper()
	ref, _ := media["schema"].(object)["$ref"].(string)
	r := types[strings.TrimPrefix(ref, "#/components/schemas/")]
	if r == nil || media["example"] == nil {
		t.Errorf("%s: no example, or one of no type: %v", path, media)
		return
	}
	text, err := json.Marshal(media["example"])
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.New(r)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v.Interface()); err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	again, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s:\nthe example  %s\nwritten again %s", path, text, again)
	}
}

// Every reference leads somewhere.
func TestReferencesLeadSomewhere(t *testing.T) {
	doc := readOpenAPI(t)
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, n := range node {
				walk(n)
			}
		case object:
			if ref, ok := node["$ref"].(string); ok {
				at := any(doc)
				for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
					at = at.(object)[step]
				}
				if at == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, n := range node {
				walk(n)
			}
		}
	}
	walk(doc)
}
