package ipvsadm

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// The rr service and its bytes are recorded; the others follow the format strings of the
// kernel's ip_vs_ctl.c.
func TestProcServices(t *testing.T) {
	addr, second := netip.MustParseAddr, time.Second
	service := func(s conf.Service, servers ...ServerEntry) ServiceEntry {
		return ServiceEntry{Service: s, Servers: servers}
	}
	server := func(a string, port uint16, f conf.Forward, weight int) ServerEntry {
		return ServerEntry{Server: conf.Server{Addr: addr(a), Port: port, Forward: f, Weight: weight}}
	}
	rr := conf.Service{Key: conf.ServiceKey{Proto: packet.TCP, Addr: addr("10.0.1.100"), Port: 80}, Scheduler: "rr"}
	in := []ServiceEntry{
		service(conf.Service{Key: conf.ServiceKey{Fwmark: 0x1f}, Scheduler: "sh", OnePacket: true, Persistence: conf.Persistence{Timeout: 4 * second}}),
		service(rr, server("10.0.2.13", 80, conf.NAT, 1)), // in two parts
		service(rr, server("10.0.2.12", 80, conf.Tunnel, 65536)),
		service(conf.Service{Key: conf.ServiceKey{Proto: packet.UDP, Addr: addr("10.0.1.100"), Port: 53}, Scheduler: "wlc", OnePacket: true,
			Persistence: conf.Persistence{Timeout: 300 * second, Netmask: addr("255.255.255.0")}}),
		service(conf.Service{Key: conf.ServiceKey{Proto: packet.SCTP, Addr: addr("2001:db8:1::100"), Port: 80}, Scheduler: "lc",
			Persistence: conf.Persistence{Timeout: 1 * second, Prefix: 64}}, server("2001:db8:2::16", 8080, conf.DR, 7)),
		service(conf.Service{Key: conf.ServiceKey{Fwmark: 6, V6: true}, Scheduler: "rr", Persistence: conf.Persistence{Timeout: second}}),
	}
	in[2].Servers[0].ActiveConn, in[2].Servers[0].InActConn = 12, 345
	const want = "IP Virtual Server version 1.2.1 (size=4096)\n" +
		"Prot LocalAddress:Port Scheduler Flags\n" +
		"  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n" +
		"TCP  0A000164:0050 rr  \n" +
		"  -> 0A00020D:0050      Masq    1      0          0         \n" +
		"  -> 0A00020C:0050      Tunnel  65536  12         345       \n" +
		"UDP  0A000164:0035 wlc ops  persistent 75000 FFFFFF00\n" +
		"SCTP  [2001:0db8:0001:0000:0000:0000:0000:0100]:0050 lc persistent 250 40000000\n" +
		"  -> [2001:0db8:0002:0000:0000:0000:0000:0016]:1F90      Route   7      0          0         \n" +
		"FWM  0000001F sh ops persistent 1000 FFFFFFFF\n" +
		"FWM  00000006 rr persistent 250 80000000\n"
	var b strings.Builder
	if err := ProcServices(&b, 4096, slices.Values(in)); err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, visible(b.String()), visible(want))
	}
}

func TestProcConns(t *testing.T) {
	at := netip.MustParseAddrPort
	in := []ConnEntry{
		{Proto: packet.TCP, Expire: 899900 * time.Millisecond, State: "ESTABLISHED", Client: at("192.0.2.7:40000"), Virtual: at("10.0.1.100:80"), Dest: at("10.0.2.11:8080")},
		{Proto: packet.UDP, Expire: -time.Second, State: "UDP", Client: at("192.0.2.7:0"), Virtual: at("10.0.1.100:5060"), Dest: at("10.0.2.11:5060"), PEName: "sip", PEData: "a@b"},
		{Proto: 0, Expire: time.Second, State: "NONE", Client: at("[2001:db8::1]:0"), Virtual: at("[::9]:0"), Dest: at("10.0.2.11:0")},
		{Proto: 47, State: "NONE", Client: at("192.0.2.7:1"), Virtual: at("192.0.2.7:1"), Dest: at("192.0.2.7:1")},
	}
	const want = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n" +
		"TCP C0000207 9C40 0A000164 0050 0A00020B 1F90 ESTABLISHED     899\n" +
		"UDP C0000207 0000 0A000164 13C4 0A00020B 13C4 UDP               0 sip a@b\n" +
		"IP  2001:0db8:0000:0000:0000:0000:0000:0001 0000 0000:0000:0000:0000:0000:0000:0000:0009 0000 0A00020B 0000 NONE              1\n" +
		"IP_47 C0000207 0001 C0000207 0001 C0000207 0001 NONE              0\n"
	var b strings.Builder
	if err := ProcConns(&b, slices.Values(in)); err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, visible(b.String()), visible(want))
	}
	if err := ProcConns(&limited{1 << 17}, repeat(oneConn, 1<<30)); !errors.Is(err, errFull) { // must stop
		t.Errorf("to a full disk: %v", err)
	}
}

// The lines are those recorded, with figures in them.
func TestProcStats(t *testing.T) {
	s, r := Stats{1, 0xabcdef, 3, 1 << 40, 5}, Rates{6, 7, 8, 9, 255}
	var b strings.Builder
	if err := errors.Join(ProcStats(&b, s, r), ProcStatsPerCPU(&b, []Stats{s, {}}, s, r),
		ProcApps(&b, []App{{packet.TCP, 21, 2, "ftp"}})); err != nil {
		t.Fatal(err)
	}
	const want = "   Total Incoming Outgoing         Incoming         Outgoing\n" +
		"   Conns  Packets  Packets            Bytes            Bytes\n" +
		"       1   ABCDEF        3      10000000000                5\n" +
		"\n" +
		" Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n" +
		"       6        7        8                9               FF\n" +
		"       Total Incoming Outgoing         Incoming         Outgoing\n" +
		"CPU    Conns  Packets  Packets            Bytes            Bytes\n" +
		"  0        1   ABCDEF        3      10000000000                5\n" +
		"  1        0        0        0                0                0\n" +
		"  ~        1   ABCDEF        3      10000000000                5\n" +
		"\n" +
		"     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n" +
		"           6        7        8                9               FF\n" +
		"prot port    usecnt name\n" +
		"TCP  21      2      ftp              \n"
	if b.String() != want {
		t.Errorf("\n%s\nwant\n%s", visible(b.String()), visible(want))
	}
	if err := errors.Join(ProcStats(&limited{}, s, r), ProcStatsPerCPU(&limited{}, nil, s, r), ProcApps(&limited{}, nil)); strings.Count(err.Error(), "full") != 3 {
		t.Errorf("to a full disk: %v", err)
	}
}
