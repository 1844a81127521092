package ipvsadm

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// The scaling of counters: the widths and units that ipvsadm's %9llu, %8lluK… give, at
// both sides of each limit.
func TestLargeNumbers(t *testing.T) {
	for _, c := range []struct {
		n             uint64
		scaled, exact string
	}{
		{0, "        0", "        0"},
		{56789, "    56789", "    56789"},
		{99999999, " 99999999", " 99999999"},
		{100000000, "  100000K", " 100000000"},
		{123456789, "  123456K", " 123456789"},
		{999999999, "  999999K", " 999999999"},
		{1000000000, "    1000M", " 1000000000"},
		{98765432100, "   98765M", " 98765432100"},
		{99999999999, "   99999M", " 99999999999"},
		{100000000000, "     100G", " 100000000000"},
		{99999999999999, "   99999G", " 99999999999999"},
		{100000000000000, "     100T", " 100000000000000"},
		{1<<64 - 1, "18446744T", " 18446744073709551615"},
	} {
		for _, exact := range []bool{false, true} {
			p := NewPrinter(io.Discard, List{Exact: exact}, nil)
			p.large(c.n)
			want := c.scaled
			if exact {
				want = c.exact
			}
			if got := string(p.line); got != want {
				t.Errorf("%d, exact %v: %q, want %q", c.n, exact, got, want)
			}
		}
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// example is a table with one of everything.
func example() []ServiceEntry {
	v4 := func(a string, port uint16) conf.ServiceKey {
		return conf.ServiceKey{Proto: packet.TCP, Addr: addr(a), Port: port}
	}
	big := Stats{1234, 56789, 0, 123456789, 98765432100}
	return []ServiceEntry{
		{
			Service: conf.Service{Key: v4("10.0.0.100", 80), Scheduler: "wlc"},
			Stats:   big,
			Rates:   Rates{100000000, 5, 6, 123456789, 8},
			Servers: []ServerEntry{
				{Server: conf.Server{Addr: addr("192.168.1.12"), Port: 80, Weight: 3, Forward: conf.Tunnel}, ActiveConn: 12, InActConn: 345, PersistConn: 7},
				{Server: conf.Server{Addr: addr("192.168.1.11"), Port: 80, Weight: 1, Forward: conf.DR, Upper: 1000, Lower: 800}, Stats: big,
					Rates: Rates{100000000, 5, 6, 123456789, 8}},
			},
		},
		{
			Service: conf.Service{Key: v4("10.0.0.100", 443), Scheduler: "sh", SchedFlags: 3,
				Persistence: conf.Persistence{Timeout: 6 * time.Minute, Netmask: addr("255.255.255.0")}},
			Servers: []ServerEntry{
				{Server: conf.Server{Addr: addr("192.168.1.11"), Port: 8443, Weight: 100, Forward: conf.NAT}, ActiveConn: 1, InActConn: 2},
				{Server: conf.Server{Addr: addr("192.168.1.12"), Port: 8443, Weight: 0, Forward: conf.Local}},
				{Server: conf.Server{Addr: addr("192.168.1.13"), Port: 8443, Weight: 1 << 30, Forward: conf.FullNAT}},
			},
		},
		{
			Service: conf.Service{Key: conf.ServiceKey{Proto: packet.UDP, Addr: addr("2001:db8::80"), Port: 53}, Scheduler: "rr", OnePacket: true},
			Servers: []ServerEntry{
				{Server: conf.Server{Addr: addr("2001:db8::a0a0"), Port: 53, Weight: 1, Forward: conf.NAT}},
				{Server: conf.Server{Addr: addr("2001:db8:1111:2222:3333:4444:5555:6666"), Port: 53, Weight: 1, Forward: conf.NAT}},
			},
		},
		{
			Service: conf.Service{Key: conf.ServiceKey{Fwmark: 7}, Scheduler: "rr"},
			Servers: []ServerEntry{
				{Server: conf.Server{Addr: addr("192.168.1.12"), Weight: 1, Forward: conf.Tunnel, TunType: conf.TunGUE, TunPort: 6080}},
				{Server: conf.Server{Addr: addr("192.168.1.13"), Weight: 1, Forward: conf.Tunnel}},
				{Server: conf.Server{Addr: addr("192.168.1.14"), Weight: 1, Forward: conf.Tunnel, TunType: conf.TunGRE, TunFlags: 1}},
				{Server: conf.Server{Addr: addr("2001:db8:1111:2222:3333:4444:5555:6666"), Weight: 1, Forward: conf.Tunnel, TunType: conf.TunGUE, TunPort: 65535, TunFlags: 2}},
			},
		},
		{Service: conf.Service{Key: conf.ServiceKey{Fwmark: 8, V6: true}, Scheduler: "mh", SchedFlags: 1,
			Persistence: conf.Persistence{Timeout: 6 * time.Minute, Engine: "sip"}}},
		{Service: conf.Service{Key: conf.ServiceKey{Fwmark: 1<<32 - 5}, Scheduler: "lc", SchedFlags: 7,
			Persistence: conf.Persistence{Engine: "sip"}}},
	}
}

// Expected texts are ipvsadm's printf formats filled in by hand, where no recording has them.
// 192.168.1.12 stands before 2001:…, as 0xc0a8010c - 0x20010db8 is negative in 32 bits.
func TestListLayouts(t *testing.T) {
	const version = "IP Virtual Server version 1.2.1 (size=1048576)\n"
	for _, c := range []struct {
		name string
		list List
		want string
	}{
		{"plain", List{Numeric: true}, version + `Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
FWM  -5 lc (flag-1,flag-2,flag-3)
TCP  10.0.0.100:80 wlc
  -> 192.168.1.11:80              Route   1      0          0         
  -> 192.168.1.12:80              Tunnel  3      12         345       
TCP  10.0.0.100:443 sh (sh-fallback,sh-port) persistent 360 mask 255.255.255.0
  -> 192.168.1.11:8443            Masq    100    1          2         
  -> 192.168.1.12:8443            Local   0      0          0         
  -> 192.168.1.13:8443            FullNat 1073741824 0          0         
UDP  [2001:db8::80]:53 rr ops
  -> [2001:db8::a0a0]:53          Masq    1      0          0         
  -> [2001:db8:1111:2222:3333:4444:5555:6666]:53 Masq    1      0          0         
FWM  7 rr
  -> 192.168.1.12:0               Tunnel  1      0          0         
  -> 192.168.1.13:0               Tunnel  1      0          0         
  -> 192.168.1.14:0               Tunnel  1      0          0         
  -> [2001:db8:1111:2222:3333:444 Tunnel  1      0          0         
FWM  8 IPv6 mh (mh-fallback) persistent 360 pe sip
`},
		{"tun-info", List{Numeric: true, TunInfo: true}, version + `Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn
FWM  -5 lc (flag-1,flag-2,flag-3)
TCP  10.0.0.100:80 wlc
  -> 192.168.1.11:80              Route   n/a           1      0          0         
  -> 192.168.1.12:80              Tunnel  ipip          3      12         345       
TCP  10.0.0.100:443 sh (sh-fallback,sh-port) persistent 360 mask 255.255.255.0
  -> 192.168.1.11:8443            Masq    n/a           100    1          2         
  -> 192.168.1.12:8443            Local   n/a           0      0          0         
  -> 192.168.1.13:8443            FullNat n/a           1073741824 0          0         
UDP  [2001:db8::80]:53 rr ops
  -> [2001:db8::a0a0]:53          Masq    n/a           1      0          0         
  -> [2001:db8:1111:2222:3333:4444:5555:6666]:53 Masq    n/a           1      0          0         
FWM  7 rr
  -> 192.168.1.12:0               Tunnel  gue:6080:-c   1      0          0         
  -> 192.168.1.13:0               Tunnel  ipip          1      0          0         
  -> 192.168.1.14:0               Tunnel  gre:+c        1      0          0         
  -> [2001:db8:1111:2222:3333:444 Tunnel  gue:65535:r+c 1      0          0         
FWM  8 IPv6 mh (mh-fallback) persistent 360 pe sip
`},
	} {
		got := printServices(t, c.list, nil, listing{1 << 20, example()}, false)
		if got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.name, visible(got), visible(c.want))
		}
	}
}

