package ipvsadm

import (
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// This file reads listings back into entries, word by word, so that a recorded listing
// can be compared with what Printer makes of the entries.

func testNames(t testing.TB) *Names {
	t.Helper()
	var files [2]*os.File
	for i, name := range []string{"testdata/hosts", "testdata/services"} {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files[i] = f
	}
	n, err := ReadNames(files[0], files[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// listing is what readListing finds.
type listing struct {
	size     int // 0: there was no version line
	services []ServiceEntry
}

// reader reads a listing; the first word that does not fit panics with a message, which
// fails the test at hand.
type reader struct {
	names Resolver
	list  List
}

func (r reader) listing(text string) (l listing) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if fmt.Sscanf(lines[0], "IP Virtual Server version 1.2.1 (size=%d)", &l.size); l.size != 0 {
		lines = lines[1:]
	}
	for _, line := range lines[2:] {
		words := strings.Fields(line)
		if words[0] != "->" {
			l.services = append(l.services, r.service(words))
			continue
		}
		s := &l.services[len(l.services)-1]
		s.Servers = append(s.Servers, r.server(words[1:], s.Service.Key.Proto))
	}
	return l
}

func (r reader) service(w []string) (e ServiceEntry) {
	k := &e.Service.Key
	if w[0] == "FWM" {
		k.Fwmark = uint32(signed(w[1]))
		w = w[2:]
		if len(w) > 0 && w[0] == "IPv6" {
			k.V6, w = true, w[1:]
		}
	} else {
		k.Proto = protoOf(w[0])
		k.Addr, k.Port = r.endpoint(w[1], k.Proto)
		w = w[2:]
	}
	if r.list.Stats {
		e.Stats = Stats{unsigned(w[0]), unsigned(w[1]), unsigned(w[2]), unsigned(w[3]), unsigned(w[4])}
		return e
	}
	if r.list.Rate {
		e.Rates = Rates{unsigned(w[0]), unsigned(w[1]), unsigned(w[2]), unsigned(w[3]), unsigned(w[4])}
		return e
	}
	s := &e.Service
	s.Scheduler, w = w[0], w[1:]
	for len(w) > 0 {
		switch {
		case w[0][0] == '(':
			for _, f := range strings.Split(strings.Trim(w[0], "()"), ",") {
				s.SchedFlags |= map[string]uint8{
					"sh-fallback": 1, "mh-fallback": 1, "flag-1": 1,
					"sh-port": 2, "mh-port": 2, "flag-2": 2, "flag-3": 4}[f]
			}
			w = w[1:]
		case w[0] == "persistent":
			s.Persistence.Timeout = time.Duration(unsigned(w[1])) * time.Second
			w = w[2:]
		case w[0] == "mask" && strings.Contains(w[1], "."):
			s.Persistence.Netmask = netip.MustParseAddr(w[1])
			w = w[2:]
		case w[0] == "mask":
			s.Persistence.Prefix = int(unsigned(w[1]))
			w = w[2:]
		case w[0] == "pe":
			s.Persistence.Engine = w[1]
			w = w[2:]
		case w[0] == "ops":
			s.OnePacket = true
			w = w[1:]
		default:
			panic("listing: service with " + w[0])
		}
	}
	return e
}

func (r reader) server(w []string, proto uint8) (e ServerEntry) {
	d := &e.Server
	d.Addr, d.Port = r.endpoint(w[0], proto)
	w = w[1:]
	switch {
	case r.list.Stats:
		e.Stats = Stats{unsigned(w[0]), unsigned(w[1]), unsigned(w[2]), unsigned(w[3]), unsigned(w[4])}
		return e
	case r.list.Rate:
		e.Rates = Rates{unsigned(w[0]), unsigned(w[1]), unsigned(w[2]), unsigned(w[3]), unsigned(w[4])}
		return e
	case r.list.Thresholds:
		d.Upper, d.Lower = int(unsigned(w[0])), int(unsigned(w[1]))
	case r.list.PersistentConn:
		d.Weight, e.PersistConn = int(unsigned(w[0])), uint32(unsigned(w[1]))
	default:
		d.Forward = map[string]conf.Forward{
			"Masq": conf.NAT, "Route": conf.DR, "Tunnel": conf.Tunnel, "Local": conf.Local}[w[0]]
		if r.list.TunInfo {
			r.tunnel(d, w[1])
			w = w[1:]
		}
		d.Weight = int(unsigned(w[1]))
	}
	e.ActiveConn, e.InActConn = uint32(unsigned(w[len(w)-2])), uint32(unsigned(w[len(w)-1]))
	return e
}

func (r reader) tunnel(d *conf.Server, info string) {
	parts := strings.Split(info, ":")
	flags := map[string]uint8{"-c": 0, "+c": 1, "r+c": 2}
	switch parts[0] {
	case "gue":
		d.TunType, d.TunPort, d.TunFlags = conf.TunGUE, uint16(unsigned(parts[1])), flags[parts[2]]
	case "gre":
		d.TunType, d.TunFlags = conf.TunGRE, flags[parts[1]]
	case "ipip", "n/a":
	default:
		panic("listing: tunnel " + info)
	}
}

func (r reader) endpoint(s string, proto uint8) (netip.Addr, uint16) {
	i := strings.LastIndexByte(s, ':')
	host, port := strings.Trim(s[:i], "[]"), s[i+1:]
	a, err := netip.ParseAddr(host)
	if err != nil {
		a, _ = r.names.Host(host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		p, ok := r.names.Service(port, proto)
		if !ok {
			panic("listing: port " + port)
		}
		n = uint64(p)
	}
	return a, uint16(n)
}

// conns reads a connection list.
func (r reader) conns(text string) (all []ConnEntry) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range lines[2:] {
		w := strings.Fields(line)
		c := ConnEntry{Proto: protoOf(w[0]), State: w[2]}
		m, s, _ := strings.Cut(w[1], ":")
		c.Expire = time.Duration(unsigned(m))*time.Minute + time.Duration(unsigned(s))*time.Second +
			999*time.Millisecond // seconds are rounded down
		for i, to := range []*netip.AddrPort{&c.Client, &c.Virtual, &c.Dest} {
			*to = netip.AddrPortFrom(r.endpoint(w[3+i], c.Proto))
		}
		if len(w) > 6 {
			c.PEName, c.PEData = w[6], w[7]
		}
		all = append(all, c)
	}
	return all
}

func protoOf(s string) uint8 {
	n, ok := map[string]uint8{"IP": 0, "TCP": packet.TCP, "UDP": packet.UDP, "SCTP": packet.SCTP}[s]
	if !ok {
		panic("listing: protocol " + s)
	}
	return n
}

func unsigned(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func signed(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// services prints a table; reversed puts it in first, to see that it is sorted.
func printServices(t testing.TB, list List, names Namer, l listing, reversed bool) string {
	t.Helper()
	if reversed {
		slices.Reverse(l.services)
		for i := range l.services {
			slices.Reverse(l.services[i].Servers)
		}
	}
	var b strings.Builder
	p := NewPrinter(&b, list, names)
	var err error
	if l.size == 0 {
		err = p.Service(&l.services[0])
	} else {
		err = p.Services(l.size, slices.Values(l.services))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func printConns(t testing.TB, list List, names Namer, conns iter.Seq[ConnEntry]) string {
	t.Helper()
	var b strings.Builder
	if err := NewPrinter(&b, list, names).Conns(conns); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
