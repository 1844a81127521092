package conf

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const mergeBase = `
[[service]]
listen = "tcp/192.0.2.1:80"
scheduler = "rr"
forward = "nat"
server = [{ address = "10.0.0.1:80" }, { address = "10.0.0.2:80" }]
[[service]]
listen = "tcp/192.0.2.2:80"
scheduler = "rr"
forward = "nat"
server = [{ address = "10.0.0.1:80" }]
`

// What both the file and commands changed is kept and named; the rest is merged.
func TestMergeNamesConflicts(t *testing.T) {
	k1 := ServiceKey{Proto: 6, Addr: addr("192.0.2.1"), Port: 80}
	k2 := ServiceKey{Proto: 6, Addr: addr("192.0.2.2"), Port: 80}
	nat := func(a string, w int) Server { return Server{Addr: addr(a), Port: 80, Weight: w} }
	id := func(a string) ServerID { return ServerID{addr(a), 80} }
	web := func(path string) *Health {
		return parse(t, "[[service]]\nfwmark = 1\ncheck = { type = \"http\", path = \""+path+"\" }").Services[0].Health
	}
	for _, row := range []struct {
		name           string
		commands, file []Change
		conflict       string   // "" for none
		leads          []Change // from the running state to the merged
	}{
		{name: "only commands", commands: []Change{EditServer{Key: k1, Server: nat("10.0.0.2", 0)}}},
		{name: "only the file", file: []Change{EditServer{Key: k1, Server: nat("10.0.0.2", 5)}}, leads: []Change{EditServer{Key: k1, Server: nat("10.0.0.2", 5)}}},
		{name: "the same", commands: []Change{DelService{k2}}, file: []Change{DelService{k2}}},
		{name: "two weights", commands: []Change{EditServer{Key: k1, Server: nat("10.0.0.2", 0)}}, file: []Change{EditServer{Key: k1, Server: nat("10.0.0.2", 5)}},
			conflict: "server 10.0.0.2:80 of tcp/192.0.2.1:80: the file says weight 5, a command said 0: kept 0"},
		{name: "two servers", commands: []Change{EditServer{Key: k1, Server: nat("10.0.0.2", 0)}}, file: []Change{EditServer{Key: k1, Server: nat("10.0.0.1", 5)}},
			leads: []Change{EditServer{Key: k1, Server: nat("10.0.0.1", 5)}}},
		{name: "deleted and edited", commands: []Change{DelServer{k1, id("10.0.0.2")}}, file: []Change{EditServer{Key: k1, Server: nat("10.0.0.2", 5)}},
			conflict: "server 10.0.0.2:80 of tcp/192.0.2.1:80: the file says weight 5, forward nat, a command deleted it: kept deleted"},
		{name: "edited and deleted", commands: []Change{EditServer{Key: k1, Server: nat("10.0.0.2", 7)}}, file: []Change{DelServer{k1, id("10.0.0.2")}},
			conflict: "server 10.0.0.2:80 of tcp/192.0.2.1:80: the file deleted it, a command said weight 7, forward nat: kept with that"},
		{name: "service deleted by the file", commands: []Change{EditServer{Key: k2, Server: nat("10.0.0.1", 0)}}, file: []Change{DelService{k2}},
			conflict: `service tcp/192.0.2.2:80: the file deleted it, a command said "edit server 10.0.0.1:80 of tcp/192.0.2.2:80: weight 1 -> 0": kept with its servers`},
		{name: "service deleted by a command", commands: []Change{DelService{k2}}, file: []Change{AddServer{k2, nat("10.0.0.9", 1)}},
			conflict: `service tcp/192.0.2.2:80: the file says "add server 10.0.0.9:80 to tcp/192.0.2.2:80, nat, weight 1", a command deleted it: kept deleted`},
		{name: "two schedulers", commands: []Change{EditService{Service: Service{Key: k1, Scheduler: "lc"}}}, file: []Change{EditService{Service: Service{Key: k1, Scheduler: "sh"}}},
			conflict: "service tcp/192.0.2.1:80: the file says scheduler sh, a command said lc: kept lc"},
		{name: "a scheduler and a server", commands: []Change{EditService{Service: Service{Key: k1, Scheduler: "lc"}}}, file: []Change{AddServer{k1, nat("10.0.0.9", 1)}},
			leads: []Change{AddServer{k1, nat("10.0.0.9", 1)}}},
		{name: "health and a server", commands: []Change{SetHealth{Key: k1, Health: web("/a")}}, file: []Change{EditServer{Key: k1, Server: nat("10.0.0.1", 5)}},
			leads: []Change{EditServer{Key: k1, Server: nat("10.0.0.1", 5)}}},
		{name: "two paths", commands: []Change{SetHealth{Key: k1, Health: web("/a")}}, file: []Change{SetHealth{Key: k1, Health: web("/b")}},
			conflict: `the health of service tcp/192.0.2.1:80: the file says "checked by http", a command said "checked by http": kept the command's`},
		{name: "a weight and checks", commands: []Change{SetHealth{Key: k1, Health: web("/a")}, EditServer{Key: k1, Server: nat("10.0.0.1", 0)}},
			file:  []Change{SetHealth{Key: k1, Health: web("/a")}, SetChecks{Key: k1, Server: id("10.0.0.1"), Checks: web("/c").Checks}},
			leads: []Change{SetChecks{Key: k1, Server: id("10.0.0.1"), Checks: web("/c").Checks}}},
		{name: "two checks of a server", commands: []Change{SetHealth{Key: k1, Health: web("/a")}, SetChecks{Key: k1, Server: id("10.0.0.1"), Checks: web("/b").Checks}},
			file:     []Change{SetHealth{Key: k1, Health: web("/a")}, SetChecks{Key: k1, Server: id("10.0.0.1"), Checks: web("/c").Checks}},
			conflict: `the checks of server 10.0.0.1:80 of tcp/192.0.2.1:80: the file says "add check \"http\"", a command said "add check \"http\"": kept the command's`},
		{name: "a sysctl", commands: []Change{SetSysctl{Name: "drop_entry", Value: "1"}}, file: []Change{SetSysctl{Name: "drop_entry", Value: "2"}},
			conflict: "sysctl drop_entry: the file says 2, a command said 1: kept 1"},
		{name: "two sysctls", commands: []Change{SetSysctl{Name: "drop_entry", Value: "1"}}, file: []Change{SetSysctl{Name: "am_droprate", Value: "2"}},
			leads: []Change{SetSysctl{Name: "am_droprate", Value: "2"}}},
		{name: "timeouts", commands: []Change{SetTimeouts{TCP: 100e9}}, file: []Change{SetTimeouts{UDP: 100e9}},
			conflict: "the timeouts: the file says tcp 15m, udp 100s, a command said tcp 100s, udp 5m: kept tcp 100s, udp 5m"},
		{name: "marks", commands: []Change{SetMarks{Marks: []Mark{{AnyFamily: true, Value: 1, Mask: wholeMark}}}}, file: []Change{SetMarks{Marks: []Mark{{AnyFamily: true, Value: 2, Mask: wholeMark}}}},
			conflict: "the mark rules: the file has others (1), a command set others (1): kept the command's"},
	} {
		base := parse(t, mergeBase)
		apply := func(c *Config, cs []Change) *Config {
			out, err := Apply(c, cs)
			if err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			return out
		}
		running, file := apply(base, row.commands), apply(base, row.file)
		merged, conflicts := Merge(base, running, file)
		if got := strings.Join(conflicts, "\n"); got != row.conflict {
			t.Errorf("%s: conflict\n%s\nwant\n%s", row.name, got, row.conflict)
		}
		if d := Diff(apply(running, row.leads), merged); len(d) > 0 {
			t.Errorf("%s: beside what was wanted: %v", row.name, d)
		}
	}
}

