package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// fill puts a decoded table into the raw struct dst, field by field: the key is the
// field's toml tag. A key without a field is a mistake. A field named At gets the
// table's path. It panics only for a raw struct that raw.go may not contain.
func (p *problems) fill(dst reflect.Value, path string, table map[string]any) {
	var known []string
	for i := range dst.NumField() {
		key := dst.Type().Field(i).Tag.Get("toml")
		if key == "" {
			dst.Field(i).SetString(path)
			continue
		}
		known = append(known, key)
		if v, ok := table[key]; ok {
			p.fillField(dst.Field(i), join(path, key), v)
		}
	}
	for key := range table {
		if !slices.Contains(known, key) {
			p.add(join(path, key), "is not a key of this table; %s", suggest(key, known))
		}
	}
}

func (p *problems) fillField(dst reflect.Value, path string, v any) {
	switch dst.Interface().(type) {
	case value:
		dst.Set(reflect.ValueOf(value{path, v, true}))
		return
	case openTable:
		if table, ok := p.table(path, v); ok {
			open := make(openTable, len(table))
			for key, v := range table {
				open[key] = value{join(path, key), v, true}
			}
			dst.Set(reflect.ValueOf(open))
		}
		return
	case []rawCheck:
		dst.Set(reflect.ValueOf(p.checks(path, v)))
		return
	}
	switch dst.Kind() {
	case reflect.Pointer:
		if table, ok := p.table(path, v); ok {
			dst.Set(reflect.New(dst.Type().Elem()))
			p.fill(dst.Elem(), path, table)
		}
	case reflect.Struct:
		if table, ok := p.table(path, v); ok {
			p.fill(dst, path, table)
		}
	case reflect.Slice:
		elements, ok := elements(v)
		if !ok {
			p.addBroken(path, "is %s; write it as a list of tables, each under [[%s]]", kindOf(v), header(path))
			return
		}
		dst.Set(reflect.MakeSlice(dst.Type(), len(elements), len(elements)))
		for i, v := range elements {
			table, _ := p.table(at(path, i), v)
			p.fill(dst.Index(i), at(path, i), table) // of no table: its path only
		}
	}
}

func (p *problems) table(path string, v any) (map[string]any, bool) {
	table, ok := v.(map[string]any)
	if !ok {
		p.addBroken(path, "is %s; write a table", kindOf(v))
	}
	return table, ok
}

// elements gives the elements of an array; the decoder has two types for arrays.
func elements(v any) (all []any, ok bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case []map[string]any:
		for _, table := range v {
			all = append(all, table)
		}
		return all, true
	}
	return nil, false
}

// header is a path as it stands between the brackets of [[header]]: without indexes.
func header(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '[' {
			for i < len(path) && path[i] != ']' {
				i++
			}
			continue
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// kindOf names the TOML type of a decoded value.
func kindOf(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the string %q", v)
	case int64:
		return fmt.Sprintf("the number %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprintf("%v", v)
	case map[string]any, openTable:
		return "a table"
	case []map[string]any, []any:
		return "a list"
	}
	return "a date or time"
}

// suggest says which of the known words was probably meant, or lists them.
func suggest(word string, known []string) string {
	best, distance := "", len(word)/3+2 // a third of the letters may be wrong
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return oneOf(known)
}

// editDistance counts the letters to insert, delete or change to get from a to b
// (Levenshtein), and counts two swapped neighbours as one.
func editDistance(a, b string) int {
	if len(a) > 64 {
		return len(a) // no word of ours is near
	}
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			changed := 1
			if a[i-1] == b[j-1] {
				changed = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+changed)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