func TestCounterLayouts(t *testing.T) {
	one := func(list List) string {
		list.Numeric = true
		return printServices(t, list, nil, listing{services: example()[:1]}, false)
	}
	for _, c := range []struct {
		name string
		list List
		want string
	}{
		{"stats", List{Stats: true, Rate: true, TunInfo: true}, `Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.0.100:80                    1234    56789        0  123456K   98765M
  -> 192.168.1.11:80                  1234    56789        0  123456K   98765M
  -> 192.168.1.12:80                     0        0        0        0        0
`},
		{"exact", List{Stats: true, Exact: true}, `Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.0.100:80                    1234    56789        0 123456789 98765432100
  -> 192.168.1.11:80                  1234    56789        0 123456789 98765432100
  -> 192.168.1.12:80                     0        0        0        0        0
`},
		{"rate", List{Rate: true, Thresholds: true}, `Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
TCP  10.0.0.100:80                 100000K        5        6  123456K        8
  -> 192.168.1.11:80              100000000        5        6  123456K        8
  -> 192.168.1.12:80                     0        0        0        0        0
`},
		{"thresholds", List{Thresholds: true, PersistentConn: true}, `Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn 
  -> RemoteAddress:Port
TCP  10.0.0.100:80 wlc
  -> 192.168.1.11:80              1000       800        0          0         
  -> 192.168.1.12:80              0          0          12         345       
`},
		{"persistent-conn", List{PersistentConn: true, TunInfo: true}, `Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn 
  -> RemoteAddress:Port
TCP  10.0.0.100:80 wlc
  -> 192.168.1.11:80              1         0           0          0         
  -> 192.168.1.12:80              3         7           12         345       
`},
	} {
		if got := one(c.list); got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.name, visible(got), visible(c.want))
		}
	}
}

