package realserver

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// files are what is in the state directory.
func (p *pair) files() []os.DirEntry {
	p.t.Helper()
	list, err := os.ReadDir(p.state)
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

// While it runs the VIP is there and hidden, and afterwards everything is as it was,
// also what was not 0 before.
func TestRunAppliesAndUndoes(t *testing.T) {
	p := newPair(t)
	p.set("ipv4/conf/all/arp_announce", "2") // right already
	p.set("ipv4/conf/eth0/arp_announce", "1")
	before := p.settings()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := p.serve("--vip", "192.0.2.10", "--vip", "2001:db8::10")
		during := p.settings()
		for _, want := range []string{
			"all.arp_ignore=1\n", "all.arp_announce=2\n", "eth0.arp_ignore=1\n", "eth0.arp_announce=2\n",
			"all.rp_filter=0\n", "lo 192.0.2.10/32\n", "lo 2001:db8::10/128\n",
		} {
			if !strings.Contains(during, want) {
				t.Errorf("while it runs there is no %q in\n%s", want, during)
			}
		}
		if a := p.ip(p.server, "-6 -o addr show dev lo to 2001:db8::10"); !strings.Contains(a, "nodad") {
			t.Errorf("IPv6 VIP without nodad:\n%s", a)
		}
		if said := s.end(sig); strings.Contains(said, "all.arp_announce") {
			t.Errorf("it changed what was right:\n%s", said)
		}
		if after := p.settings(); after != before {
			t.Errorf("after %v:\n%s\nbefore:\n%s", sig, after, before)
		}
		if f := p.files(); len(f) != 0 {
			t.Errorf("files left: %v", f)
		}
	}
}

// The host answers ARP for a VIP on lo unless it is told not to; the real server is.
func TestVIPIsNotAnswered(t *testing.T) {
	p := newPair(t)
	p.ip(p.director, "route add 192.0.2.10/32 dev eth0") // on the link, so ARP asks for it
	p.ip(p.server, "addr add 192.0.2.10/32 dev lo")
	conn, vip := p.listen("udp4", ":0"), &net.UDPAddr{IP: net.ParseIP("192.0.2.10"), Port: 9}
	ask := func() string {
		p.ip(p.director, "neigh flush all")
		if _, err := conn.WriteTo([]byte("x"), vip); err != nil {
			t.Fatal(err)
		}
		for {
			n := p.ip(p.director, "neigh show 192.0.2.10")
			if strings.Contains(n, "lladdr") || strings.Contains(n, "FAILED") {
				return n
			}
		}
	}
	if n := ask(); !strings.Contains(n, "lladdr") {
		t.Fatalf("without it the VIP should be answered: %s", n)
	}
	p.ip(p.server, "addr del 192.0.2.10/32 dev lo")
	s := p.serve("--vip", "192.0.2.10")
	if n := ask(); strings.Contains(n, "lladdr") {
		t.Errorf("the VIP is answered: %s", n)
	}
	s.end(syscall.SIGTERM)
}

// What a killed one left goes by --undo, or at the next start.
func TestKilledIsUndone(t *testing.T) {
	p := newPair(t)
	before := p.settings()
	p.serve("--vip", "192.0.2.10").end(syscall.SIGKILL)
	if p.settings() == before {
		t.Fatal("killed, it left nothing: the test shows nothing")
	}
	if out, err := p.once("--undo"); err != nil || !strings.Contains(out, "undone 192.0.2.10/32 on lo") {
		t.Errorf("%v: %s", err, out)
	}
	if after := p.settings(); after != before || len(p.files()) != 0 {
		t.Errorf("after --undo:\n%s\nbefore:\n%s\nfiles %v", after, before, p.files())
	}
	if out, err := p.once("--undo"); err != nil || !strings.Contains(out, "nothing to undo") {
		t.Errorf("%v: %s", err, out)
	}

	p.serve("--vip", "192.0.2.10").end(syscall.SIGKILL)
	s := p.serve("--vip", "192.0.2.20")
	if during := p.settings(); strings.Contains(during, "192.0.2.10/") || !strings.Contains(during, "192.0.2.20/") {
		t.Errorf("after the next start:\n%s", during)
	}
	s.end(syscall.SIGTERM)
	if after := p.settings(); after != before {
		t.Errorf("after the next end:\n%s\nbefore:\n%s", after, before)
	}
}

