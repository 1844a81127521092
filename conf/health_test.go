package conf

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// health.good.toml by hand: layers, defaults and spellings.
func TestHealthExample(t *testing.T) {
	c, err := Load("testdata/health.good.toml")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(c.TOML()); strings.Contains(text, "{}") {
		t.Errorf("writes what is a default:\n%s", text)
	}
	page := HealthCheck{
		Probe: Probe{Type: ProbeHTTP, Via: ViaService, Timeout: 4 * time.Second, Path: "/health", Method: "GET",
			Status: "200,300-399", Digest: "0123456789abcdef0123456789abcdef"},
		Interval: 10 * time.Second, RetryDelay: time.Second, Jitter: 10, Rise: 2, Window: Window{7, 10}, Warmup: 5 * time.Second,
	}
	line := HealthCheck{
		Label: "line",
		Probe: Probe{Type: ProbeTCP, Port: 25, Timeout: time.Second, Send: "\x00QUIT\r\n", Expect: "^221 ",
			TLS: TLS{Mode: TLSOn, Name: "a.example.org"}},
		Interval: time.Second, RetryDelay: time.Second, Jitter: 10, Rise: 2, Fall: 2, Warmup: time.Second,
	}
	other := page
	other.Probe.Path, other.Window, other.Fall = "/other", Window{}, 5
	script := HealthCheck{
		Probe:    Probe{Type: ProbeScript, Timeout: 4 * time.Second, Command: "/usr/local/bin/probe", Dynamic: true},
		Interval: 10 * time.Second, RetryDelay: time.Second, Jitter: 10, Rise: 2, Fall: 2, Warmup: 5 * time.Second,
	}
	secure := HealthCheck{
		Probe:    Probe{Type: ProbeHTTPS, Timeout: 4 * time.Second, Path: "/", Method: "GET", TLS: TLS{Mode: TLSOn}},
		Interval: 10 * time.Second, RetryDelay: time.Second, Jitter: 10, Rise: 2, Fall: 2, Warmup: 5 * time.Second, Alpha: true,
	}
	up := Notify{Up: "/usr/local/bin/up"}
	mail := Notify{Up: "/usr/local/bin/up", Down: "/bin/down\x00a b\x00", Mail: []string{"admin@example.org"},
		MailFrom: "dirigo", MailServer: "mail.example.org:587", MailEvery: time.Minute}
	want := []Service{
		{Key: ServiceKey{Proto: packet.TCP, Addr: addr("192.0.2.80"), Port: 80}, Scheduler: "wlc",
			Health: &Health{
				Checks: []HealthCheck{page, line}, OnFailure: Quiesce, Connections: ResetConnections, Templates: ResetConnections,
				SlowStart: 30 * time.Second, Quorum: 3, Hysteresis: 1,
				Flap:    Flap{4, 5 * time.Minute, 5 * time.Minute},
				Passive: Passive{50, 20, 1500 * time.Millisecond},
				Sorry:   &Server{Addr: addr("127.0.0.1"), Port: 8080, Forward: NAT, Weight: 1}, SorryKeep: true,
				Notify: mail,
			},
			Servers: []Server{
				{Addr: addr("10.0.0.1"), Port: 80, Forward: DR, Weight: 1},
				{Addr: addr("10.0.0.2"), Port: 80, Forward: DR, Weight: 3, Checks: []HealthCheck{other, script}},
			}},
		{Key: ServiceKey{Fwmark: 7}, Scheduler: "wlc", Health: &Health{OnFailure: Quiesce, Quorum: 1, Notify: up},
			Servers: []Server{{Addr: addr("10.0.0.1"), Port: 80, Forward: NAT, Weight: 1, Checks: []HealthCheck{secure}}}},
		{Key: ServiceKey{Fwmark: 8}, Scheduler: "wlc", Health: &Health{OnFailure: Quiesce, Quorum: 1, Notify: up}},
	}
	for i := range want {
		if !reflect.DeepEqual(c.Services[i], want[i]) {
			t.Errorf("service %d:\n got %+v, health %+v\nwant %+v, health %+v", i, c.Services[i], c.Services[i].Health, want[i], want[i].Health)
		}
	}
}

// [check] and [health] make no service checked.
func TestDefaultsCheckNothing(t *testing.T) {
	c := parse(t, "[check]\ninterval = 3\n[health]\nslow_start = 3\n[[service]]\nfwmark = 1\n")
	if c.Services[0].Health != nil {
		t.Errorf("checked: %+v", c.Services[0].Health)
	}
}