func TestSaveText(t *testing.T) {
	want := `-A -f -5 -s lc --pe sip -b flag-1,flag-2,flag-3
-A -t 10.0.0.100:80 -s wlc
-a -t 10.0.0.100:80 -r 192.168.1.11:80 -g -w 1
-a -t 10.0.0.100:80 -r 192.168.1.12:80 -i -w 3 --tun-type ipip
-A -t 10.0.0.100:443 -s sh -p 360 -M 255.255.255.0 -b sh-fallback,sh-port
-a -t 10.0.0.100:443 -r 192.168.1.11:8443 -m -w 100
-a -t 10.0.0.100:443 -r 192.168.1.12:8443 -g -w 0
-a -t 10.0.0.100:443 -r 192.168.1.13:8443 --fullnat -w 1073741824
-A -u [2001:db8::80]:53 -s rr -o
-a -u [2001:db8::80]:53 -r [2001:db8::a0a0]:53 -m -w 1
-a -u [2001:db8::80]:53 -r [2001:db8:1111:2222:3333:4444:5555:6666]:53 -m -w 1
-A -f 7 -s rr
-a -f 7 -r 192.168.1.12:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum
-a -f 7 -r 192.168.1.13:0 -i -w 1 --tun-type ipip
-a -f 7 -r 192.168.1.14:0 -i -w 1 --tun-type gre --tun-csum
-a -f 7 -r [2001:db8:1111:2222:3333:4444:5555:6666]:0 -i -w 1 --tun-type gue --tun-port 65535 --tun-remcsum
-A -f 8 -6 -s mh -p 360 --pe sip -b mh-fallback
`
	var b strings.Builder
	if err := NewPrinter(&b, List{}, nil).Save(slices.Values(example())); err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant:\n%s", err, b.String(), want)
	}
}

