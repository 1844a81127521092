package conf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What is allowed and yet probably a mistake is said, with its line.
func TestWarnings(t *testing.T) {
	_, warnings, err := Check("w.toml", []byte(`
[[port]]
name = "tun0"
driver = "tun"
addresses = "192.0.2.2/24"
[[route]]
dest = "0.0.0.0/0"
via = "198.51.100.1"
[[route]]
dest = "10.0.0.0/8"
via = "192.0.2.1"
[[service]]
listen = "tcp/203.0.113.1"
persistence = { engine = "sip" }
scheduler = "rr"
flags = "flag-1"
forward = "nat"
  [[service.server]]
  address = "10.0.0.1:8080"
  [[service.server]]
  address = "10.0.0.2"
  forward = "dr"
  [[service.server]]
  address = "10.0.0.3"
  forward = "local"
[[service]]
listen = "udp/203.0.113.1:53"
one_packet = true
persistence = { timeout = 0, engine = "sip" }
forward = "nat"
server = [{ address = "10.0.0.1" }]
[[service]]
listen = "udp/203.0.113.1:54"
[[service]]
listen = "tcp/203.0.113.1:55"
redispatch = 2
[[service.server]]
address = "10.0.0.1"
forward = "nat"
[[service.server]]
address = "10.0.0.2"
forward = "tun"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := `w.toml:8: route[0].via: 198.51.100.1 is in no network of any port
w.toml:14: service[0] "tcp/203.0.113.1:*".persistence.engine: sip reads UDP only, so every packet of this service is dropped
w.toml:16: service[0] "tcp/203.0.113.1:*".flags: have no effect on rr; sh and mh have flags
w.toml:19: service[0] "tcp/203.0.113.1:*".server[0] "10.0.0.1:8080".address: the port 8080 is never used: a service for all ports keeps the client's
w.toml:22: service[0] "tcp/203.0.113.1:*".server[1] "10.0.0.2".forward: dr needs a port with Ethernet; all ports have driver = "tun"
w.toml:25: service[0] "tcp/203.0.113.1:*".server[2] "10.0.0.3".forward: local needs director.host_port, the way to the host's own stack: one is made only where a port has its guard on
w.toml:29: service[1] "udp/203.0.113.1:53".persistence.engine: sip has no effect without a timeout
w.toml:31: service[1] "udp/203.0.113.1:53".server[0] "10.0.0.1:53".forward: replies of a NAT server are not translated with one_packet; dr or tun servers answer by themselves
w.toml:32: service[2] "udp/203.0.113.1:54": has no server, so every client is refused
w.toml:42: service[3] "tcp/203.0.113.1:55".server[1] "10.0.0.2:55".forward: answers of a tun server do not come by the director, which can keep none of its refusals from clients: redispatch is for nat`
	if got := warnings.Error(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := Warnings(Default()).Error(); got != "port: there is no [[port]], so no frame comes in" {
		t.Errorf("of no port: %q", got)
	}
}

// Marks and fwmark services that cannot meet are said; those that may are not. A rule
// is "value/mask" with an optional family, a service its mark.
func TestMarkWarnings(t *testing.T) {
	for _, row := range []struct {
		rules, services string
		want            string // paths with a warning
	}{
		{"1", "1", ""},
		{"1", "2", "mark[0].value service[0].fwmark"},
		{"1 2", "2", "mark[0].value"},
		{"", "7", "service[0].fwmark"},
		{"0x30/0xf0 0x3/0xf", "51", ""},                                // 0x33 of two parts
		{"0x30/0xf0 0x3/0xf", "35", "mark[0].value service[0].fwmark"}, // 0x23: the first cannot
		{"0x20 0x3/0xf", "35", ""},                                     // a whole mark, then a part of it
		{"0x33 0x3/0xf", "35", "mark[0].value service[0].fwmark"},
		{"0x3/0xf 0x20", "35", "mark[1].value"}, // the whole mark comes last; in doubt the rest is not told
		{"0", "1", "service[0].fwmark"},         // a rule that clears is no mistake
		{"ipv6:1", "1", "mark[0].value service[0].fwmark"},
		{"ipv6:1", "ipv6:1", ""},
		{"1", "ipv6:1", ""}, // a rule for both families
		{"ipv4:1 ipv6:2", "1 ipv6:1", "mark[1].value service[1].fwmark"},
	} {
		text := "[[port]]\nname = \"eth0\"\n"
		split := func(word string) (family, rest string) {
			if f, r, ok := strings.Cut(word, ":"); ok {
				return "family = \"" + f + "\"\n", r
			}
			return "", word
		}
		for _, rule := range strings.Fields(row.rules) {
			family, value := split(rule)
			text += "[[mark]]\n" + family + "value = \"" + value + "\"\n"
		}
		for _, service := range strings.Fields(row.services) {
			family, mark := split(service)
			text += "[[service]]\nforward = \"dr\"\nserver = [{ address = \"2001:db8::1\", forward = \"tun\" }]\n" + family + "fwmark = " + mark + "\n"
		}
		p := new(problems)
		p.warn(parse(t, text))
		var got []string
		for _, m := range p.found {
			got = append(got, m.path)
		}
		slices.Sort(got)
		if fmt.Sprint(got) != fmt.Sprint(strings.Fields(row.want)) {
			t.Errorf("rules %q, services %q: %v, want [%s]", row.rules, row.services, got, row.want)
		}
	}
}

// A port that is to answer at once and yet waits for blocks.
func TestWarnsOfLateBlocks(t *testing.T) {
	for text, want := range map[string]string{
		"mode = \"blocks\"\nlatency = \"low\"":        `w.toml:4: port[0] "eth0".latency: low has little effect with mode = "blocks": each packet waits for its block, 1 to 2 ms`,
		"mode = \"blocks\"\nlatency = \"throughput\"": "",
		"latency = \"low\"":                           "",
	} {
		_, warnings, err := Check("w.toml", []byte("[[port]]\nname = \"eth0\"\n"+text+"\n"))
		if got := warnings.Error(); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}
