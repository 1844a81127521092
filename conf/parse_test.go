package conf

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// parse is Parse of a text that must be valid.
func parse(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, text)
	}
	return cfg
}

// The .bad.txt beside each .bad.toml says every mistake the file was written to have.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(strings.TrimSuffix(file, ".toml") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := Load(file)
			var es Errors
			if !errors.As(err, &es) || cfg != nil {
				t.Fatalf("got %v, %v; want Errors and no state", cfg, err)
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), "testdata/", ""), "\n")
			lines := strings.Split(strings.TrimSpace(string(want)), "\n")
			for i := range max(len(got), len(lines)) {
				var g, w string
				if i < len(got) {
					g = got[i]
				}
				if i < len(lines) {
					w = lines[i]
				}
				if g != w {
					t.Fatalf("line %d:\n got %s\nwant %s", i+1, g, w)
				}
			}
		})
	}
}

func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.good.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			cfg, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			again := parse(t, string(cfg.TOML()))
			if !reflect.DeepEqual(cfg, again) {
				t.Errorf("written and read again it differs:\n%+v\n%+v", cfg, again)
			}
		})
	}
}

// nat.good.toml is the example every manual begins with; its state by hand.
func TestNATExample(t *testing.T) {
	want := &Config{
		Director: Director{Name: "dirigo", Control: "/run/dirigo/control.sock", FollowRoutes: true, Announce: 2},
		Ports:    []Port{{Name: "eth0", RingSlots: 8192, BusyPoll: 50 * time.Microsecond}, {Name: "eth1", RingSlots: 8192, BusyPoll: 50 * time.Microsecond}},
		Conntrack: Conntrack{
			MaxConnections: 1000000, TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second,
		},
		// the values a fresh kernel shows under net.ipv4.vs
		Sysctl: Sysctl{
			ConnReuseMode: 1, PMTUDisc: On, AmDroprate: 10, Amemthresh: 1024, RunEstimation: On,
			LBLCExpiration: 86400 * time.Second, LBLCRExpiration: 86400 * time.Second, idle: defaultSysctl().idle,
		},
		Services: []Service{{
			Name:        "web",
			Key:         ServiceKey{Proto: packet.TCP, Addr: addr("192.168.4.5"), Port: 80},
			Scheduler:   "wrr",
			Persistence: Persistence{Timeout: 360 * time.Second},
			Servers: []Server{
				{Addr: addr("192.168.2.100"), Port: 80, Weight: 1},
				{Addr: addr("192.168.2.200"), Port: 80, Weight: 2},
			},
		}},
	}
	for _, file := range []string{"testdata/nat.good.toml", "testdata/spelling.good.toml"} {
		got, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", file, got, want)
		}
	}
}

