package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var kinds = map[string]error{
	"exists": ErrExists, "service": ErrNoService, "server": ErrNoServer,
	"scheduler": ErrNoScheduler, "sysctl": ErrNoSysctl, "range": ErrRange, "invalid": ErrInvalid,
}

// kindsOf lists the sentinels an error is, by name.
func kindsOf(err error) (names string) {
	for _, name := range []string{"exists", "service", "server", "scheduler", "sysctl", "range", "invalid"} {
		if errors.Is(err, kinds[name]) {
			names += name + " "
		}
	}
	return names
}

// The refusals of ipvsadm's commands: what kernel 6.1 answers to the same commands, as
// errno: EEXIST, ESRCH, ENOENT (server, or scheduler), ERANGE, EINVAL.
func TestRefusalsAreTheKernels(t *testing.T) {
	start := parse(t, `
[[port]]
name = "eth0"
addresses = "192.0.2.254/24"
[[service]]
listen = "tcp/10.0.1.100:80"
scheduler = "rr"
forward = "nat"
server = [{ address = "10.0.2.11:80" }]
`)
	key := ServiceKey{Proto: 6, Addr: addr("10.0.1.100"), Port: 80}
	other := ServiceKey{Proto: 6, Addr: addr("10.0.1.100"), Port: 99}
	svc := func(k ServiceKey, scheduler string) Service { return Service{Key: k, Scheduler: scheduler} }
	rs := func(a string, port uint16, f Forward) Server {
		return Server{Addr: addr(a), Port: port, Forward: f, Weight: 1}
	}
	with := func(d Server, edit func(*Server)) Server { edit(&d); return d }
	for _, row := range []struct {
		command string
		change  Change
		want    string
	}{
		{"-A existing", AddService{svc(key, "rr")}, "exists "},
		{"-A with unknown scheduler", AddService{svc(other, "nosuch")}, "scheduler invalid "},
		{"-A", AddService{svc(other, "wlc")}, ""},
		{"-A existing with unknown scheduler", AddService{svc(key, "nosuch")}, "exists "},
		{"-A --pe nosuch", AddService{Service{Key: other, Scheduler: "rr", Persistence: Persistence{Engine: "nosuch"}}}, "scheduler invalid "},
		{"-A --pe sip without -p", AddService{Service{Key: other, Scheduler: "rr", Persistence: Persistence{Engine: "sip"}}}, ""},
		{"-A -M with holes", AddService{Service{Key: other, Scheduler: "rr", Persistence: Persistence{Timeout: 9 * time.Second, Netmask: addr("255.0.255.0")}}}, ""},
		{"-A port 0", AddService{svc(ServiceKey{Proto: 6, Addr: addr("10.0.1.100")}, "rr")}, "invalid "},
		{"-A own address", AddService{svc(ServiceKey{Proto: 6, Addr: addr("192.0.2.254"), Port: 80}, "rr")}, "invalid "},
		{"-A -f 4294967295", AddService{svc(ServiceKey{Fwmark: 1<<32 - 1}, "rr")}, ""},
		{"-E unknown", EditService{Service: svc(other, "rr")}, "service "},
		{"-E -s nosuch", EditService{Service: svc(key, "nosuch")}, "scheduler invalid "},
		{"-E", EditService{Service: svc(key, "wlc")}, ""},
		{"-D unknown", DelService{other}, "service "},
		{"-D", DelService{key}, ""},
		{"-a to unknown", AddServer{other, rs("10.0.2.1", 80, DR)}, "service "},
		{"-a existing", AddServer{key, rs("10.0.2.11", 80, NAT)}, "exists "},
		{"-a existing, v4-mapped", AddServer{key, rs("::ffff:10.0.2.11", 80, NAT)}, "exists "},
		{"-a -w 2147483647", AddServer{key, with(rs("10.0.2.22", 80, DR), func(d *Server) { d.Weight = 1<<31 - 1 })}, ""},
		{"-a -w -1", AddServer{key, with(rs("10.0.2.22", 80, DR), func(d *Server) { d.Weight = -1 })}, "range invalid "},
		{"-a -x 5 -y 6", AddServer{key, with(rs("10.0.2.23", 80, DR), func(d *Server) { d.Upper, d.Lower = 5, 6 })}, "range invalid "},
		{"-a -y 6", AddServer{key, with(rs("10.0.2.24", 80, DR), func(d *Server) { d.Lower = 6 })}, "range invalid "},
		{"-a existing -x 5 -y 6", AddServer{key, with(rs("10.0.2.11", 80, NAT), func(d *Server) { d.Upper, d.Lower = 5, 6 })}, "range invalid "},
		{"-a existing with a gue tunnel without port", AddServer{key, with(rs("10.0.2.11", 80, Tunnel), func(d *Server) { d.TunType = TunGUE })}, "invalid "},
		{"-a -r IPv6 -m", AddServer{key, rs("2001:db8:2::11", 80, NAT)}, "invalid "},
		{"-a -r IPv6 -g", AddServer{key, rs("2001:db8:2::11", 80, DR)}, "invalid "},
		{"-a -r IPv6 -i", AddServer{key, rs("2001:db8:2::11", 80, Tunnel)}, ""},
		{"-a -r 127.0.0.1 -m", AddServer{key, rs("127.0.0.1", 80, NAT)}, ""},
		{"-a -r VIP -m", AddServer{key, rs("10.0.1.100", 80, NAT)}, ""},
		{"-a -r 224.0.0.1 -g", AddServer{key, rs("224.0.0.1", 80, DR)}, "invalid "},
		{"-a -g with another port", AddServer{key, rs("10.0.2.20", 8080, DR)}, "invalid "},
		{"-e unknown", EditServer{Key: key, Server: rs("10.0.2.77", 80, NAT)}, "server "},
		{"-e of unknown", EditServer{Key: other, Server: rs("10.0.2.11", 80, NAT)}, "service "},
		{"-e", EditServer{Key: key, Server: rs("10.0.2.11", 80, Tunnel)}, ""},
		{"-e GUE without port", EditServer{Key: key, Server: with(rs("10.0.2.11", 80, Tunnel), func(d *Server) { d.TunType = TunGUE })}, "invalid "},
		{"-d unknown", DelServer{key, ServerID{addr("10.0.2.77"), 80}}, "server "},
		{"-d of unknown", DelServer{other, ServerID{addr("10.0.2.11"), 80}}, "service "},
		{"-d", DelServer{key, ServerID{addr("10.0.2.11"), 80}}, ""},
		{"-C", Clear{}, ""},
		{"--set 100 0 0", SetTimeouts{TCP: 100 * time.Second}, ""},
		{"--set negative", SetTimeouts{TCP: -time.Second}, "invalid "},
		{"sysctl drop_entry=4", SetSysctl{Name: "drop_entry", Value: "4"}, "invalid "},
		{"sysctl drop_entry=3", SetSysctl{Name: "drop_entry", Value: "3"}, ""},
		{"sysctl expire_nodest_conn=5", SetSysctl{Name: "expire_nodest_conn", Value: "5"}, ""},
		{"sysctl debug_level=1", SetSysctl{Name: "debug_level", Value: "1"}, "sysctl "},
	} {
		before := start.Clone()
		e := NewEditor(start)
		err := e.Do(row.change)
		if got := kindsOf(err); got != row.want || (err == nil) != (row.want == "") {
			t.Errorf("%s: %v (%s), want %q", row.command, err, got, row.want)
		}
		after, err := e.Config()
		if err != nil {
			t.Errorf("%s: the state after it: %v", row.command, err)
			continue
		}
		if changed := len(Diff(start, after)) > 0; changed != (row.want == "") {
			t.Errorf("%s: changed %v: %v", row.command, changed, Diff(start, after))
		}
		if !reflect.DeepEqual(start, before) {
			t.Fatalf("%s: the state it began with was changed", row.command)
		}
	}
}

