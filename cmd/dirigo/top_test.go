package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
)

func sampleSnapshot() snapshot {
	key := func(s string) conf.ServiceKey {
		k, err := conf.ParseServiceKey(s)
		if err != nil {
			panic(err)
		}
		return k
	}
	server := func(addr, name string, weight, active int, cps, pps, bps uint64) api.ServerStatus {
		return api.ServerStatus{Server: api.Server{Address: netip.MustParseAddrPort(addr), Name: name, Weight: weight}, Active: active, Inactive: 1,
			Rates: api.Rates{Connections: cps, InPackets: pps, InBytes: bps}}
	}
	return snapshot{
		Status: api.Status{Name: "lb1", Version: "1.0", Uptime: 3*3600 + 5*60, Workers: 2, Connections: 7, Max: 1000,
			Ports: []api.Port{{Name: "eth0", Received: 123456, Sent: 99, Lost: 1, LostFull: 1, Dropped: 2,
				Queues: []api.Queue{{Received: 120000, Batches: 20000, Dropped: 2, Peak: 13}, {Received: 3456, Batches: 2000}}}},
			Reasons: map[string]uint64{"no_dest": 5, "forward_nat": 9, "martian": 50}},
		Services: []api.ServiceStatus{
			{Service: api.Service{Name: "web", Service: key("tcp/192.0.2.1:80"), Scheduler: "rr"}, Rates: api.Rates{Connections: 3, InPackets: 40},
				Servers: []api.ServerStatus{server("10.0.0.1:80", "alpha", 1, 5, 1, 30, 100), server("10.0.0.2:80", "beta", 9, 2, 2, 10, 1_234_567)}},
			{Service: api.Service{Service: key("udp/[2001:db8::1]:53"), Scheduler: "wlc"}, Rates: api.Rates{Connections: 100},
				Servers: []api.ServerStatus{server("[2001:db8:1234:5678:9abc:def0:1234:5678]:53", "a\x1b[2Jb", 1, 0, 100, 0, 0)}},
		},
	}
}

func (s *topScreen) names() (list []string) {
	for _, r := range s.rows() {
		list = append(list, strings.Fields(r.name)[0])
	}
	return list
}