// The other examples, value by value where the spelling and the model differ.
func TestMarksExample(t *testing.T) {
	c, err := Load("testdata/marks.good.toml")
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	check("director", c.Director, Director{Name: "lb_1", Workers: 2, Control: "/run/dirigo/control.sock", Announce: 5, HostPort: "host0"})
	check("ports", c.Ports, []Port{
		{Name: "eth0", Guard: GuardOff, Addresses: []netip.Prefix{prefix("192.0.2.2/24"), prefix("2001:db8:1::2/64")}, RingSlots: 1024, BusyPoll: 50 * time.Microsecond},
		{Name: "host0", Driver: TUN, Addresses: []netip.Prefix{prefix("10.255.0.1/30")}, MTU: 1400, RingSlots: 8192, BusyPoll: 50 * time.Microsecond},
	})
	check("routes", c.Routes, []Route{
		{Dest: prefix("0.0.0.0/0"), Via: addr("192.0.2.254"), Port: "eth0", Src: addr("192.0.2.2")},
		{Dest: prefix("2001:db8:ffff::1/128"), Via: addr("fe80::1"), Port: "eth0"},
	})
	check("neighbours", c.Neighbors, []Neighbor{{Address: addr("192.0.2.254"), MAC: [6]byte{2, 0, 0, 0, 1, 0xfe}, Port: "eth0"}})
	check("tcp", c.Conntrack.TCP, 100*time.Second)
	check("tcpfin", c.Conntrack.TCPFin, 90*time.Second)
	check("sysctl", c.Sysctl, Sysctl{
		ConnReuseMode: 1, ExpireNodestConn: On, DropEntry: 3, AmDroprate: 10, Amemthresh: -1, RunEstimation: On,
		LBLCExpiration: time.Minute, LBLCRExpiration: 24 * time.Hour, idle: defaultSysctl().idle,
	})
	check("marks", c.Marks, []Mark{
		{Proto: packet.TCP, Dest: []netip.Prefix{prefix("198.51.100.80/32")},
			DestPorts: []PortRange{{80, 80}, {443, 443}, {8000, 8100}}, Value: 1, Mask: 0xffffffff},
		{V6: true, Dest: []netip.Prefix{prefix("2001:db8:80::/64"), prefix("2001:db8:81::1/128")}, InPort: "eth0", Value: 0x30, Mask: 0xf0},
		{V6: true, Proto: 89, Value: 3, Mask: 0xf},
	})
	check("services", c.Services, []Service{
		{Key: ServiceKey{Fwmark: 1}, Scheduler: "sh", SchedFlags: SchedFlag1 | SchedFlag2, Servers: []Server{
			{Addr: addr("192.0.2.11"), Forward: DR, Weight: 1},
			{Addr: addr("192.0.2.12"), Port: 8080, Forward: NAT},
		}},
		{Name: "six", Key: ServiceKey{Fwmark: 0x33, V6: true}, Scheduler: "wlc",
			Persistence: Persistence{Timeout: 6 * time.Minute, Prefix: 64},
			Servers:     []Server{{Name: "here", Addr: addr("2001:db8:1::2"), Forward: Local, Weight: 1}}},
	})
}

func TestTunnelsExample(t *testing.T) {
	c, err := Load("testdata/tunnels.good.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := []Service{
		{Key: ServiceKey{Proto: packet.TCP, Addr: addr("2001:db8::80"), Port: 443}, Scheduler: "wlc", Servers: []Server{
			{Addr: addr("192.168.2.1"), Port: 443, Forward: Tunnel, Weight: 1},
			{Addr: addr("2001:db8:2::1"), Port: 443, Forward: Tunnel, Weight: 1, TunType: TunGUE, TunPort: 6080, TunFlags: 2},
			{Addr: addr("2001:db8:2::2"), Port: 443, Forward: Tunnel, Weight: 1, TunType: TunGRE, TunFlags: 1, Upper: 1000, Lower: 800},
		}},
		{Key: ServiceKey{Proto: packet.UDP, Addr: addr("192.0.2.80")}, Scheduler: "wlc", OnePacket: true,
			Persistence: Persistence{Timeout: time.Hour, Netmask: addr("255.0.255.0"), Engine: "sip"},
			Servers:     []Server{{Addr: addr("192.168.2.1"), Forward: DR, Weight: 1}}},
		{Key: ServiceKey{Proto: packet.SCTP, Addr: addr("192.0.2.80")}, Scheduler: "none",
			Persistence: Persistence{Timeout: 6 * time.Minute}},
	}
	if !reflect.DeepEqual(c.Services, want) {
		t.Errorf("got %+v\nwant %+v", c.Services, want)
	}
}

// A text that is not TOML has one mistake, with its line, whoever finds it.
func TestSyntaxErrors(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		line int
	}{
		"no value":          {"[director]\nname =\n", 2},
		"open string":       {"\n\n[director]\nname = \"x\n", 4},
		"key twice":         {"[conntrack]\nmax_connections = 1\nmax_connections = 2\n", 3},
		"table twice":       {"[sysctl]\n[sysctl]\n", 2},
		"array after table": {"[port]\n[[port]]\n", 2},
		"escape at end":     {"a = 1\nb = \"\\", 2},
		"only an escape":    {"\"\\", 1},
		"escape in a text":  {"a = 1\nb = \"\"\"\n\nx\\q\"\"\"\n", 4},
		"stray bracket":     {"]", 1},
		"not UTF-8":         {"# fine\nname = \"\xff\"\n", 2},
	} {
		_, err := Parse("f.toml", []byte(row.text))
		var es Errors
		if !errors.As(err, &es) || len(es) != 1 {
			t.Errorf("%s: got %v, want one error", name, err)
			continue
		}
		if es[0].Line != row.line || !strings.HasPrefix(es[0].Msg, "not TOML: ") || strings.Contains(es[0].Msg, "f.toml") {
			t.Errorf("%s: got %v, want line %d and \"not TOML: \"", name, es[0], row.line)
		}
	}
}

