package realserver

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// hostWith is a view of a host with eth0, of the sysctls given; others are 0.
func hostWith(values map[string]string, loopback ...string) *view {
	v := &view{interfaces: []string{"eth0"}, answering: map[netip.Addr]string{addr("192.0.2.77"): "eth0"}}
	for _, p := range loopback {
		v.loopback = append(v.loopback, netip.MustParsePrefix(p))
	}
	v.sysctl = func(key string) (string, error) {
		if strings.Contains(key, "eth9") {
			return "", os.ErrNotExist
		}
		if s, ok := values[key]; ok {
			return s, nil
		}
		return "0", nil
	}
	return v
}

// What counts is the greater of the values of all and the interface; which of them hide
// an address on lo is said in the kernel's ip-sysctl.rst.
func TestPlanChangesOnlyWhatIsWrong(t *testing.T) {
	const all, eth = "ipv4/conf/all/", "ipv4/conf/eth0/"
	for _, c := range []struct {
		name string
		vips []string
		host *view
		want []string
	}{
		{"fresh host", []string{"192.0.2.10"}, hostWith(nil), []string{
			"net.ipv4.conf.all.arp_ignore = 1 (was 0)", "net.ipv4.conf.all.arp_announce = 2 (was 0)",
			"net.ipv4.conf.eth0.arp_ignore = 1 (was 0)", "net.ipv4.conf.eth0.arp_announce = 2 (was 0)",
			"192.0.2.10/32 on lo"}},
		{"2 and 8 hide as well", []string{"192.0.2.10"}, hostWith(map[string]string{
			all + "arp_ignore": "2", all + "arp_announce": "2", eth + "arp_ignore": "8", eth + "arp_announce": "2"}),
			[]string{"192.0.2.10/32 on lo"}},
		{"3 answers for a global address", []string{"192.0.2.10"}, hostWith(map[string]string{
			all + "arp_ignore": "1", all + "arp_announce": "2", eth + "arp_ignore": "3", eth + "arp_announce": "1"}),
			[]string{"net.ipv4.conf.eth0.arp_ignore = 1 (was 3)", "net.ipv4.conf.eth0.arp_announce = 2 (was 1)", "192.0.2.10/32 on lo"}},
		{"IPv6 needs no sysctl", []string{"2001:db8::10"}, hostWith(nil), []string{"2001:db8::10/128 on lo"}},
		{"address there", []string{"2001:db8::10"}, hostWith(nil, "2001:db8::10/128"), nil},
	} {
		cfg := Config{}
		for _, s := range c.vips {
			cfg.VIPs = append(cfg.VIPs, addr(s))
		}
		changes, err := plan(&cfg, c.host)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, ch := range changes {
			got = append(got, ch.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	if _, err := plan(&Config{VIPs: []netip.Addr{addr("192.0.2.77")}}, hostWith(nil)); err == nil || !strings.Contains(err.Error(), "eth0, which would answer") {
		t.Errorf("a VIP on eth0: %v", err)
	}
	v := hostWith(nil)
	v.interfaces = []string{"eth9"}
	if _, err := plan(&Config{VIPs: []netip.Addr{addr("192.0.2.10")}}, v); err == nil || !strings.Contains(err.Error(), "interface eth9: no such interface") {
		t.Errorf("an interface that is not there: %v", err)
	}
}

func TestShellCommands(t *testing.T) {
	for _, c := range []struct {
		change   Change
		do, undo string
	}{
		{Change{Sysctl: "ipv4/conf/all/arp_ignore", Was: "0", Want: "1"},
			"sysctl -w net.ipv4.conf.all.arp_ignore=1", "sysctl -w net.ipv4.conf.all.arp_ignore=0"},
		// sysctl(8): with a slash as the first separator, dots are part of names.
		{Change{Sysctl: "ipv4/conf/eth0.7/arp_announce", Was: "1", Want: "2"},
			"sysctl -w net/ipv4/conf/eth0.7/arp_announce=2", "sysctl -w net/ipv4/conf/eth0.7/arp_announce=1"},
		{Change{Address: netip.MustParsePrefix("192.0.2.10/32")},
			"ip addr add 192.0.2.10/32 dev lo", "ip addr del 192.0.2.10/32 dev lo"},
		{Change{Address: netip.MustParsePrefix("2001:db8::10/128")},
			"ip -6 addr add 2001:db8::10/128 dev lo nodad", "ip -6 addr del 2001:db8::10/128 dev lo"},
	} {
		if c.change.Shell() != c.do || c.change.UndoShell() != c.undo {
			t.Errorf("%v: %q and %q", &c.change, c.change.Shell(), c.change.UndoShell())
		}
	}
}

func TestValidate(t *testing.T) {
	vips := func(list ...string) (c Config) {
		for _, s := range list {
			c.VIPs = append(c.VIPs, addr(s))
		}
		c.TUN = DefaultTUN
		return c
	}
	decap := vips("192.0.2.10")
	decap.Decap, decap.TUN = true, "a-name-too-long-for-it"
	percent := vips("192.0.2.10")
	percent.Decap, percent.TUN = true, "decap%d"
	noDecap := vips("192.0.2.10")
	noDecap.GUEPort = 6080
	for _, c := range []struct {
		cfg  Config
		want string // "": valid
	}{
		{vips("192.0.2.10", "2001:db8::1"), ""},
		{vips(), "--vip is required"},
		{vips("127.0.0.1"), "not an address"},
		{vips("224.0.0.1"), "not an address"},
		{vips("fe80::1%eth0"), "not an address"},
		{vips("::ffff:192.0.2.10"), "write it as 192.0.2.10"},
		{vips("192.0.2.10", "192.0.2.10"), "given twice"},
		{decap, "1 to 15 characters"},
		{percent, "want a name of an interface"},
		{noDecap, "--gue-port needs --decap"},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == "") || !strings.Contains(fmt.Sprint(err), c.want) && c.want != "" {
			t.Errorf("%v: %v, want %q", c.cfg.VIPs, err, c.want)
		}
	}
}