// What ipvsadm's commands cannot say stays: they know neither health nor checks, nor
// redispatch.
func TestCommandsKeepHealth(t *testing.T) {
	start := parse(t, `
[[service]]
name = "web"
listen = "tcp/192.0.2.1:80"
forward = "nat"
redispatch = 3
check = { type = "http" }
server = [{ address = "10.0.0.1" }, { address = "10.0.0.2", check = { path = "/own" } }]
`)
	s := start.Services[0]
	if s.Servers[1].Checks[0].Probe.Path != "/own" || s.Servers[1].Checks[0].Probe.Type != ProbeHTTP || s.Servers[0].Checks != nil {
		t.Fatalf("read %+v", s.Servers)
	}
	for _, c := range []Change{
		EditService{Service: Service{Key: s.Key, Scheduler: "rr", Redispatch: SameRedispatch}},
		EditServer{Key: s.Key, Server: Server{Addr: addr("10.0.0.2"), Port: 80, Weight: 0}},
		AddServer{s.Key, Server{Addr: addr("10.0.0.3"), Port: 80, Weight: 1}},
		DelServer{s.Key, s.Servers[0].ID()},
	} {
		e := NewEditor(start)
		e.Begin(0)
		if err := e.Do(c); err != nil {
			t.Fatal(err)
		}
		if err := e.Settled(0); err != nil {
			t.Fatal(err)
		}
		after := e.Snapshot().Services[0]
		if !after.Health.Equal(s.Health) || after.Redispatch != 3 || !slices.Equal(after.Server(s.Servers[1].ID()).Checks, s.Servers[1].Checks) {
			t.Errorf("after %v: %+v", c, after)
		}
		e.Undo(0)
		if back := e.Snapshot(); !back.Services[0].Equal(&s) {
			t.Errorf("%v undone: %+v", c, back.Services[0])
		}
	}
}