// Long names push nothing aside: IPv4 services and their servers are cut.
func TestLongNamesAreCut(t *testing.T) {
	n := &Names{
		hosts:    map[netip.Addr]string{addr("10.0.0.1"): "a-very-long-name.example.com", addr("10.0.0.2"): "another-long-name.example.com"},
		services: map[servicePort]string{{80, packet.TCP}: "http"},
	}
	s := ServiceEntry{
		Service: conf.Service{Key: conf.ServiceKey{Proto: packet.TCP, Addr: addr("10.0.0.1"), Port: 80}, Scheduler: "rr"},
		Servers: []ServerEntry{{Server: conf.Server{Addr: addr("10.0.0.2"), Port: 80, Weight: 1}}},
	}
	got := printServices(t, List{}, n, listing{services: []ServiceEntry{s}}, false)
	want := titles[layoutPlain] + "\n" +
		"TCP  a-very-long-name.example.com rr\n" +
		"  -> another-long-name.example.co Masq    1      0          0         \n"
	if got != want {
		t.Errorf("\n%s\nwant:\n%s", visible(got), visible(want))
	}
	var b strings.Builder
	if err := NewPrinter(&b, List{}, n).Save(slices.Values([]ServiceEntry{s})); err != nil {
		t.Fatal(err)
	}
	if want := "-a -t a-very-long-name.example.com:http -r another-long-name.example.com:http -m -w 1\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("rules are cut: %s", b.String())
	}
}