// A value somebody else has changed meanwhile is theirs.
func TestForeignChangeStays(t *testing.T) {
	p := newPair(t)
	s := p.serve("--vip", "192.0.2.10")
	p.set("ipv4/conf/eth0/arp_ignore", "2")
	p.ip(p.server, "addr del 192.0.2.10/32 dev lo")
	if said := s.end(syscall.SIGTERM); !strings.Contains(said, "net.ipv4.conf.eth0.arp_ignore is 2 by now") {
		t.Errorf("it said\n%s", said)
	}
	if now := p.settings(); !strings.Contains(now, "eth0.arp_ignore=2\n") || !strings.Contains(now, "all.arp_ignore=0\n") {
		t.Errorf("afterwards:\n%s", now)
	}
}

func TestPrintChangesNothing(t *testing.T) {
	p := newPair(t)
	p.set("ipv4/conf/all/rp_filter", "1")
	before := p.settings()
	out, err := p.once("--vip", "192.0.2.10", "--decap", "--print")
	if err != nil || p.settings() != before || len(p.files()) != 0 {
		t.Fatalf("%v: %s\n%s", err, out, p.settings())
	}
	do, undo, _ := strings.Cut(out, "# to undo it")
	// Run as they stand, but for the kernel modules, the commands do what it does.
	p.shell(do)
	byHand := p.settings()
	p.shell(undo)
	if after := p.settings(); after != before {
		t.Errorf("after the printed undo:\n%s\nbefore:\n%s", after, before)
	}
	p.set("ipv4/conf/all/rp_filter", "0") // by hand it has to be 0 for tunnels
	s := p.serve("--vip", "192.0.2.10")
	if during := p.settings(); during != byHand {
		t.Errorf("it made\n%s\nthe printed commands\n%s", during, byHand)
	}
	s.end(syscall.SIGTERM)
}

// shell runs printed commands on the server, but for those that need modules.
func (p *pair) shell(script string) {
	p.t.Helper()
	for _, line := range strings.Split(script, "\n") {
		if strings.HasPrefix(line, "#") || line == "" || strings.Contains(line, "modprobe") || strings.Contains(line, "tunl0") || strings.Contains(line, "gre0") {
			continue
		}
		p.run("ip", "netns", "exec", p.server, "sh", "-c", line)
	}
}

func TestRunRefuses(t *testing.T) {
	p := newPair(t)
	first := p.serve("--vip", "192.0.2.10", "--decap")
	during := p.settings()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--vip", "192.0.2.20"}, "runs here already, process "},
		{[]string{"--undo"}, "runs here already, process "},
		{[]string{"--vip", "192.0.2.20", "--state", t.TempDir(), "--decap"}, "there is an interface dirigo-decap already"},
		{[]string{"--vip", "203.0.113.2", "--state", t.TempDir()}, "configured on eth0, which would answer for it"},
		{[]string{"--vip", "nonsense"}, "not an IP address"},
		{[]string{"--interface", "eth7", "--vip", "192.0.2.20", "--state", t.TempDir()}, "interface eth7: no such interface"},
		{nil, "--vip is required"},
	} {
		out, err := p.once(c.args...)
		if err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%v: %v: %s; want %q", c.args, err, out, c.want)
		}
	}
	if now := p.settings(); now != during {
		t.Errorf("those refused left\n%s\nof\n%s", now, during)
	}
	first.end(syscall.SIGTERM)
	p.ip(p.server, "link set lo down")
	if out, err := p.once("--vip", "192.0.2.10"); err == nil || !strings.Contains(out, "lo is down") {
		t.Errorf("lo down: %v: %s", err, out)
	}
}