// Rules between servers and the health of their service wait for the end of a script: a
// server and the sorry server can change places in it.
func TestHealthSettles(t *testing.T) {
	start := parse(t, `
[[service]]
listen = "tcp/192.0.2.1:80"
forward = "nat"
check = { type = "http" }
health = { sorry_server = { address = "10.0.0.9" } }
server = [{ address = "10.0.0.1" }]
[[service]]
fwmark = 3
forward = "dr"
server = [{ address = "10.0.0.1" }]
`)
	web, mark := start.Services[0].Key, start.Services[1].Key
	sorry := start.Services[0].Health.Clone()
	sorry.Sorry.Addr = addr("10.0.0.1")
	nine := Server{Addr: addr("10.0.0.9"), Port: 80, Weight: 1}
	checks := start.Services[0].Health.Checks
	connect := &Health{Checks: slices.Clone(checks), Quorum: 1}
	connect.Checks[0].Probe = Probe{Type: ProbeTCP, Timeout: time.Second}
	remote := connect.Clone()
	remote.Checks[0].Probe.Via = ViaService
	for _, row := range []struct {
		changes   []Change
		do, after string // words of the refusal of the last step, and of the end
	}{
		{[]Change{AddServer{web, nine}}, "", "address: 10.0.0.9:80 is the sorry server of this service"},
		{[]Change{SetHealth{Key: web, Health: sorry}}, "", "is the sorry server of this service"},
		{[]Change{SetHealth{Key: web, Health: sorry}, AddServer{web, nine}, DelServer{web, ServerID{addr("10.0.0.1"), 80}}}, "", ""},
		{[]Change{SetHealth{Key: web}}, "", ""},
		{[]Change{SetChecks{Key: mark, Server: ServerID{Addr: addr("10.0.0.1")}, Checks: checks}}, "", "stands in a service without health"},
		{[]Change{SetHealth{Key: mark, Health: connect}}, "", `has no port, and neither has the service nor its check "tcp"`},
		{[]Change{SetHealth{Key: mark, Health: remote}}, "a fwmark service has none", ""},
		{[]Change{SetHealth{Key: web, Health: remote}, EditServer{Key: web, Server: Server{Addr: addr("10.0.0.1"), Port: 80, Weight: 1, Forward: Local}}}, "", "cannot be asked by way of the service"},
		{[]Change{SetHealth{Key: web, Health: &Health{}}}, "health.quorum: is 0", ""},
		{[]Change{SetChecks{Key: web, Server: ServerID{addr("10.0.0.1"), 80}, Checks: []HealthCheck{{}}}}, "check[0].type", ""},
		{[]Change{SetChecks{Key: web, Server: nine.ID()}}, "no such server", ""},
		{[]Change{SetHealth{Key: ServiceKey{Fwmark: 9}}}, "no such service", ""},
	} {
		e := NewEditor(start)
		e.Begin(0)
		var err error
		for _, c := range row.changes {
			err = e.Do(c)
		}
		settled := e.Settled(0)
		for _, r := range []struct {
			err  error
			want string
		}{{err, row.do}, {settled, row.after}} {
			if (r.err == nil) != (r.want == "") || r.err != nil && !strings.Contains(r.err.Error(), r.want) {
				t.Errorf("%v: %v, want %q", row.changes, r.err, r.want)
			}
		}
	}
}