func TestTopAt80x24(t *testing.T) {
	s := topScreen{snap: sampleSnapshot(), sort: 'c'}
	lines := s.render(80, 24)
	want := []string{
		"lb1  up 3h05m  2 workers  7 of 1000 connections",
		"frames  in 123k  out 99  lost 3  martian 50  no_dest 5",
		"SERVICE/SERVER                        WEIGHT ACTIVE  INACT CONN/S*  PKT/S    B/S",
		"udp/[2001:db8::1]:53                       1      0      1     100      0      0",
		"  [2001:db8:1234:5678:9abc:def0:1234~      1      0      1     100      0      0",
		"web tcp/192.0.2.1:80                      10      7      2       3     40      0",
		"  10.0.0.2:80 beta                         9      2      1       2     10  1234k",
		"  10.0.0.1:80 alpha                        1      5      1       1     30    100",
	}
	for i, w := range want {
		if got := strings.TrimRight(lines[i], " "); got != w {
			t.Errorf("line %d:\n%q, want\n%q", i, got, w)
		}
	}
	if len(lines) != 24 || !strings.HasPrefix(lines[23], "sort: ") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

// Whatever the size and the state, a screen is no larger than the terminal, and nothing
// that comes from outside moves the cursor.
func TestTopFitsAnyTerminal(t *testing.T) {
	for _, s := range []topScreen{
		{snap: sampleSnapshot(), sort: 'c'}, {snap: sampleSnapshot(), sort: 'b', filter: "beta", typing: true}, {sort: 'n'},
		{snap: sampleSnapshot(), sort: 'w', err: errors.New(strings.Repeat("long ", 60) + "\n\x1b[2J")}, {snap: sampleSnapshot(), down: 100},
	} {
		for w := range 130 {
			for _, h := range []int{0, 1, 2, 3, 4, 5, 6, 24} {
				lines := s.render(w, h)
				if len(lines) > h {
					t.Fatalf("%d lines for %d", len(lines), h)
				}
				for _, l := range lines {
					if n := utf8.RuneCountInString(l); n != w || strings.ContainsAny(l, "\x1b\r\n") {
						t.Fatalf("%dx%d: %d columns: %q", w, h, n, l)
					}
				}
			}
		}
	}
}

func TestTopKeys(t *testing.T) {
	for key, want := range map[string]string{
		"c": "[udp/[2001:db8::1]:53 [2001:db8:1234:5678:9abc:def0:1234:5678]:53 web 10.0.0.2:80 10.0.0.1:80]",
		"p": "[web 10.0.0.1:80 10.0.0.2:80 udp/[2001:db8::1]:53 [2001:db8:1234:5678:9abc:def0:1234:5678]:53]",
		"b": "[web 10.0.0.2:80 10.0.0.1:80 udp/[2001:db8::1]:53 [2001:db8:1234:5678:9abc:def0:1234:5678]:53]",
		"a": "[web 10.0.0.1:80 10.0.0.2:80 udp/[2001:db8::1]:53 [2001:db8:1234:5678:9abc:def0:1234:5678]:53]",
		"w": "[web 10.0.0.2:80 10.0.0.1:80 udp/[2001:db8::1]:53 [2001:db8:1234:5678:9abc:def0:1234:5678]:53]",
		"n": "[udp/[2001:db8::1]:53 [2001:db8:1234:5678:9abc:def0:1234:5678]:53 web 10.0.0.1:80 10.0.0.2:80]",
	} {
		s := topScreen{snap: sampleSnapshot()}
		if quit := s.key(key); quit || fmt.Sprint(s.names()) != want {
			t.Errorf("%s: %v, want %s", key, s.names(), want)
		}
	}
	s := topScreen{snap: sampleSnapshot(), sort: 'n'}
	for _, k := range splitKeys("/Betx\x7fAq\x7f\x7f") {
		if s.key(k) {
			t.Fatal("a key of the filter quits")
		}
	}
	if s.key("a"); s.filter != "Beta" || fmt.Sprint(s.names()) != "[web 10.0.0.2:80]" {
		t.Errorf("filter %q: %v", s.filter, s.names())
	}
	s.key("\r")
	if s.key("\x1b"); len(s.names()) != 5 {
		t.Errorf("after Esc: %v", s.names())
	}
	for range 9 {
		s.key("\x1b[B")
	}
	if s.key("k"); s.down != 3 {
		t.Errorf("%d rows down", s.down)
	}
	if !s.key("q") {
		t.Error("q does not quit")
	}
	if got := splitKeys("a\x1b[A\x1bz"); !slices.Equal(got[:2], []string{"a", "\x1b[A"}) {
		t.Errorf("keys %q", got)
	}
}

func TestStatusScreen(t *testing.T) {
	s := sampleSnapshot()
	s.Status.ReloadError = "bad file"
	var b strings.Builder
	if err := printStatus(&b, &s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"lb1, dirigo 1.0, up 3h05m, 2 workers, 7 of 1000 connections", "the last reload was refused: bad file",
		"eth0           123456                      2        99    1 (full 1, refused 0, link down 0)",
		"  0            120000    6.0    13%        2", "  1            3456      1.7    0%         0", "web tcp/192.0.2.1:80 rr", "  10.0.0.2:80 beta", "martian", "no_dest",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	if strings.Contains(b.String(), "forward_nat") || strings.Index(b.String(), "martian") > strings.Index(b.String(), "no_dest") {
		t.Errorf("drops are not the drops, or in another order:\n%s", &b)
	}
}

func TestShort(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 99999: "99999", 100000: "100k", 9_999_999: "9999k", 10_000_000: "10M", 123_456_789_012: "123G", ^uint64(0): "18446P"} {
		if got := short(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