func TestHealthWarnings(t *testing.T) {
	text := `port = [{ name = "eth0" }]
[[service]]
listen = "tcp/192.0.2.1:80"
forward = "nat"
server = [{ address = "10.0.0.1", weight = 2 }]
health = { quorum = 3 }
check = { type = "tcp", retry_delay = "6s" }
[[service]]
listen = "tcp/192.0.2.1:81"
forward = "nat"
server = [{ address = "10.0.0.1", weight = 3 }]
health = { quorum = 3, hysteresis = 1 }
check = { type = "tcp" }
[[service]]
listen = "tcp/192.0.2.1:82"
forward = "nat"
server = [{ address = "10.0.0.1" }]
health = {}
`
	_, warnings, err := Check("w.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := `w.toml:6: service[0] "tcp/192.0.2.1:80".health.quorum: is 3, and the weights of all servers make 2: the service is never up
w.toml:7: service[0] "tcp/192.0.2.1:80".check.retry_delay: is 6s, longer than the interval, 5s: a server in doubt is asked less often
w.toml:12: service[1] "tcp/192.0.2.1:81".health.hysteresis: makes the service come up at weight 4, and the weights of all servers make 3: once down, it stays down
w.toml:18: service[2] "tcp/192.0.2.1:82".health: has no check, so the servers always count as up`
	if got := warnings.Error(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"there": 0o600, "run": 0o700} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.ReplaceAll(`
[[service]]
fwmark = 1
health.notify = { up = "DIR/run", down = ["DIR/there", "-v"], any = "DIR/none" }
check = { type = "https", tls = { verify = true, ca = "DIR", cert = "DIR/there", key = "DIR/none" } }
  [[service.server]]
  address = "10.0.0.1:80"
  forward = "dr"
  check = [{ type = "redis", password_file = "DIR/none" }, { type = "script", command = "DIR/none" }, { type = "file", path = "DIR/none" }]
`, "DIR", dir)
	data := []byte(strings.Replace(text, `"10.0.0.1:80"`, `"10.0.0.1"`, 1))
	cfg, err := Parse("m.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`m.toml:4: service[0] "fwmark 1".health.notify.any: stat DIR/none: no such file or directory
m.toml:4: service[0] "fwmark 1".health.notify.down: DIR/there cannot be executed
m.toml:5: service[0] "fwmark 1".check.tls.ca: DIR is not a file
m.toml:5: service[0] "fwmark 1".check.tls.key: stat DIR/none: no such file or directory
m.toml:9: service[0] "fwmark 1".server[0] "10.0.0.1".check[0] "redis".password_file: stat DIR/none: no such file or directory
m.toml:9: service[0] "fwmark 1".server[0] "10.0.0.1".check[1] "script".command: stat DIR/none: no such file or directory`, "DIR", dir)
	if got := MissingFiles("m.toml", data, cfg).Error(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// A state that did not come from a file may hold what a file cannot say.
func TestHealthWithoutFile(t *testing.T) {
	c := parse(t, "[[service]]\nlisten = \"tcp/192.0.2.1:80\"\nforward = \"nat\"\nserver = [{ address = \"10.0.0.1\" }]\ncheck = { type = \"tcp\" }")
	h := c.Services[0].Health
	p := &h.Checks[0].Probe
	p.Path, p.Dynamic, p.TLS, p.Via, p.Send = "/", true, TLS{Verify: true}, 7, strings.Repeat("x", maxText+1)
	h.Sorry = &Server{Addr: addr("10.0.0.9"), Port: 80, Weight: 7}
	h.OnFailure, h.Templates, h.Connections = 5, 5, 5
	h.Notify.MailFrom = "x"
	h.Hysteresis = -1
	want := `service[0] "tcp/192.0.2.1:80".check[0] "tcp".dynamic: is not for type = "tcp"; it is a key of script
service[0] "tcp/192.0.2.1:80".check[0] "tcp".path: is not for type = "tcp"; it is a key of http, https, fastcgi, file
service[0] "tcp/192.0.2.1:80".check[0] "tcp".send: has 4097 bytes; write at most 4096
service[0] "tcp/192.0.2.1:80".check[0] "tcp".tls: says how to encrypt, and its mode is off; write mode = "on", or remove the table
service[0] "tcp/192.0.2.1:80".check[0] "tcp".via: is way 7; one of server, service
service[0] "tcp/192.0.2.1:80".health.connections: is fate 5; one of keep, reset
service[0] "tcp/192.0.2.1:80".health.hysteresis: is -1; write a number from 0 to 0, one below quorum
service[0] "tcp/192.0.2.1:80".health.notify: says how to send mail, and to nobody; write mail, or remove it
service[0] "tcp/192.0.2.1:80".health.on_failure: is consequence 5; one of remove, quiesce
service[0] "tcp/192.0.2.1:80".health.sorry_server.weight: is 7; a sorry server's is 1
service[0] "tcp/192.0.2.1:80".health.templates: is fate 5; one of keep, forget`
	if got := Validate(c); got == nil || got.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", got, want)
	}
}

// Each key of a check belongs to a type, and those that a type does not have are refused.
func TestForeignKeysAreRefused(t *testing.T) {
	values := map[string]string{"dynamic": "true", "tls": "{}", "port": "1", "via": `"server"`, "address": `"10.0.0.1"`}
	all := []string{"dynamic", "tls", "port", "via", "address"}
	for _, k := range probeKeys {
		values[k.name] = `"x"`
		all = append(all, k.name)
	}
	refused := 0
	for _, typ := range probeTypes {
		for _, key := range all {
			_, err := Parse("f.toml", []byte("[[service]]\nfwmark = 1\n[service.check]\ntype = \""+string(typ)+"\"\n"+key+" = "+values[key]+"\n"))
			foreign := err != nil && strings.Contains(err.Error(), `f.toml:5: service[0] "fwmark 1".check.`+key+": is not for type")
			if want := !slices.Contains(typ.keys(), key); foreign != want {
				t.Errorf("%s of %s: %v", key, typ, err)
			} else if want {
				refused++
			}
		}
	}
	if refused < 300 {
		t.Errorf("only %d refused", refused)
	}
}