// Changes of health are told by what is different, and no password or webhook is.
func TestHealthInWords(t *testing.T) {
	of := func(text string) Service {
		return parse(t, "[[service]]\nlisten = \"tcp/192.0.2.1:80\"\nforward = \"nat\"\n"+text).Services[0]
	}
	plain := of("server = [{ address = \"10.0.0.1\" }]")
	a := of("server = [{ address = \"10.0.0.1\" }]\ncheck = { type = \"redis\", password = \"geheim\" }")
	b := of("server = [{ address = \"10.0.0.1\", check = { type = \"ping\" } }]\nhealth = { quorum = 2, flap = { changes = 3 } }\ncheck = [{ type = \"redis\", password = \"anders\", fall = 5 }, { type = \"tcp\" }]")
	hooks := func(url string) Service {
		return of("server = [{ address = \"10.0.0.1\" }]\ncheck = { type = \"redis\", password = \"geheim\" }\nhealth = { notify = { webhook = \"" + url + "\" } }")
	}
	c, d := hooks("https://hooks.example.org/geheim"), hooks("https://hooks.example.org/anders")
	for _, row := range []struct {
		was, is Service
		want    string
	}{
		{a, c, "set health of tcp/192.0.2.1:80: notify none -> { webhook = (hidden) }"},
		{c, d, "set health of tcp/192.0.2.1:80: notify { webhook = (hidden) } -> { webhook = (hidden) }"},
		{d, a, "set health of tcp/192.0.2.1:80: notify { webhook = (hidden) } -> none"},
		{plain, a, "set health of tcp/192.0.2.1:80: checked by redis"},
		{a, plain, "set health of tcp/192.0.2.1:80: none"},
		{a, b, `set health of tcp/192.0.2.1:80: quorum 1 -> 2, flap none -> { changes = 3 }, edit check "redis" (password (hidden) -> (hidden), fall 3 -> 5), add check "tcp"
set checks of server 10.0.0.1:80 of tcp/192.0.2.1:80: add check "ping"`},
	} {
		var said []string
		for _, c := range diffService(row.was, row.is) {
			said = append(said, c.String())
		}
		if got := strings.Join(said, "\n"); got != row.want {
			t.Errorf("got %s\nwant %s", got, row.want)
		}
	}
}