func TestLoadOfMissingFile(t *testing.T) {
	_, err := Load("testdata/missing.toml")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	if want := "testdata/missing.toml: cannot be read: no such file or directory"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// An empty file is a director with all defaults.
func TestEmptyFileIsDefault(t *testing.T) {
	if got := parse(t, ""); !reflect.DeepEqual(got, Default()) {
		t.Errorf("got %+v, want %+v", got, Default())
	}
	if got := string(Default().TOML()); got != "" {
		t.Errorf("the defaults are written as %q, want nothing", got)
	}
}

// listen is written in every way that names the same service.
func TestListenSpellings(t *testing.T) {
	for text, want := range map[string]ServiceKey{
		"tcp/192.0.2.1:80":        {Proto: 6, Addr: addr("192.0.2.1"), Port: 80},
		"udp/[2001:db8::1]:53":    {Proto: 17, Addr: addr("2001:db8::1"), Port: 53},
		"sctp/192.0.2.1:65535":    {Proto: 132, Addr: addr("192.0.2.1"), Port: 65535},
		"tcp/192.0.2.1":           {Proto: 6, Addr: addr("192.0.2.1")},
		"tcp/192.0.2.1:0":         {Proto: 6, Addr: addr("192.0.2.1")},
		"tcp/192.0.2.1:*":         {Proto: 6, Addr: addr("192.0.2.1")},
		"tcp/2001:db8::1":         {Proto: 6, Addr: addr("2001:db8::1")},
		"tcp/[2001:db8::1]":       {Proto: 6, Addr: addr("2001:db8::1")},
		"tcp/[2001:db8::1]:*":     {Proto: 6, Addr: addr("2001:db8::1")},
		"tcp/2001:0db8:0::1":      {Proto: 6, Addr: addr("2001:db8::1")},
		"udp/[2001:db8:0:0::1]:0": {Proto: 17, Addr: addr("2001:db8::1")},
	} {
		got, err := parseListen(text)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := parseListen(got.String()); err != nil || again != got {
			t.Errorf("%s: String %q is read as %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{
		"", "192.0.2.1:80", "icmp/192.0.2.1:80", "tcp/", "tcp/:80", "tcp/192.0.2.1:", "tcp/192.0.2.1:65536", "tcp/192.0.2.1:-1",
		"tcp/192.0.2.1:http", "tcp/192.0.2.1:+80", "tcp/192.0.2.300:80", "tcp/[192.0.2.1]:80", "tcp/[2001:db8::1", "tcp/[]:80", "tcp/[:80",
		"TCP/192.0.2.1:80", "tcp/192.0.2.1 :80", "tcp/example.org:80", "tcp/192.0.2.1:80:80",
	} {
		if k, err := parseListen(text); err == nil {
			t.Errorf("%q is taken as %v", text, k)
		}
	}
}

// A server without a port has the service's; of a fwmark service, none.
func TestServerPortDefaults(t *testing.T) {
	for service, want := range map[string]uint16{
		`listen = "tcp/192.0.2.1:80"`:                  80,
		`fwmark = 1`:                                   0,
		"listen = \"tcp/192.0.2.1\"\npersistence = {}": 0,
	} {
		c := parse(t, "[[service]]\nforward = \"nat\"\nserver = [{ address = \"10.0.0.1\" }]\n"+service)
		if got := c.Services[0].Servers[0].Port; got != want {
			t.Errorf("%s: port %d, want %d", service, got, want)
		}
	}
}

// The one port of a director need not be named for each neighbour.
func TestNeighborPortDefault(t *testing.T) {
	c := parse(t, "neighbor = [{ address = \"192.0.2.1\", mac = \"02:00:00:00:00:01\" }]\nport = [{ name = \"eth0\" }]")
	if got := c.Neighbors[0].Port; got != "eth0" {
		t.Errorf("port %q, want eth0", got)
	}
}
