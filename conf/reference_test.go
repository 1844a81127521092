package conf

import (
	"reflect"
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
	if cfg.Sysctl != def.Sysctl {
		t.Errorf("[sysctl] shows %+v, defaults are %+v", cfg.Sysctl, def.Sysctl)
	}
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
			if key == "" || key == "check" { // check is known only to be refused
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
	if keys < 60 {
		t.Errorf("walked over only %d keys; the language has more", keys)
	}
}
