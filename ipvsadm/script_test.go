package ipvsadm

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
)

// table is the least a director must be for rules to be listed again.
type table []ServiceEntry

func (t *table) find(k conf.ServiceKey) *ServiceEntry {
	for i := range *t {
		if (*t)[i].Service.Key == k {
			return &(*t)[i]
		}
	}
	return nil
}

func (e *ServiceEntry) find(d conf.Server) *ServerEntry {
	for i := range e.Servers {
		if s := &e.Servers[i].Server; s.Addr == d.Addr && s.Port == d.Port {
			return &e.Servers[i]
		}
	}
	return nil
}

// do carries out a command that the recorded director took, so it cannot be refused.
func (t *table) do(c *Command) {
	switch c.Op {
	case OpAddService:
		*t = append(*t, ServiceEntry{Service: c.Service})
	case OpEditService:
		t.find(c.Key).Service = c.Service
	case OpDeleteService:
		*t = slices.DeleteFunc(*t, func(e ServiceEntry) bool { return e.Service.Key == c.Key })
	case OpAddServer:
		e := t.find(c.Key)
		e.Servers = slices.Insert(e.Servers, 0, ServerEntry{Server: c.Server})
	case OpEditServer:
		t.find(c.Key).find(c.Server).Server = c.Server
	case OpDeleteServer:
		e := t.find(c.Key)
		e.Servers = slices.DeleteFunc(e.Servers, func(s ServerEntry) bool {
			return s.Server.Addr == c.Server.Addr && s.Server.Port == c.Server.Port
		})
	case OpFlush:
		*t = nil
	}
}

// restore carries out a recorded "ipvsadm -R", whose last line went wrong.
func (t *table) restore(tt *testing.T, step recorded, env Env) {
	var last error
	for cmd, err := range Restore(strings.NewReader(step.Stdin), env) {
		if last = err; err == nil {
			t.do(cmd)
		}
	}
	if e, ok := last.(*Error); !ok || e.Text+"\n" != step.Text || e.ExitCode != step.RC {
		tt.Errorf("restore ends with %v; recorded %q, exit %d", last, step.Text, step.RC)
	}
}

// count copies the connection counts of a recorded listing.
func (t *table) count(l listing) {
	for _, from := range l.services {
		to := t.find(from.Service.Key)
		for _, s := range from.Servers {
			if d := to.find(s.Server); d != nil {
				d.ActiveConn, d.InActConn, d.PersistConn = s.ActiveConn, s.InActConn, s.PersistConn
			}
		}
	}
}

// Whole recordings: the rules and commands that the director took are parsed and kept,
// and each listing and each set of saved rules on the way must come out as recorded.
func TestRulesMakeRecordedTables(t *testing.T) {
	b, err := os.ReadFile("testdata/scripts.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	names := testNames(t)
	compared := 0
	for line := range strings.Lines(string(b)) {
		var script struct {
			Name  string
			Steps []recorded
		}
		if err := json.Unmarshal([]byte(line), &script); err != nil {
			t.Fatal(err)
		}
		var tab table
		for _, step := range script.Steps {
			if step.Stdin != "" {
				tab.restore(t, step, Env{Names: names})
				continue
			}
			cmd, err := Parse(strings.Fields(step.Argv), Env{Names: names})
			if step.RC != 0 {
				continue
			}
			if err != nil {
				t.Fatalf("%s: ipvsadm %s: %v", script.Name, step.Argv, err)
			}
			var got string
			switch {
			case cmd.Op == OpSave:
				var s strings.Builder
				if err := NewPrinter(&s, cmd.List, names).Save(slices.Values(tab)); err != nil {
					t.Fatal(err)
				}
				got = s.String()
			case cmd.Op != OpList:
				tab.do(cmd)
				continue
			case cmd.List.NoSort || cmd.List.Timeout || cmd.List.Daemon:
				continue
			default:
				l := reader{names, cmd.List}.listing(step.Text)
				tab.count(l)
				if l.services = slices.Clone(tab); cmd.HasKey {
					l.services = []ServiceEntry{*tab.find(cmd.Key)}
				}
				got = printServices(t, cmd.List, names, l, false)
			}
			if compared++; got != step.Text {
				t.Errorf("%s: ipvsadm %s:\n%s\nrecorded:\n%s", script.Name, step.Argv, visible(got), visible(step.Text))
			}
		}
	}
	if compared < 50 {
		t.Errorf("%d listings compared", compared)
	}
}

// What Save writes, Restore reads back into the same rules, thresholds aside. So
// it is, too, with names.
func TestSavedRulesRestoreTheSame(t *testing.T) {
	names := testNames(t)
	for r := range recordedRules(t, "testdata/listings.jsonl", "-S") {
		var tab table
		for cmd, err := range Restore(strings.NewReader(r), Env{Names: names}) {
			if err != nil {
				t.Fatal(err)
			}
			tab.do(cmd)
		}
		for _, list := range []List{{}, {Numeric: true}} {
			var first, second strings.Builder
			if err := NewPrinter(&first, list, names).Save(slices.Values(tab)); err != nil {
				t.Fatal(err)
			}
			var again table
			for cmd, err := range Restore(strings.NewReader(first.String()), Env{Names: names}) {
				if err != nil {
					t.Fatal(err)
				}
				again.do(cmd)
			}
			if err := NewPrinter(&second, List{Numeric: true}, nil).Save(slices.Values(again)); err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			if err := NewPrinter(&want, List{Numeric: true}, nil).Save(slices.Values(tab)); err != nil {
				t.Fatal(err)
			}
			if second.String() != want.String() || len(again) == 0 {
				t.Errorf("saved:\n%s\nrestored:\n%s", want.String(), second.String())
			}
		}
	}
}

// recordedRules gives the texts of saved rules that can be read back: none with a mark
// of 2^31 or more, which ipvsadm writes as a negative number.
func recordedRules(t *testing.T, file, prefix string) map[string]bool {
	texts := map[string]bool{}
	for _, r := range readRecorded(t, file) {
		if strings.HasPrefix(r.Argv, prefix) && r.Text != "" && !strings.Contains(r.Text, "-f -") {
			texts[r.Text] = true
		}
	}
	if len(texts) < 3 {
		t.Fatalf("%d sets of rules", len(texts))
	}
	return texts
}
