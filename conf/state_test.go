package conf

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What is written is read back as the same state, and written the same again.
func TestTOMLRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genConfig(t)
		if err := Validate(c); err != nil {
			t.Fatalf("the generator made an invalid state: %v", err)
		}
		text := c.TOML()
		got, err := Parse("again.toml", text)
		if err != nil {
			t.Fatalf("%v\nin:\n%s", err, text)
		}
		if !reflect.DeepEqual(got, c) {
			t.Fatalf("got %+v\nwant %+v\nin:\n%s", got, c, text)
		}
		if again := got.TOML(); string(again) != string(text) {
			t.Fatalf("written again:\n%s\nfirst:\n%s", again, text)
		}
	})
}

// sorted is a copy in which the orders that mean nothing are the same for all.
func sorted(c *Config) *Config {
	c = c.Clone()
	slices.SortFunc(c.Ports, func(a, b Port) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Routes, func(a, b Route) int { return cmp.Compare(a.id(), b.id()) })
	slices.SortFunc(c.Neighbors, func(a, b Neighbor) int { return cmp.Compare(a.id(), b.id()) })
	slices.SortFunc(c.Services, func(a, b Service) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	for i := range c.Services {
		slices.SortFunc(c.Services[i].Servers, func(a, b Server) int { return cmp.Compare(a.String(), b.String()) })
		if len(c.Services[i].Servers) == 0 {
			c.Services[i].Servers = nil
		}
	}
	if len(c.Services) == 0 {
		c.Services = nil
	}
	return c
}

// Applying a difference leads to the new state; equal states have none.
func TestApplyOfDiffGivesNewState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, new := genConfig(t), genConfig(t)
		if d := Diff(old, old.Clone()); len(d) != 0 {
			t.Fatalf("a copy differs: %v", d)
		}
		before := old.Clone()
		changes := Diff(old, new)
		got, err := Apply(old, changes)
		if err != nil {
			t.Fatalf("%v\nof %v", err, changes)
		}
		if !reflect.DeepEqual(old, before) {
			t.Fatalf("Apply changed what it was given")
		}
		if a, b := sorted(got), sorted(new); !reflect.DeepEqual(a, b) {
			t.Fatalf("got %+v\nwant %+v\nby %v", a, b, changes)
		}
		if d := Diff(got, new); len(d) != 0 {
			t.Fatalf("still different: %v", d)
		}
		for _, c := range changes {
			if c.String() == "" {
				t.Fatalf("%#v says nothing", c)
			}
		}
	})
}

// New services and servers come in the order of the new state, after those that stay.
func TestDiffKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, new := genConfig(t), genConfig(t)
		got, err := Apply(old, Diff(old, new))
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Services {
			s := &got.Services[i]
			was, is := find(old, s.Key), find(new, s.Key)
			var want []ServerID
			if was != nil {
				for j := range was.Servers {
					if id := was.Servers[j].ID(); is.Server(id) != nil {
						want = append(want, id)
					}
				}
			}
			for j := range is.Servers {
				if id := is.Servers[j].ID(); !slices.Contains(want, id) {
					want = append(want, id)
				}
			}
			var ids []ServerID
			for j := range s.Servers {
				ids = append(ids, s.Servers[j].ID())
			}
			if !slices.Equal(ids, want) {
				t.Fatalf("%v: servers %v, want %v", s.Key, ids, want)
			}
		}
	})
}

func find(c *Config, k ServiceKey) *Service {
	for i := range c.Services {
		if c.Services[i].Key == k {
			return &c.Services[i]
		}
	}
	return nil
}

