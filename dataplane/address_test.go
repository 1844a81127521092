package dataplane

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
)

// The cases of inet_addr_type and ipv6_addr_type that ip_vs_new_dest tells apart.
func TestServersAreSingleMachines(t *testing.T) {
	p := &Plane{}
	p.SetEnvironment(Environment{
		Ports: []PortEnv{{Addresses: []netip.Prefix{
			netip.MustParsePrefix("10.0.2.1/24"), netip.MustParsePrefix("10.0.4.9/31"), netip.MustParsePrefix("10.0.5.9/32"),
			netip.MustParsePrefix("2001:db8::1/64"),
		}}},
		Routes: []Route{
			{Dest: netip.MustParsePrefix("fe80::5/128"), Kind: ToHost},
			{Dest: netip.MustParsePrefix("fe80::/64")},
		},
	})
	for address, good := range map[string]bool{
		"10.0.2.11": true, "10.0.2.0": true, "10.0.2.255": false, "10.0.3.255": true,
		"10.0.4.9": true, "10.0.5.9": true, "127.0.0.1": true, "127.255.255.255": false,
		"0.0.0.0": false, "0.0.0.1": true, "224.0.0.1": false, "239.255.255.255": false,
		"240.0.0.1": true, "255.255.255.255": false,
		"2001:db8::ffff:ffff:ffff:ffff": true, "::1": true, "::": false, "::ffff:10.0.2.11": false, "::10.0.2.11": true,
		"ff02::1": false, "fe80::1": false, "fe80::5": true, "fec0::1": true,
	} {
		err := p.CheckServerAddress(netip.MustParseAddr(address))
		if (err == nil) != good || err != nil && !errors.Is(err, conf.ErrInvalid) {
			t.Errorf("%s: %v, want good %v", address, err, good)
		}
	}
}

// Each writer of the data plane is refused what a kernel refuses, in the kernel's order.
func TestEditsAreRefusedAsByAKernel(t *testing.T) {
	p, err := New(Config{MaxConnections: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Conns().Close)
	svc := conf.Service{Key: conf.ServiceKey{Proto: 6, Addr: netip.MustParseAddr("10.0.1.100"), Port: 80}, Scheduler: "rr"}
	if err := p.AddService(svc); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*conf.Service)) conf.Service {
		s := svc
		change(&s)
		return s
	}
	other := func(s *conf.Service) { s.Key.Port = 81 }
	good := conf.Server{Addr: netip.MustParseAddr("10.0.2.11"), Port: 80, Weight: 1}
	server := func(change func(*conf.Server)) conf.Server {
		s := good
		change(&s)
		return s
	}
	if err := p.AddServer(svc.Key, good); err != nil {
		t.Fatal(err)
	}
	missing := conf.ServiceKey{Fwmark: 9}
	for i, c := range []struct{ got, want error }{
		{p.AddService(with(func(s *conf.Service) { s.Scheduler = "nosuch" })), conf.ErrExists},
		{p.AddService(with(func(s *conf.Service) { other(s); s.Scheduler = "nosuch" })), conf.ErrNoScheduler},
		{p.AddService(with(func(s *conf.Service) { other(s); s.Persistence.Engine = "none" })), conf.ErrNoScheduler},
		{p.EditService(with(func(s *conf.Service) { s.Persistence.Engine = "none" })), conf.ErrNoScheduler},
		{p.EditService(with(func(s *conf.Service) { other(s); s.Persistence.Engine = "none" })), conf.ErrNoService},
		{p.AddServer(missing, server(func(s *conf.Server) { s.Weight = -1 })), conf.ErrNoService},
		{p.AddServer(svc.Key, server(func(s *conf.Server) { s.Weight = -1 })), conf.ErrRange}, // before: it is there already
		{p.AddServer(svc.Key, server(func(s *conf.Server) { s.Lower = 1 })), conf.ErrRange},
		{p.AddServer(svc.Key, server(func(s *conf.Server) { s.Forward, s.TunType = conf.Tunnel, conf.TunGUE })), conf.ErrInvalid},
		{p.AddServer(svc.Key, server(func(s *conf.Server) { s.Addr = netip.MustParseAddr("224.0.0.1") })), conf.ErrInvalid},
		{p.EditServer(svc.Key, server(func(s *conf.Server) { s.Addr, s.Lower = netip.MustParseAddr("10.0.2.12"), 1 })), conf.ErrRange},
		{p.EditServer(svc.Key, server(func(s *conf.Server) { s.Addr = netip.MustParseAddr("10.0.2.12") })), conf.ErrNoServer},
		{p.DeleteServer(svc.Key, server(func(s *conf.Server) { s.Weight = -1 })), nil}, // only the address counts
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%d: %v, want %v", i, c.got, c.want)
		}
	}
}