// inet_ntop(3) of glibc writes ::/96 in dotted form, unless only the last word is set.
func TestIPv6Text(t *testing.T) {
	for in, want := range map[string]string{
		"::": "::", "::1": "::1", "::ffff": "::ffff", "::1:0": "::0.1.0.0", "::102:304": "::1.2.3.4",
		"::ffff:1.2.3.4": "::ffff:1.2.3.4", "2001:db8::1": "2001:db8::1", "2001:db8:0:1:0:0:0:1": "2001:db8:0:1::1",
		"1:0:2:3:4:5:6:7": "1:0:2:3:4:5:6:7",
	} {
		if got := string(appendIPv6(nil, addr(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestConnections(t *testing.T) {
	conns := []ConnEntry{
		{Proto: packet.SCTP, Expire: 59*time.Second + 999*time.Millisecond, State: "ESTABLISHED",
			Client: netip.MustParseAddrPort("203.0.113.7:80"), Virtual: netip.MustParseAddrPort("10.0.0.100:80"), Dest: netip.MustParseAddrPort("192.168.1.11:80")},
		{Proto: 0, Expire: 2678400 * time.Second, State: "NONE", PEName: "sip", PEData: "a b c",
			Client: netip.MustParseAddrPort("203.0.113.7:0"), Virtual: netip.MustParseAddrPort("0.0.0.7:80"), Dest: netip.MustParseAddrPort("127.0.0.1:80")},
		{Proto: packet.ESP, Expire: -time.Second, State: "NONE",
			Client: netip.MustParseAddrPort("[2001:db8::7]:500"), Virtual: netip.MustParseAddrPort("[2001:db8::80]:500"), Dest: netip.MustParseAddrPort("[2001:db8::11]:500")},
	}
	got := printConns(t, List{PersistentConn: true}, testNames(t), slices.Values(conns))
	want := `IPVS connection entries
pro expire state       source             virtual            destination        pe name          pe_data
SCTP 00:59  ESTABLISHED 203.0.113.7:80     10.0.0.100:80      192.168.1.11:80
IP  44640:00 NONE        203.0.113.7:0      0.0.0.7:80         localhost:80     sip                a b c
IP_50 00:00  NONE        [2001:db8::7]:500  [2001:db8::80]:500 [2001:db8::11]:500
`
	if got != want {
		t.Errorf("\n%s\nwant:\n%s", visible(got), visible(want))
	}
	got = printConns(t, List{Numeric: true}, testNames(t), slices.Values(conns[1:2]))
	if want := "IP  44640:00 NONE        203.0.113.7:0      0.0.0.7:80         127.0.0.1:80\n"; !strings.HasSuffix(got, "destination\n"+want) {
		t.Errorf("\n%s\nwant:\n%s", visible(got), visible(want))
	}
}

func TestOldDaemonsAreListedWithoutOptions(t *testing.T) {
	var b strings.Builder
	err := WriteDaemons(&b, []Daemon{{Role: Backup, Interface: "eth1", SyncID: 2}, {Role: Master, Interface: "eth0"}, {}})
	want := "master sync daemon (mcast=eth0, syncid=0)\nbackup sync daemon (mcast=eth1, syncid=2)\n"
	if err != nil || b.String() != want {
		t.Errorf("%v %q", err, b.String())
	}
}

// limited fails after so many bytes.
type limited struct{ left int }

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

var errFull = errors.New("full")

func TestWriteErrorsAreReported(t *testing.T) {
	all := func(yield func(ConnEntry) bool) {
		for yield(ConnEntry{Client: netip.MustParseAddrPort("1.1.1.1:1"), Virtual: netip.MustParseAddrPort("1.1.1.1:1"), Dest: netip.MustParseAddrPort("1.1.1.1:1")}) {
		}
	}
	if err := NewPrinter(&limited{1 << 17}, List{}, nil).Conns(all); !errors.Is(err, errFull) { // an endless list must stop
		t.Errorf("Conns: %v", err)
	}
	if err := NewPrinter(&limited{}, List{}, nil).Services(1, slices.Values(example())); !errors.Is(err, errFull) {
		t.Errorf("Services: %v", err)
	}
	if err := NewPrinter(&limited{}, List{}, nil).Service(&example()[0]); !errors.Is(err, errFull) {
		t.Errorf("Service: %v", err)
	}
	if err := NewPrinter(&limited{}, List{}, nil).Save(slices.Values(example())); !errors.Is(err, errFull) {
		t.Errorf("Save: %v", err)
	}
	if err := errors.Join(WriteTimeouts(&limited{}, Timeouts{}), WriteDaemons(&limited{}, []Daemon{{Role: Master}}),
		WriteVersion(&limited{}), WriteUsage(&limited{}, "x")); strings.Count(fmt.Sprint(err), "full") != 4 {
		t.Errorf("lines: %v", err)
	}
}

func repeat(c ConnEntry, n int) func(func(ConnEntry) bool) {
	return func(yield func(ConnEntry) bool) {
		for range n {
			if !yield(c) {
				return
			}
		}
	}
}

var oneConn = ConnEntry{Proto: packet.TCP, Expire: 897 * time.Second, State: "ESTABLISHED",
	Client: netip.MustParseAddrPort("203.0.113.7:40000"), Virtual: netip.MustParseAddrPort("[2001:db8::80]:80"), Dest: netip.MustParseAddrPort("192.168.1.11:80")}

// However many connections, the printer holds one line.
func TestConnectionsAreStreamed(t *testing.T) {
	allocs := func(n int) float64 {
		return testing.AllocsPerRun(5, func() {
			if err := NewPrinter(io.Discard, List{Numeric: true}, nil).Conns(repeat(oneConn, n)); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocs(10), allocs(20_000); many > few {
		t.Errorf("10 connections: %v allocations, 20,000: %v", few, many)
	}
}

func BenchmarkConns(b *testing.B) {
	b.ReportAllocs()
	p := NewPrinter(io.Discard, List{Numeric: true}, nil)
	if err := p.Conns(repeat(oneConn, b.N)); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkParse(b *testing.B) {
	argv := split("-a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 3")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(argv, Env{}); err != nil {
			b.Fatal(err)
		}
	}
}
