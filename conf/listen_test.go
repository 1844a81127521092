package conf

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// genListeners draws listeners that are allowed.
func genListeners(t *rapid.T) (m Metrics, a API) {
	m.Listen = rapid.SampledFrom([]netip.AddrPort{{}, netip.MustParseAddrPort("127.0.0.1:9273"), netip.MustParseAddrPort("[::1]:1")}).Draw(t, "metrics")
	if m.AllowRemote = rapid.Bool().Draw(t, "remote"); m.AllowRemote && m.Listen.IsValid() {
		m.Listen = netip.MustParseAddrPort("0.0.0.0:9273")
	}
	a = rapid.SampledFrom([]API{
		{},
		{Listen: netip.MustParseAddrPort("127.0.0.1:9443"), TokenFile: "/etc/token"},
		{Listen: netip.MustParseAddrPort("10.0.0.5:9443"), TokenFile: "/etc/token", Cert: "/c", Key: "/k"},
		{Listen: netip.MustParseAddrPort("[2001:db8::1]:9443"), ClientCA: `/a "b"\c`, Cert: "/c", Key: "/k"},
	}).Draw(t, "api")
	return m, a
}

// A listener is never open by mistake: each case says what is missing.
func TestListenersAreRefusedUnlessTheyAreSafe(t *testing.T) {
	for _, c := range []struct{ text, line, want string }{
		{"[metrics]\nlisten = \"10.0.0.5:9273\"", ":2:", `metrics.listen: 10.0.0.5:9273 can be reached from other hosts, and whoever reaches it reads every figure; write a loopback address like "127.0.0.1:9273", or allow_remote = true if this is meant`},
		{"[metrics]\nlisten = \":9273\"", ":2:", `":9273" is not an address with a port`},
		{"[metrics]\nlisten = \"localhost:9273\"", ":2:", `"localhost:9273" is not an address with a port`},
		{"[metrics]\nlisten = \"127.0.0.1:0\"", ":2:", `has port 0`},
		{"[metrics]\nlisten = \"0.0.0.0:9273\"", ":2:", `allow_remote = true`},
		{"[api]\nlisten = \"127.0.0.1:9443\"", ":2:", "would let everybody who reaches 127.0.0.1:9443 command the director; write token_file, or client_ca with cert and key"},
		{"[api]\ntoken_file = \"/t\"", ":2:", "api.token_file: has no effect without listen"},
		{"[api]\nlisten = \"127.0.0.1:9443\"\ntoken_file = \"t\"", ":3:", `"t" is not the path of a file; write an absolute path`},
		{"[api]\nlisten = \"10.0.0.5:9443\"\ntoken_file = \"/t\"", ":2:", "10.0.0.5:9443 without TLS would show the token to the network; write cert and key, or a loopback address"},
		{"[api]\nlisten = \"10.0.0.5:9443\"\nclient_ca = \"/ca\"", ":3:", "needs TLS, which cert and key make"},
		{"[api]\nlisten = \"10.0.0.5:9443\"\ntoken_file = \"/t\"\ncert = \"/c\"", ":1:", "write both, they are one certificate"},
		{"[metrics]\nlisten = \"127.0.0.1:1\"\n[api]\nlisten = \"127.0.0.1:1\"\ntoken_file = \"/t\"", ":4:", "127.0.0.1:1 is the address of [metrics]"},
		{"[director]\ncontrol_group = \"a b\"", ":2:", `"a b" cannot be the name of a group`},
	} {
		_, err := Parse("x.toml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.toml"+c.line) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s\n-> %v\nwant one mistake at line %s with: %s", c.text, err, c.line, c.want)
		}
	}
	for _, good := range []string{
		"[metrics]\nlisten = \"10.0.0.5:9273\"\nallow_remote = true",
		"[metrics]\nlisten = \"127.3.2.1:9273\"",
		"[metrics]\nlisten = \"\"",
		"[api]\nlisten = \"[::1]:9443\"\ntoken_file = \"/t\"",
		"[api]\nlisten = \"0.0.0.0:9443\"\nclient_ca = \"/ca\"\ncert = \"/c\"\nkey = \"/k\"",
	} {
		if _, err := Parse("x.toml", []byte(good)); err != nil {
			t.Errorf("%s\n-> %v", good, err)
		}
	}
}

// Listeners are bound once.
func TestListenersNeedARestart(t *testing.T) {
	old, new := Default(), Default()
	new.Metrics.Listen = netip.MustParseAddrPort("127.0.0.1:9273")
	new.API = API{Listen: netip.MustParseAddrPort("127.0.0.1:9443"), TokenFile: "/t"}
	changes := Diff(old, new)
	if len(changes) != 2 || !changes[0].Restart() || !changes[1].Restart() {
		t.Errorf("changes: %v", changes)
	}
	if got, want := changes[0].String(), `set metrics: listen none -> 127.0.0.1:9273`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