// Of three states: without commands the result is the file's, without a change of the file
// it is the running one, and it is valid but for names and numbers that two now share.
func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, other := genConfig(t), genConfig(t)
		if got, conflicts := Merge(base, base, other); len(Diff(got, other)) > 0 || len(conflicts) > 0 {
			t.Fatalf("nothing by commands: %v, %v", Diff(got, other), conflicts)
		}
		running := genConfig(t)
		running.Metrics, running.API = base.Metrics, base.API
		running.Director, running.Ports, running.Conntrack.MaxConnections = base.Director, base.Ports, base.Conntrack.MaxConnections
		if got, conflicts := Merge(base, running, base); len(Diff(got, running)) > 0 || len(conflicts) > 0 {
			t.Fatalf("nothing by the file: %v, %v", Diff(got, running), conflicts)
		}
		// What is not in conflict is in the result as the one who changed it left it.
		got, _ := Merge(base, running, other)
		was, is, said, merged := byKey(base.Services), byKey(running.Services), byKey(other.Services), byKey(got.Services)
		for k, s := range is {
			if was[k] == nil && said[k] == nil && merged[k] == nil {
				t.Fatalf("a command's service %v is gone", s.Key)
			}
		}
		for k, s := range said {
			if was[k] == nil && is[k] == nil && merged[k] == nil {
				t.Fatalf("the file's new service %v did not come", s.Key)
			}
		}
	})
}

