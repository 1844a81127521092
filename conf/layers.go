package conf

import (
	"maps"
	"slices"
	"strings"
)

// Checks and health come in layers: what a table does not say is as in the one it starts
// from, key by key. A value keeps the path where it is written, so a mistake is told there.

// rawCheck is one [[check]].
type rawCheck struct {
	At   string
	Keys openTable
}

// name is what a check calls itself, "" if nothing.
func (r *rawCheck) name() string {
	s, _ := r.Keys["name"].v.(string)
	return s
}

// checks reads a list of tables, or one table for a list of one.
func (p *problems) checks(path string, v any) (all []rawCheck) {
	list, several := elements(v)
	if !several {
		list = []any{v}
	}
	for i, e := range list {
		path := at(path, i)
		all = append(all, rawCheck{path, p.open(value{path, e, true})})
	}
	return all
}

// open gives the keys of a table, which may be laid over another already; nil for none.
func (p *problems) open(v value) openTable {
	if !v.written {
		return nil
	}
	if t, ok := v.v.(openTable); ok {
		return t
	}
	table, ok := p.table(v.path, v.v)
	if !ok {
		return nil
	}
	t := make(openTable, len(table))
	for key, e := range table {
		t[key] = value{join(v.path, key), e, true}
	}
	return t
}

// get is the value of a key in the table at path.
func (t openTable) get(path, key string) value {
	if v, ok := t[key]; ok {
		return v
	}
	return value{path: join(path, key)}
}

// over lays t over base.
func (p *problems) over(t, base openTable) openTable {
	all := maps.Clone(base)
	if all == nil {
		all = openTable{}
	}
	for key, v := range t {
		if below, both := base[key]; both && isTable(v.v) && isTable(below.v) {
			v.v = p.over(p.open(v), p.open(below))
		}
		all[key] = v
	}
	return all
}

func isTable(v any) bool {
	switch v.(type) {
	case map[string]any, openTable:
		return true
	}
	return false
}

// toldIn settles below path what was wrong already in the table of defaults, which has
// these keys.
func (p *problems) toldIn(defaults, path string, keys []string) {
	for seen := range maps.Clone(p.seen) {
		key, below := strings.CutPrefix(seen, defaults+".")
		if first, _, _ := strings.Cut(key, "."); below && slices.Contains(keys, first) {
			p.settle(path + "." + key)
		}
	}
}

// known refuses the keys that a table does not have.
func (p *problems) known(t openTable, keys []string) {
	for key, v := range t {
		if !slices.Contains(keys, key) {
			p.add(v.path, "is not a key of this table; %s", suggest(key, keys))
		}
	}
}
