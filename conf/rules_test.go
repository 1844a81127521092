package conf

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// valid is a state to break.
const valid = `
[director]
host_port = "tun0"
[[port]]
name = "eth0"
addresses = ["192.0.2.2/24", "2001:db8::2/64"]
[[port]]
name = "tun0"
driver = "tun"
[[route]]
dest = "10.0.0.0/8"
via = "192.0.2.1"
port = "eth0"
src = "192.0.2.2"
[[neighbor]]
address = "192.0.2.1"
mac = "02:00:00:00:00:01"
port = "eth0"
[[mark]]
proto = "tcp"
source = "10.0.0.0/8"
destination = "198.51.100.0/24"
sport = "1-2"
dport = 80
in_port = "eth0"
value = 1
[[service]]
name = "web"
listen = "tcp/198.51.100.1:80"
scheduler = "sh"
flags = ["sh-port"]
persistence = { netmask = 24 }
forward = "nat"
  [[service.server]]
  name = "one"
  address = "10.0.0.1"
  upper = 10
  [[service.server]]
  address = "2001:db8::10"
  forward = "tun"
  tunnel = { type = "gre", checksum = "full" }
[[service]]
fwmark = 1
family = "ipv6"
one_packet = true
persistence = { engine = "sip" }
`

// Each rule alone: one edit of a valid state, and the keys that Validate names for it.
func TestEachRule(t *testing.T) {
	web := func(c *Config) *Service { return &c.Services[0] }
	one := func(c *Config) *Server { return &c.Services[0].Servers[0] }
	two := func(c *Config) *Server { return &c.Services[0].Servers[1] }
	for _, row := range []struct {
		edit func(*Config)
		want string // keys, without names
	}{
		{func(c *Config) {}, ""},
		{func(c *Config) { c.Director.Name = "" }, "director.name"},
		{func(c *Config) { c.Director.Name = "1st" }, "director.name"},
		{func(c *Config) { c.Director.Name = strings.Repeat("a", 33) }, "director.name"},
		{func(c *Config) { c.Director.Name = strings.Repeat("a", 32) }, ""},
		{func(c *Config) { c.Director.Workers = -1 }, "director.workers"},
		{func(c *Config) { c.Director.Workers = 256 }, ""},
		{func(c *Config) { c.Director.Announce = -1 }, "director.announce"},
		{func(c *Config) { c.Director.Control = "/" + strings.Repeat("a", 107) }, "director.control"},
		{func(c *Config) { c.Director.Control = "/" + strings.Repeat("a", 106) }, ""},
		{func(c *Config) { c.Director.Control = "/a\x00b" }, "director.control"},
		{func(c *Config) { c.Director.HostPort = "eth9" }, "director.host_port"},
		{func(c *Config) { c.Ports[0].Name = "eth 0" }, "mark[0].in_port neighbor[0].port port[0].name route[0].port"},
		{func(c *Config) { c.Ports[0].Driver = 9 }, "port[0].driver"},
		{func(c *Config) { c.Ports[0].Guard = 9 }, "port[0].guard"},
		{func(c *Config) { c.Ports[0].MTU = 65536 }, "port[0].mtu"},
		{func(c *Config) { c.Ports[0].MTU = 65535 }, ""},
		{func(c *Config) { c.Ports[0].RingSlots = 4 }, "port[0].ring_slots"},
		{func(c *Config) { c.Ports[0].RingSlots = 65536 }, "port[0].ring_slots"},
		{func(c *Config) { c.Ports[0].Mode = BlocksMode + 1 }, "port[0].mode"},
		{func(c *Config) {
			c.Ports = append(c.Ports, Port{Name: "host0", Driver: TUN, RingSlots: 64, Mode: BatchMode})
		}, "port[2].mode"},
		{func(c *Config) { c.Ports[0].Latency = Throughput + 1 }, "port[0].latency"},
		{func(c *Config) { c.Ports[0].BusyPoll = -1 }, "port[0].busy_poll"},
		{func(c *Config) { c.Ports[0].BusyPoll = maxBusyPoll + 1 }, "port[0].busy_poll"},
		{func(c *Config) { c.Ports[0].Addresses[1] = prefix("ff02::1/64") }, "port[0].addresses[1]"},
		{func(c *Config) { c.Ports[1].Addresses = []netip.Prefix{{}} }, "port[1].addresses[0]"},
		{func(c *Config) { c.Routes[0].Via = addr("fe80::1%eth0") }, "route[0].via"},
		{func(c *Config) { c.Routes[0].Via = addr("::ffff:192.0.2.1") }, "route[0].via"},
		{func(c *Config) { c.Routes[0].Src = addr("255.255.255.255") }, "route[0].src"},
		{func(c *Config) { c.Routes[0].Src = addr("2001:db8::2") }, "route[0].src"},
		{func(c *Config) { c.Routes[0].Dest = prefix("::ffff:10.0.0.0/104") }, "route[0].dest"},
		{func(c *Config) { c.Routes[0].MTU = 67 }, "route[0].mtu"},
		{func(c *Config) { c.Routes[0] = Route{Dest: c.Routes[0].Dest, Kind: Unreachable} }, ""},
		{func(c *Config) {
			c.Routes[0] = Route{Dest: c.Routes[0].Dest, Kind: LocalRoute, Via: addr("192.0.2.254"), Port: c.Ports[0].Name, Src: addr("192.0.2.3"), MTU: 1400}
		}, "route[0].mtu route[0].port route[0].src route[0].via"},
		{func(c *Config) { c.Routes[0].Kind = 9 }, "route[0].type"},
		{func(c *Config) { c.Routes[0].Port = "" }, ""},
		{func(c *Config) { c.Routes[0].Via = netip.Addr{} }, ""},
		{func(c *Config) { c.Routes[0].Port, c.Routes[0].Via = "", netip.Addr{} }, "route[0]"},
		{func(c *Config) { c.Neighbors[0].Port = "tun0" }, "neighbor[0].port"},
		{func(c *Config) { c.Neighbors[0].Address = netip.Addr{} }, "neighbor[0].address"},
		{func(c *Config) { c.Neighbors[0].Address = addr("fe80::1%eth0") }, "neighbor[0].address"},
		{func(c *Config) { c.Neighbors[0].Address = addr("::ffff:192.0.2.1") }, "neighbor[0].address"},
		{func(c *Config) { c.Neighbors[0].MAC = [6]byte{} }, "neighbor[0].mac"},
		{func(c *Config) { c.Neighbors = append(c.Neighbors, c.Neighbors[0]) }, "neighbor[1].address"},
		{func(c *Config) { c.Conntrack.MaxConnections = 1<<30 + 1 }, "conntrack.max_connections"},
		{func(c *Config) { c.Conntrack.TCP = 1500 * time.Millisecond }, "conntrack.timeouts.tcp"},
		{func(c *Config) { c.Conntrack.TCPFin = 2678400 * time.Second }, ""},
		{func(c *Config) { c.Conntrack.TCPFin = 2678401 * time.Second }, "conntrack.timeouts.tcpfin"},
		{func(c *Config) { c.Sysctl.DropPacket = 4 }, "sysctl.drop_packet"},
		{func(c *Config) { c.Sysctl.LBLCRExpiration = 0 }, "sysctl.lblcr_expiration"},
		{func(c *Config) { c.Marks[0].AnyFamily = true }, "mark[0].destination[0] mark[0].source[0]"},
		{func(c *Config) { c.Marks[0].Dest[0] = prefix("198.51.100.1/24") }, "mark[0].destination[0]"},
		{func(c *Config) { c.Marks[0].Proto = 1 }, "mark[0].dport mark[0].sport"},
		{func(c *Config) { c.Marks[0].SourcePorts[0] = PortRange{2, 1} }, "mark[0].sport[0]"},
		{func(c *Config) { c.Marks[0].SourcePorts[0] = PortRange{2, 2} }, ""},
		{func(c *Config) { web(c).Name = "a\nb" }, "service[0].name"},
		{func(c *Config) { web(c).Name = "\xff" }, "service[0].name"},
		{func(c *Config) { web(c).Name = strings.Repeat("a", 101) }, "service[0].name"},
		{func(c *Config) { c.Services[1].Name = "web" }, "service[1].name"},
		{func(c *Config) { c.Services[1].Key = web(c).Key; c.Services[1].OnePacket = false }, "service[1].listen"},
		{func(c *Config) { web(c).Key.Proto = 1 }, "service[0].listen"},
		{func(c *Config) { web(c).Key.Addr = netip.Addr{} }, "service[0].listen"},
		{func(c *Config) { web(c).Key.Addr = addr("224.0.0.1") }, "service[0].listen"},
		{func(c *Config) { web(c).Key.Addr = addr("192.0.2.2") }, "service[0].listen"},
		{func(c *Config) { web(c).Key.Fwmark = 7 }, "service[0].fwmark"},
		{func(c *Config) { web(c).OnePacket = true }, "service[0].one_packet"},
		{func(c *Config) { web(c).Scheduler = "" }, "service[0].scheduler"},
		{func(c *Config) { web(c).SchedFlags = 8 }, "service[0].flags"},
		{func(c *Config) { web(c).Persistence.Netmask = addr("ffff::") }, "service[0].persistence.netmask"},
		{func(c *Config) { web(c).Persistence.Timeout = -time.Second }, "service[0].persistence.timeout"},
		{func(c *Config) { web(c).Persistence.Engine = "ftp" }, "service[0].persistence.engine"},
		{func(c *Config) { c.Services[1].Persistence.Prefix = 129 }, "service[1].persistence.netmask"},
		{func(c *Config) { c.Services[1].Persistence.Prefix = 128 }, ""},
		{func(c *Config) { two(c).Name = "one" }, "service[0].server[1].name"},
		{func(c *Config) { one(c).Name = strings.Repeat("a", 101) }, "service[0].server[0].name"},
		{func(c *Config) { one(c).Weight = 1 << 31 }, "service[0].server[0].weight"},
		{func(c *Config) { one(c).Weight = 1<<31 - 1 }, ""},
		{func(c *Config) { one(c).Upper = -1 }, "service[0].server[0].lower service[0].server[0].upper"},
		{func(c *Config) { one(c).Lower = 11 }, "service[0].server[0].lower"},
		{func(c *Config) { one(c).Lower = 10 }, ""},
		{func(c *Config) { one(c).Port = 8080 }, ""},
		{func(c *Config) { one(c).Port, one(c).Forward = 8080, DR }, "service[0].server[0].address"},
		{func(c *Config) { one(c).Port, one(c).Forward = 8080, Local }, "service[0].server[0].address"},
		{func(c *Config) { one(c).Port, one(c).Forward = 8080, FullNAT }, "service[0].server[0].forward"},
		{func(c *Config) { one(c).Addr = addr("2001:db8::1") }, "service[0].server[0].address"},
		{func(c *Config) { one(c).Addr = addr("::ffff:10.0.0.1") }, "service[0].server[0].address"},
		{func(c *Config) { two(c).Addr = addr("fe80::1") }, "service[0].server[1].address"},
		{func(c *Config) { two(c).Forward = NAT }, "service[0].server[1].address"},
		{func(c *Config) { two(c).TunType = 3 }, "service[0].server[1].tunnel.type"},
		{func(c *Config) { two(c).TunFlags = 3 }, "service[0].server[1].tunnel.checksum"},
		{func(c *Config) { two(c).TunType = TunIPIP }, "service[0].server[1].tunnel.checksum"},
		{func(c *Config) { two(c).TunPort = 6080 }, "service[0].server[1].tunnel.port"},
		{func(c *Config) { two(c).TunType = TunGUE }, "service[0].server[1].tunnel.port"},
		{func(c *Config) { web(c).Servers = append(web(c).Servers, *one(c)); web(c).Servers[2].Name = "" }, "service[0].server[2].address"},
	} {
		c := parse(t, valid)
		row.edit(c)
		p := new(problems)
		p.validate(c)
		var got []string
		for _, m := range p.found {
			got = append(got, m.path)
		}
		slices.Sort(got)
		if want := strings.Fields(row.want); !slices.Equal(got, want) {
			t.Errorf("%v: mistakes at %v, want %v", Diff(parse(t, valid), c), got, want)
		}
	}
}