// genChange draws a change that may fit the state or not.
func genChange(t *rapid.T, c *Config) Change {
	s := genService(t)
	if len(c.Services) > 0 && rapid.Bool().Draw(t, "known") {
		s.Key = rapid.SampledFrom(c.Services).Draw(t, "service").Key
	}
	d := genServer(t, s.Key)
	switch rapid.IntRange(0, 13).Draw(t, "kind") {
	case 12:
		return SetHealth{Key: s.Key, Health: s.Health}
	case 13:
		return SetChecks{Key: s.Key, Server: d.ID(), Checks: genChecks(t, &s)}
	case 0, 1:
		return AddService{s}
	case 2:
		return EditService{Service: s}
	case 3:
		return DelService{s.Key}
	case 4, 5:
		return AddServer{s.Key, d}
	case 6, 7:
		return EditServer{Key: s.Key, Server: d}
	case 8, 9:
		return DelServer{s.Key, d.ID()}
	case 10:
		return SetSysctl{Name: "drop_entry", Value: rapid.SampledFrom([]string{"0", "1", "9"}).Draw(t, "value")}
	}
	if rapid.IntRange(0, 5).Draw(t, "clear") == 0 {
		return Clear{}
	}
	return SetMarks{Marks: []Mark{genMark(t, c)}}
}

// A long-lived editor says after any changes and any undoing what one says that made only
// the kept ones; and a state that settles is valid as a whole.
func TestEditorUndoEqualsFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := genConfig(t)
		e, twin := NewEditor(start), NewEditor(start)
		for range rapid.IntRange(1, 6).Draw(t, "transactions") {
			e.Begin(0)
			var kept []Change
			for range rapid.IntRange(1, 12).Draw(t, "changes") {
				c, n := genChange(t, e.Snapshot()), len(e.Steps())
				if e.Do(c) != nil {
					continue
				}
				err := e.Settled(n)
				if _, whole := e.Config(); (err == nil) != (whole == nil) {
					t.Fatalf("%v: settled %v, the whole state %v", c, err, whole)
				}
				if err != nil || rapid.IntRange(0, 3).Draw(t, "undo") == 0 {
					e.Undo(n)
					continue
				}
				kept = append(kept, c)
			}
			if rapid.IntRange(0, 3).Draw(t, "undo all") == 0 {
				e.Undo(0)
				kept = nil
			}
			for i, s := range e.Steps() {
				if reflect.TypeOf(s.Change) != reflect.TypeOf(kept[i]) {
					t.Fatalf("step %d is %v, want %v", i, s.Change, kept[i])
				}
			}
			e.End()
			for _, c := range kept {
				if err := twin.Do(c); err != nil {
					t.Fatal(err)
				}
			}
			got, want := e.Snapshot(), twin.Snapshot()
			if !slices.Equal(got.TOML(), want.TOML()) {
				t.Fatalf("got\n%s\nwant\n%s", got.TOML(), want.TOML())
			}
			if e.Len() != len(got.Services) {
				t.Fatalf("Len %d of %d", e.Len(), len(got.Services))
			}
		}
	})
}