// Each kind of change, in its words, its order and with its need of a restart.
func TestDiffInWords(t *testing.T) {
	base := `
[[port]]
name = "eth0"
[[route]]
dest = "10.0.0.0/8"
port = "eth0"
[[neighbor]]
address = "192.0.2.9"
mac = "02:00:00:00:00:09"
[[service]]
name = "web"
listen = "tcp/192.0.2.1:80"
forward = "nat"
server = [{ address = "10.0.0.1" }, { address = "10.0.0.2", upper = 10 }, { address = "10.0.0.3:8080" }]
[[service]]
fwmark = 3
`
	next := `
[director]
workers = 4
[[port]]
name = "eth0"
guard = "off"
[[port]]
name = "eth1"
[[route]]
dest = "10.0.0.0/8"
port = "eth1"
[[route]]
dest = "0.0.0.0/0"
via = "192.0.2.254"
[conntrack]
max_connections = 500
timeouts = { tcp = "10m", udp = 45 }
[sysctl]
expire_nodest_conn = true
lblc_expiration = "1h"
[[mark]]
destination = "192.0.2.0/24"
value = 4
[[service]]
fwmark = 4
forward = "dr"
server = [{ address = "10.0.0.1" }, { address = "10.0.0.2", weight = 3 }]
[[service]]
name = "www"
listen = "tcp/192.0.2.1:80"
scheduler = "sh"
flags = ["sh-port"]
forward = "nat"
persistence = { netmask = 24 }
server = [{ address = "10.0.0.4", forward = "dr" }, { address = "10.0.0.2", weight = 0, forward = "tun" }, { address = "10.0.0.1" }]
[[service]]
listen = "udp/[2001:db8::1]:53"
`
	want := []struct {
		words   string
		restart bool
	}{
		{"set director: workers 0 -> 4 (needs a restart)", true},
		{"set ports: edit eth0 (guard on -> off), add eth1 (needs a restart)", true},
		{"set max_connections 1000000 -> 500 (needs a restart)", true},
		{"set timeouts tcp 10m, udp 45s", false},
		{"set sysctl expire_nodest_conn 0 -> 1", false},
		{"set sysctl lblc_expiration 86400 -> 3600", false},
		{"set routes: edit 10.0.0.0/8 (port eth0 -> eth1), add 0.0.0.0/0", false},
		{"set neighbours: delete 192.0.2.9 on eth0", false},
		{"delete service fwmark 3", false},
		{`edit service tcp/192.0.2.1:80 "www": name web -> www, scheduler wlc -> sh, flags none -> ["sh-port"], persistence none -> { netmask = 24 }`, false},
		{"add server 10.0.0.4:80 to tcp/192.0.2.1:80, dr, weight 1", false},
		{"edit server 10.0.0.2:80 of tcp/192.0.2.1:80: weight 1 -> 0, forward nat -> tun, upper 10 -> 0", false},
		{"delete server 10.0.0.3:8080 of tcp/192.0.2.1:80", false},
		{"add service fwmark 4, wlc, 2 servers", false},
		{"add service udp/[2001:db8::1]:53, wlc, no server", false},
		{"replace the mark rules: 1, were 0", false},
	}
	changes := Diff(parse(t, base), parse(t, next))
	for i := range max(len(changes), len(want)) {
		switch {
		case i >= len(changes):
			t.Errorf("missing: %s", want[i].words)
		case i >= len(want):
			t.Errorf("too many: %v", changes[i])
		case changes[i].String() != want[i].words || changes[i].Restart() != want[i].restart:
			t.Errorf("change %d:\n got %v, restart %v\nwant %s, restart %v", i, changes[i], changes[i].Restart(), want[i].words, want[i].restart)
		}
	}
}

// Orders and spellings that mean nothing are no change; announce needs no restart.
func TestDiffOfWhatMeansTheSame(t *testing.T) {
	a := parse(t, `
port = [{ name = "eth0" }, { name = "eth1" }]
route = [{ dest = "10.0.0.0/8", port = "eth0" }, { dest = "0.0.0.0/0", port = "eth1" }]
service = [{ fwmark = 1 }, { listen = "tcp/192.0.2.1:80", persistence = { netmask = 32 }, forward = "dr",
  server = [{ address = "10.0.0.1" }, { address = "10.0.0.2" }] }]
`)
	b := parse(t, `
port = [{ name = "eth1" }, { name = "eth0" }]
route = [{ dest = "0.0.0.0/0", port = "eth1" }, { dest = "10.0.0.0/8", port = "eth0" }]
service = [{ listen = "tcp/192.0.2.1:80", persistence = {}, forward = "dr",
  server = [{ address = "10.0.0.2" }, { address = "10.0.0.1" }] }, { fwmark = 1 }]
`)
	s := &b.Services[0]
	s.Persistence.Netmask = addr("255.255.255.255") // as a command may spell it
	s.Key.Addr = addr("::ffff:192.0.2.1")
	s.Key.V6 = true
	s.Servers[0].TunPort = 7 // of a server that is no tunnel
	if d := slices.Concat(Diff(a, b), Diff(b, a)); len(d) != 0 {
		t.Errorf("differ: %v", d)
	}
	b.Director.Announce = 9
	if d := Diff(a, b); len(d) != 1 || d[0].Restart() {
		t.Errorf("announce: %v", d)
	}
}

// A state edited by commands is judged like a file.
func TestValidateWithoutFile(t *testing.T) {
	c := parse(t, "[[service]]\nname = \"web\"\nlisten = \"tcp/192.0.2.1:80\"\nforward = \"nat\"\nserver = [{ address = \"10.0.0.1\" }]")
	if err := Validate(c); err != nil {
		t.Fatal(err)
	}
	c.Services[0].Servers[0].Forward = Bypass
	c.Services[0].Servers[0].Weight = -5
	c.Services[0].SchedFlags = 0x18
	c.Conntrack.UDP = time.Second / 2
	c.Ports = []Port{{Name: "eth0"}}
	want := `conntrack.timeouts.udp: is 500ms; write whole seconds from 1 to 2678400
port[0] "eth0".ring_slots: is 0; write a power of two from 64 to 32768
service[0] "web".flags: has bits 0x18; there are three flags, bits 0x7
service[0] "web".server[0] "10.0.0.1:80".forward: is method 4; one of nat, dr, tun, fullnat, local
service[0] "web".server[0] "10.0.0.1:80".weight: is -5; write a number from 0 to 2147483647`
	if got := fmt.Sprint(Validate(c)); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