// A script goes on after a refused line, as ipvsadm -R does.
func TestEditorGoesOn(t *testing.T) {
	e := NewEditor(Default())
	key := ServiceKey{Proto: 17, Addr: addr("192.0.2.1"), Port: 53}
	for i, row := range []struct {
		change Change
		ok     bool
	}{
		{AddServer{key, Server{Addr: addr("10.0.0.1"), Port: 53, Weight: 1}}, false},
		{AddService{Service{Key: key, Scheduler: "rr"}}, true},
		{AddServer{key, Server{Addr: addr("10.0.0.1"), Port: 53, Weight: 1}}, true},
		{AddServer{key, Server{Addr: addr("10.0.0.1"), Port: 53, Weight: 2}}, false},
		{AddServer{key, Server{Addr: addr("10.0.0.2"), Port: 53, Weight: 2}}, true},
		{DelServer{key, ServerID{addr("10.0.0.1"), 53}}, true},
		{AddServer{key, Server{Addr: addr("10.0.0.1"), Port: 53, Weight: 3}}, true},
		{EditService{Service: Service{Key: key, Scheduler: "wrr"}}, true},
		{EditServer{Key: key, Server: Server{Addr: addr("10.0.0.2"), Port: 53, Weight: 4}}, true},
		{AddService{Service{Key: ServiceKey{Fwmark: 1}, Scheduler: "rr"}}, true},
		{DelService{ServiceKey{Fwmark: 1}}, true},
		{AddService{Service{Key: ServiceKey{Fwmark: 1}, Scheduler: "lc"}}, true},
	} {
		if err := e.Do(row.change); (err == nil) != row.ok {
			t.Fatalf("%d, %v: %v", i, row.change, err)
		}
	}
	c, err := e.Config()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { // begin anew, as ipvsadm-restore does
		again := AddService{Service{Key: key, Scheduler: "rr"}}
		for _, change := range []Change{Clear{}, again, SetPorts{Ports: []Port{{Name: "eth0", RingSlots: 64, Addresses: []netip.Prefix{prefix("192.0.2.2/24")}}}}} {
			if err := e.Do(change); err != nil {
				t.Errorf("%v: %v", change, err)
			}
		}
		own := AddService{Service{Key: ServiceKey{Proto: 6, Addr: addr("192.0.2.2"), Port: 80}, Scheduler: "rr"}}
		if err := e.Do(own); !errors.Is(err, ErrInvalid) {
			t.Errorf("the new port's address as VIP: %v", err)
		}
	}()
	want := []Service{
		{Key: key, Scheduler: "wrr", Servers: []Server{
			{Addr: addr("10.0.0.2"), Port: 53, Weight: 4}, {Addr: addr("10.0.0.1"), Port: 53, Weight: 3}, // a server added again is the newest
		}},
		{Key: ServiceKey{Fwmark: 1}, Scheduler: "lc"},
	}
	if !reflect.DeepEqual(c.Services, want) {
		t.Errorf("got %+v\nwant %+v", c.Services, want)
	}
	c.Services[0].Servers[0].Weight = 99 // the caller's own
	if again, _ := e.Config(); again.Services[0].Servers[0].Weight != 4 {
		t.Error("Config shares memory with the editor")
	}
}

// Rules that hold between parts are judged at the end, and then nothing is applied.
func TestApplyIsAllOrNothing(t *testing.T) {
	c := parse(t, "port = [{ name = \"eth0\" }]\nroute = [{ dest = \"10.0.0.0/8\", port = \"eth0\" }]")
	got, err := Apply(c, []Change{SetSysctl{Name: "drop_entry", Value: "1"}, SetPorts{}})
	if got != nil || !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, %v; want ErrInvalid", got, err)
	}
	var es Errors
	if !errors.As(err, &es) || es[0].Key != "route[0].port" {
		t.Errorf("%v does not name route[0].port", err)
	}
	if _, err := Apply(c, []Change{SetSysctl{Name: "drop_entry", Value: "1"}, DelService{ServiceKey{Fwmark: 1}}}); !errors.Is(err, ErrNoService) {
		t.Errorf("got %v, want ErrNoService", err)
	}
	if c.Sysctl.DropEntry != 0 {
		t.Error("the state it began with was changed")
	}
}