// Each part of the model alone: an edit of one field is told as one change, and a
// clone does not share it.
func TestEachFieldIsAChange(t *testing.T) {
	for i, edit := range []func(*Config){
		func(c *Config) { c.Director.Announce++ },
		func(c *Config) { c.Director.FollowRoutes = false },
		func(c *Config) { c.Ports[0].Addresses[1] = prefix("2001:db8::3/64") },
		func(c *Config) { c.Ports[0].MAC = [6]byte{2} },
		func(c *Config) { c.Ports[0].Guard = GuardOff },
		func(c *Config) { c.Ports[0].Driver = PCAP },
		func(c *Config) { c.Ports[1].MTU = 99 },
		func(c *Config) { c.Ports[1].RingSlots = 64 },
		func(c *Config) { c.Routes[0].Via = addr("192.0.2.9") },
		func(c *Config) { c.Routes[0].Src = netip.Addr{} },
		func(c *Config) { c.Routes[0].MTU = 99 },
		func(c *Config) { c.Neighbors[0].MAC[5] = 9 },
		func(c *Config) { c.Conntrack.MaxConnections = 9 },
		func(c *Config) { c.Conntrack.TCPFin = time.Second },
		func(c *Config) { c.Sysctl.SloppySCTP = On },
		func(c *Config) { c.Marks[0].Source[0] = prefix("11.0.0.0/8") },
		func(c *Config) { c.Marks[0].Dest[0] = prefix("11.0.0.0/8") },
		func(c *Config) { c.Marks[0].SourcePorts[0].Last = 9 },
		func(c *Config) { c.Marks[0].DestPorts[0].First = 9 },
		func(c *Config) { c.Marks[0].InPort = "tun0" },
		func(c *Config) { c.Marks[0].Proto = 17 },
		func(c *Config) { c.Marks[0].Value = 9 },
		func(c *Config) { c.Marks[0].Mask = 9 },
		func(c *Config) { c.Services[0].Name = "www" },
		func(c *Config) { c.Services[0].Scheduler = "mh" },
		func(c *Config) { c.Services[0].SchedFlags = 1 },
		func(c *Config) { c.Services[1].OnePacket = false },
		func(c *Config) { c.Services[0].Persistence.Timeout = time.Hour },
		func(c *Config) { c.Services[0].Persistence.Netmask = addr("255.0.0.0") },
		func(c *Config) { c.Services[1].Persistence.Prefix = 64 },
		func(c *Config) { c.Services[1].Persistence.Engine = "" },
		func(c *Config) { c.Services[0].Servers[0].Name = "eins" },
		func(c *Config) { c.Services[0].Servers[0].Forward = Local },
		func(c *Config) { c.Services[0].Servers[0].Weight = 9 },
		func(c *Config) { c.Services[0].Servers[0].Upper = 9 },
		func(c *Config) { c.Services[0].Servers[0].Lower = 9 },
		func(c *Config) { c.Services[0].Servers[1].TunType, c.Services[0].Servers[1].TunPort = TunGUE, 9 },
		func(c *Config) { c.Services[0].Servers[1].TunFlags = 0 },
	} {
		old := parse(t, valid)
		edited := old.Clone()
		edit(edited)
		if !reflect.DeepEqual(old, parse(t, valid)) {
			t.Errorf("edit %d of a clone reached the original", i)
		}
		changes := Diff(old, edited)
		if len(changes) != 1 {
			t.Errorf("edit %d is told as %v", i, changes)
			continue
		}
		if !strings.Contains(changes[0].String(), " -> ") && !strings.HasPrefix(changes[0].String(), "replace") && !strings.HasPrefix(changes[0].String(), "set timeouts") {
			t.Errorf("edit %d does not say what changed: %v", i, changes[0])
		}
		got, err := Apply(old, changes)
		if err != nil || !reflect.DeepEqual(got, edited) {
			t.Errorf("edit %d, applied: %v\n got %+v\nwant %+v", i, err, got, edited)
		}
	}
}

