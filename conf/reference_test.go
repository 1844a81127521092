package conf

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// The reference is a valid file without warnings, and what it shows as defaults are
// the defaults.
func TestReferenceIsValid(t *testing.T) {
	cfg, warnings, err := Check("reference.toml", []byte(Reference()))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("warning: %v", w)
	}
	def := Default()
	if cfg.Director != def.Director {
		t.Errorf("[director] shows %+v, defaults are %+v", cfg.Director, def.Director)
	}
	if cfg.Metrics != def.Metrics || cfg.API != def.API {
		t.Errorf("[metrics] and [api] show %+v, %+v; both are off by default", cfg.Metrics, cfg.API)
	}
	if cfg.Conntrack != def.Conntrack {
		t.Errorf("[conntrack] shows %+v, defaults are %+v", cfg.Conntrack, def.Conntrack)
	}
	// What [check] and [health] show changes nothing.
	shown, built := policyOf(t, "[check]\n"+between(t, "\n[check]\n", "\n[health.notify]")), policyOf(t, "")
	if !shown.Equal(built) {
		t.Errorf("[check] and [health] show %+v, defaults are %+v", shown, built)
	}
	if cfg.Sysctl != def.Sysctl {
		t.Errorf("[sysctl] shows %+v, defaults are %+v", cfg.Sysctl, def.Sysctl)
	}
}

// between is the reference between two texts.
func between(t *testing.T, from, to string) string {
	_, rest, ok := strings.Cut(Reference(), from)
	text, _, found := strings.Cut(rest, to)
	if !ok || !found {
		t.Fatalf("no %q to %q", from, to)
	}
	return text
}

// policyOf is what a file's defaults make of a service's health.
func policyOf(t *testing.T, defaults string) *Health {
	return parse(t, defaults+"\n[[service]]\nfwmark = 1\ncheck = { type = \"http\" }\n").Services[0].Health
}

// Every key that raw.go knows stands in the reference, so none is undocumented.
func TestReferenceHasEveryKey(t *testing.T) {
	var tree map[string]any
	if _, err := toml.Decode(Reference(), &tree); err != nil {
		t.Fatal(err)
	}
	keys := 0
	var walk func(typ reflect.Type, path string, tables []map[string]any)
	walk = func(typ reflect.Type, path string, tables []map[string]any) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			key := field.Tag.Get("toml")
			if key == "" {
				continue
			}
			keys++
			var below []map[string]any
			found := false
			for _, table := range tables {
				v, ok := table[key]
				found = found || ok
				if m, ok := v.(map[string]any); ok {
					below = append(below, m)
				} else if all, ok := elements(v); ok {
					for _, e := range all {
						if m, ok := e.(map[string]any); ok {
							below = append(below, m)
						}
					}
				}
			}
			if !found {
				t.Errorf("%s is not in the reference", join(path, key))
			}
			ft := field.Type
			for ft.Kind() == reflect.Slice || ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct && ft != reflect.TypeFor[value]() {
				walk(ft, join(path, key), below)
			}
		}
	}
	walk(reflect.TypeFor[rawConfig](), "", []map[string]any{tree})
	for _, name := range acting() {
		if _, ok := tree["sysctl"].(map[string]any)[name]; !ok {
			t.Errorf("sysctl.%s is not in the reference", name)
		}
	}
	for _, key := range policyKeys {
		if table := tree["check"].(map[string]any); table[key] == nil && key != "window" { // which excludes fall
			t.Errorf("check.%s is not in the reference", key)
		}
	}
	for _, key := range healthDefaultKeys {
		if tree["health"].(map[string]any)[key] == nil {
			t.Errorf("health.%s is not in the reference", key)
		}
	}
	for _, inner := range []struct {
		key  string
		keys []string
	}{{"flap", flapKeys}, {"passive", passiveKeys}, {"notify", notifyKeys}} {
		for _, key := range inner.keys {
			if tree["health"].(map[string]any)[inner.key].(map[string]any)[key] == nil {
				t.Errorf("health.%s.%s is not in the reference", inner.key, key)
			}
		}
	}
	if keys < 60 {
		t.Errorf("walked over only %d keys; the language has more", keys)
	}
}

// Every type of check stands in the reference with every key that it alone has, and some
// check has each of the others.
func TestReferenceHasEveryCheck(t *testing.T) {
	var tree struct{ Service []map[string]any }
	if _, err := toml.Decode(Reference(), &tree); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	of := map[string]map[string]bool{}
	note := func(v any) {
		all, ok := elements(v)
		if !ok && v != nil {
			all = []any{v}
		}
		for _, c := range all {
			c := c.(map[string]any)
			typ, _ := c["type"].(string)
			if of[typ] == nil {
				of[typ] = map[string]bool{}
			}
			for key, v := range c {
				seen[key], of[typ][key] = true, true
				if key == "tls" {
					for key := range v.(map[string]any) {
						seen["tls."+key] = true
					}
				}
			}
		}
	}
	for _, s := range tree.Service {
		note(s["check"])
		if h, ok := s["health"].(map[string]any); ok {
			for key := range h {
				seen["health."+key] = true
			}
		}
	}
	for _, typ := range probeTypes {
		if of[string(typ)] == nil {
			t.Errorf("no check of type %s", typ)
		}
		for _, key := range typ.keys() {
			if len(havingKey(key)) == 1 && !of[string(typ)][key] {
				t.Errorf("%s of type %s is not in the reference", key, typ)
			}
			if !seen[key] && !slices.Contains(policyKeys, key) {
				t.Errorf("%s is not in the reference", key)
			}
		}
	}
	for _, key := range tlsKeys {
		if !seen["tls."+key] {
			t.Errorf("tls.%s is not in the reference", key)
		}
	}
	for _, key := range []string{"quorum", "hysteresis", "sorry_server"} {
		if !seen["health."+key] {
			t.Errorf("health.%s is not in the reference", key)
		}
	}
}