// --set keeps what is 0, as the kernel does.
func TestSetTimeoutsKeepsZero(t *testing.T) {
	c, err := Apply(Default(), []Change{
		SetTimeouts{100 * time.Second, 20 * time.Second, 30 * time.Second}, SetTimeouts{TCPFin: 5 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.Conntrack.TCP, c.Conntrack.TCPFin, c.Conntrack.UDP); got != "1m40s 5s 30s" {
		t.Errorf("got %s, want 1m40s 5s 30s", got)
	}
}

// Sysctls are read and written by the kernel's names; every one keeps its value.
func TestSysctlByName(t *testing.T) {
	defaults := map[string]string{ // of a fresh kernel 6.1.192
		"am_droprate": "10", "amemthresh": "1024", "backup_only": "0", "cache_bypass": "0", "conn_reuse_mode": "1",
		"conntrack": "0", "drop_entry": "0", "drop_packet": "0", "expire_nodest_conn": "0", "expire_quiescent_template": "0",
		"ignore_tunneled": "0", "lblc_expiration": "86400", "lblcr_expiration": "86400", "nat_icmp_send": "0", "pmtu_disc": "1",
		"run_estimation": "1", "schedule_icmp": "0", "secure_tcp": "0", "sloppy_sctp": "0", "sloppy_tcp": "0", "snat_reroute": "1",
		"sync_persist_mode": "0", "sync_ports": "1", "sync_qlen_max": "0", "sync_refresh_period": "0", "sync_retries": "0",
		"sync_sock_size": "0", "sync_threshold": "3\t50", "sync_version": "1",
	}
	if got := SysctlNames(); len(got) != len(defaults) {
		t.Fatalf("%d names, want %d: %v", len(got), len(defaults), got)
	}
	s := defaultSysctl()
	for name, def := range defaults {
		if got, err := s.Get(name); err != nil || got != def {
			t.Errorf("%s is %s, %v; want %s", name, got, err, def)
		}
		value, want := "2", "2"
		switch name {
		case "sync_threshold":
			value, want = " 2  7 ", "2\t7"
		case "sync_version":
			value, want = "0", "0"
		}
		other := s
		if err := other.Set(name, value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for again := range defaults {
			was, _ := s.Get(again)
			is, _ := other.Get(again)
			if again == name {
				was = want
			}
			if was != is {
				t.Errorf("setting %s: %s is %q, want %q", name, again, is, was)
			}
		}
	}
}

// What the kernel's handlers take and refuse, as a kernel 6.1.192 was seen to do.
func TestSysctlTakesWhatTheKernelTakes(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        error
	}{
		{"conn_reuse_mode", "3", nil}, {"conn_reuse_mode", "-7", nil}, {"amemthresh", "-1", nil}, {"am_droprate", "0", nil},
		{"expire_nodest_conn", "5", nil}, {"sloppy_tcp", "-1", nil}, {"conntrack", "2", nil}, {"backup_only", "2", nil},
		{"drop_entry", "4", ErrInvalid}, {"drop_entry", "-1", ErrInvalid}, {"drop_packet", "4", ErrInvalid}, {"secure_tcp", "9", ErrInvalid},
		{"sync_version", "0", nil}, {"sync_version", "2", ErrInvalid}, {"sync_retries", "3", nil}, {"sync_retries", "8", ErrInvalid},
		{"sync_ports", "2", nil}, {"sync_ports", "0", ErrInvalid}, {"sync_ports", "3", ErrInvalid},
		{"sync_threshold", "0 0", nil}, {"sync_threshold", "5 3", ErrInvalid}, {"sync_threshold", "3", ErrInvalid}, {"sync_threshold", "3 3", ErrInvalid},
		{"sync_refresh_period", "10", nil}, {"pmtu_disc", "", ErrInvalid}, {"pmtu_disc", "yes", ErrInvalid}, {"pmtu_disc", "4294967296", ErrInvalid},
		{"debug_level", "1", ErrNoSysctl}, {"est_nice", "1", ErrNoSysctl},
	} {
		s := defaultSysctl()
		was := s
		if err := s.Set(c.name, c.value); !errors.Is(err, c.want) {
			t.Errorf("%s=%s: %v, want %v", c.name, c.value, err, c.want)
		} else if err != nil && s != was {
			t.Errorf("%s=%s was refused and changed something", c.name, c.value)
		}
	}
}