// A mistake is told once and not again by what follows from it.
func TestOneMistakeIsToldOnce(t *testing.T) {
	for text, want := range map[string]string{
		"service = [{ listen = \"tcp/192.0.2.1:80\", server = [{ address = \"10.0.0.1\", forward = \"tun\", tunnel = { type = \"vxlan\", port = 9, checksum = \"full\" } }] }]": "service[0].server[0].tunnel.type",
		"service = [{ listen = \"tcp/192.0.2.1:80\", server = [{ address = \"2001:db8::1\", forward = \"tunn\", tunnel = { type = \"gue\" } }] }]":                              "service[0].server[0].forward",
		"service = [{ listen = \"tcp/192.0.2.1:80\", forward = \"drr\", server = [{ address = \"10.0.0.1:8080\" }, { address = \"2001:db8::1\" }] }]":                           "service[0].forward",
		"service = [{ listen = \"tpc/192.0.2.1:80\", forward = \"dr\", server = [{ address = \"2001:db8::1\" }], persistence = { netmask = 99 }, one_packet = true }]":          "service[0].listen",
		"service = [{ listen = \"tcp/192.0.2.1:80\", scheduler = \"ssh\", flags = [\"sh-port\", \"mh-port\"] }]":                                                                "service[0].scheduler",
		"service = [{ fwmark = -1 }, { fwmark = \"1\" }]":                                                                       "service[0].fwmark service[1].fwmark",
		"service = [{ fwmark = 1, listen = \"tcp/192.0.2.1:0\" }]":                                                              "service[0].fwmark",
		"service = [{ fwmark = 1, family = \"ip6\" }]":                                                                          "service[0].family",
		"service = [{ listen = \"tcp/192.0.2.1:80\", family = \"ipv4\" }]":                                                      "service[0].family",
		"service = [{ listen = \"tcp/192.0.2.1:80\", forward = \"nat\", server = [{ address = 1 }, { address = \"x\" }, {}] }]": "service[0].server[0].address service[0].server[1].address service[0].server[2].address",
		"service = [{ listen = \"tcp/192.0.2.1:80\", flags = [] }]":                                                             "service[0].flags",
		"route = [{ dest = \"10.0.0.0/8\", type = \"lokal\" }]":                                                                 "route[0].type",
		"route = [{ dest = \"10.0.0.0/8\", via = 1 }]":                                                                          "route[0].via",
		"route = [{ dest = \"10.0.0.0\", via = \"10.0.0.300\" }, { dest = \"0/0\", via = \"10.0.0.1\" }]":                       "route[0].via route[1].dest",
		"port = [{ name = 1 }, { name = 2 }]":                                                                                   "port[0].name port[1].name",
		"port = [{ name = \"eth0\", addresses = [\"x\", 5] }]":                                                                  "port[0].addresses[0] port[0].addresses[1]",
		"neighbor = [{ address = \"x\", mac = 5, port = [] }]":                                                                  "neighbor[0].address neighbor[0].mac neighbor[0].port",
		"mark = [{ proto = \"tpc\", dport = 80, source = \"x\", value = 1 }]":                                                   "mark[0].proto mark[0].source[0]",
		"mark = [{ proto = 256, value = \"1/2/3\" }]":                                                                           "mark[0].proto mark[0].value",
		"mark = 1\nservice = \"x\"\nconntrack = []":                                                                             "conntrack mark service",
		"conntrack = { timeouts = { tcp = \"x\", udp = 1.5 } }":                                                                 "conntrack.timeouts.tcp conntrack.timeouts.udp",
	} {
		_, err := Parse("f", []byte(text))
		var es Errors
		errors.As(err, &es)
		var got []string
		for _, e := range es {
			key, quoted := "", false // the key without names
			for _, r := range strings.ReplaceAll(e.Key, " \"", "\"") {
				if r == '"' {
					quoted = !quoted
				} else if !quoted {
					key += string(r)
				}
			}
			got = append(got, key)
		}
		slices.Sort(got)
		if fields := strings.Fields(want); !slices.EqualFunc(got, fields, func(g, w string) bool { return g == w || g+"[0]" == w }) {
			t.Errorf("%s:\n got %v\nwant %v\n%v", text, got, fields, err)
		}
	}
}

