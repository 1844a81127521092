package ipvsadm

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// The file is read once, and ports have names by protocol.
func TestSystemReadsTheServicesFileOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(file, []byte("domain 53/udp\nhttp 80/tcp www\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := System{ServicesFile: file}
	for range 2 {
		if name, ok := s.ServiceName(80, packet.TCP); !ok || name != "http" {
			t.Errorf("80/tcp: %q", name)
		}
		if name, ok := s.ServiceName(80, packet.UDP); ok {
			t.Errorf("80/udp: %q", name)
		}
		if port, ok := s.Service("www", packet.TCP); !ok || port != 80 {
			t.Errorf("www: %d", port)
		}
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
	}
	none := System{ServicesFile: file}
	if name, ok := none.ServiceName(80, packet.TCP); ok {
		t.Errorf("without a file: %q", name)
	}
}

// A host's name is asked for once; after a silent resolver nothing more is asked.
func TestSystemAsksForEachHostOnce(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	s := System{hosts: map[netip.Addr]string{a: "a.example", b: ""}}
	if name, ok := s.HostName(a); !ok || name != "a.example" {
		t.Errorf("known: %q, %v", name, ok)
	}
	if name, ok := s.HostName(b); ok {
		t.Errorf("known to have none: %q", name)
	}
	s.silent = true
	c := netip.MustParseAddr("127.0.0.1")
	if name, ok := s.HostName(c); ok {
		t.Errorf("asked a silent resolver: %q", name)
	}
	if _, asked := s.hosts[c]; asked {
		t.Error("kept an answer that nobody gave")
	}
}
