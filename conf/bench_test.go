package conf

import (
	"fmt"
	"net/netip"
	"testing"
)

// big is a state of a large site: services times servers.
func big(services, servers int) *Config {
	c := Default()
	c.Ports = []Port{{Name: "eth0", RingSlots: DefaultRingSlots}}
	for i := range services {
		vip := netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
		s := Service{Name: fmt.Sprintf("service-%d", i), Key: ServiceKey{Proto: 6, Addr: vip, Port: 80}, Scheduler: "wlc"}
		for j := range servers {
			s.Servers = append(s.Servers, Server{Addr: netip.AddrFrom4([4]byte{10, byte(j), byte(i >> 8), byte(i)}), Port: 80, Weight: j})
		}
		c.Services = append(c.Services, s)
	}
	return c
}

func BenchmarkParse1000x10(b *testing.B) {
	text := big(1000, 10).TOML()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse("b.toml", text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate1000x10(b *testing.B) {
	c := big(1000, 10)
	for b.Loop() {
		if err := Validate(c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDiff1000x10(b *testing.B) {
	old, new := big(1000, 10), big(1000, 10)
	new.Services[500].Servers[5].Weight = 77
	for b.Loop() {
		if d := Diff(old, new); len(d) != 1 {
			b.Fatal(d)
		}
	}
}

// One command on a large state: what ipvsadm -e costs here.
func BenchmarkApplyOneEdit1000x10(b *testing.B) {
	c := big(1000, 10)
	s := &c.Services[500]
	d := s.Servers[5]
	d.Weight = 77
	for b.Loop() {
		if _, err := Apply(c, []Change{EditServer{Key: s.Key, Server: d}}); err != nil {
			b.Fatal(err)
		}
	}
}

// A whole restore: every service and server by a command of its own.
func BenchmarkRestore1000x10(b *testing.B) {
	changes := Diff(Default(), big(1000, 10))
	var commands []Change
	for _, c := range changes {
		if a, ok := c.(AddService); ok {
			servers := a.Service.Servers
			a.Service.Servers = nil
			commands = append(commands, a)
			for _, d := range servers {
				commands = append(commands, AddServer{a.Service.Key, d})
			}
		}
	}
	for b.Loop() {
		if _, err := Apply(Default(), commands); err != nil {
			b.Fatal(err)
		}
	}
}