// Times in their spellings; a number whose nanoseconds overflow to a minute is no
// minute.
func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`"6m"`: 6 * time.Minute, `"360s"`: 6 * time.Minute, "360": 6 * time.Minute, `"1h30m"`: 90 * time.Minute, `"6m0s"`: 6 * time.Minute,
	} {
		if got := parse(t, "[conntrack]\ntimeouts.tcp = "+text).Conntrack.TCP; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{`""`, `"6"`, `"6 m"`, `"1d"`, "-1", "1.5", "true", "36028797018964028", `"9999999h"`} {
		if _, err := Parse("f", []byte("[conntrack]\ntimeouts.tcp = "+text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

// Marks as iptables 1.8.9 saves them: --set-mark V/M is V under the mask M|V.
func TestMarkValues(t *testing.T) {
	for text, want := range map[string][2]uint32{
		"5": {5, 0xffffffff}, `"5"`: {5, 0xffffffff}, `"0x30/0xf0"`: {0x30, 0xf0}, `"2/0xf"`: {2, 0xf},
		`"0x30/0xf"`: {0x30, 0x3f}, `"010"`: {8, 0xffffffff}, "4294967295": {0xffffffff, 0xffffffff}, `"0/0xff"`: {0, 0xff},
	} {
		c := parse(t, "[[mark]]\nvalue = "+text)
		if got := [2]uint32{c.Marks[0].Value, c.Marks[0].Mask}; got != want {
			t.Errorf("%s: %#x, want %#x", text, got, want)
		}
	}
	for _, text := range []string{"-1", "4294967296", `""`, `"/1"`, `"1/"`, `"x"`, `"1_0"`, "1.5", `" 1"`, `"+1"`, `"0x1/0x1ffffffff"`} {
		if _, err := Parse("f", []byte("[[mark]]\nvalue = "+text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

// The canonical text, by hand: only what is not a default, each thing in its one form.
func TestCanonicalText(t *testing.T) {
	c := parse(t, valid)
	c.Conntrack.UDP = 90 * time.Second
	c.Sysctl.ExpireNodestConn = On
	c.Services[0].Servers[0].Weight = 0
	want := `[director]
host_port = "tun0"

[[port]]
name = "eth0"
addresses = ["192.0.2.2/24", "2001:db8::2/64"]

[[port]]
name = "tun0"
driver = "tun"

[[route]]
dest = "10.0.0.0/8"
via = "192.0.2.1"
port = "eth0"
src = "192.0.2.2"

[[neighbor]]
address = "192.0.2.1"
mac = "02:00:00:00:00:01"
port = "eth0"

[conntrack]
timeouts = { udp = "90s" }

[sysctl]
expire_nodest_conn = true

[[mark]]
proto = "tcp"
source = "10.0.0.0/8"
destination = "198.51.100.0/24"
sport = "1-2"
dport = 80
in_port = "eth0"
value = 1

[[service]]
name = "web"
listen = "tcp/198.51.100.1:80"
scheduler = "sh"
flags = ["sh-port"]
persistence = { netmask = 24 }
forward = "nat"
  [[service.server]]
  name = "one"
  address = "10.0.0.1:80"
  weight = 0
  upper = 10
  [[service.server]]
  address = "[2001:db8::10]:80"
  forward = "tun"
  tunnel = { type = "gre", checksum = "full" }

[[service]]
fwmark = 1
family = "ipv6"
one_packet = true
persistence = { engine = "sip" }
`
	if got := string(c.TOML()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
