package host

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func guardIn(t testing.TB, ns, name string, ports []string, rules Rules) *Guard {
	t.Helper()
	g := NewGuard(name)
	in(t, ns, func() {
		if err := g.Install(ports, rules); err != nil {
			t.Error(err)
		}
	})
	return g
}

func update(t testing.TB, ns string, g *Guard, rules Rules) {
	t.Helper()
	in(t, ns, func() {
		if err := g.Update(rules); err != nil {
			t.Error(err)
		}
	})
}

func left(t testing.TB, ns, name string) (names []string) {
	t.Helper()
	in(t, ns, func() {
		var err error
		if names, err = Left(name); err != nil {
			t.Error(err)
		}
	})
	return names
}

func oneVIP(vip string) Rules { return Rules{Services: []conf.Service{tcpService(vip, 80)}} }

func dummies(t testing.TB, ns string, names ...string) {
	t.Helper()
	for _, n := range names {
		ip(t, ns, "link add "+n+" type veth peer name x"+n)
	}
}

// A director that is killed leaves its guard; the next one's Install replaces it, and
// Clear takes it away with nobody alive. Other tables are not touched.
func TestLeftoversOfAKilledDirector(t *testing.T) {
	for _, next := range []string{"clear", "install"} {
		t.Run(next, func(t *testing.T) {
			ns := newNS(t)
			dummies(t, ns, "d0")
			nft(t, ns, "add table netdev dirigo_crash2")
			nft(t, ns, "add table inet filter")
			foreign := nft(t, ns, "list ruleset")
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+ns)
			stdin, err := cmd.StdinPipe() // held open: the child waits on it
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			said, _ := bufio.NewReader(out).ReadString('\n')
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if said != "installed\n" {
				t.Fatalf("child: %s", said)
			}
			if l := left(t, ns, "crash"); !slices.Equal(l, []string{"dirigo_crash"}) {
				t.Fatalf("Left after the kill: %v", l)
			}
			if l := left(t, ns, ""); len(l) != 2 {
				t.Errorf("Left of all directors: %v", l)
			}
			if next == "install" {
				g := guardIn(t, ns, "crash", []string{"d0"}, oneVIP("10.9.9.8"))
				rules := nft(t, ns, "list table netdev dirigo_crash")
				if strings.Contains(rules, "10.9.9.9") || !strings.Contains(rules, "10.9.9.8") || strings.Count(rules, "hook ingress") != 1 {
					t.Errorf("after Install:\n%s", rules)
				}
				in(t, ns, func() {
					if err := g.Remove(); err != nil {
						t.Error(err)
					}
				})
			}
			in(t, ns, func() {
				for range 2 { // the second finds nothing, which is no error
					if err := Clear("crash"); err != nil {
						t.Error(err)
					}
				}
			})
			if got := nft(t, ns, "list ruleset"); got != foreign {
				t.Errorf("left:\n%s\nwanted:\n%s", got, foreign)
			}
			if l := left(t, ns, "crash"); len(l) != 0 {
				t.Errorf("Left: %v", l)
			}
		})
	}
}

// Update changes the elements and keeps the counters; the sets are what a fresh Install
// of the same rules makes.
func TestUpdateIsADifference(t *testing.T) {
	pin(t)
	l := newLab(t, false, true)
	g := guardIn(t, l.ns, "lab", []string{"d0", "d1"}, l.rules())
	l.reaction(l.client, l.tcp(l.client, l.at(1, 2), 4000, l.at(9, 1), 80, false))

	changed := l.rules()
	changed.Services = changed.Services[1:]                                                 // no VIP any more
	changed.Marks[0].DestPorts = []conf.PortRange{{First: 2000, Last: 4000}}                // overlaps what was
	changed.Services[1].Servers = append(changed.Services[1].Servers, nat("10.7.2.9", 443)) // another answer
	update(t, l.ns, g, changed)
	if s := stats(t, l.ns, g); s[countVIP] != 1 {
		t.Errorf("counters after Update: %v", s)
	}
	if got := l.reaction(l.client, l.tcp(l.client, l.at(1, 2), 4000, l.at(9, 1), 80, false)); len(got) == 0 {
		t.Error("the VIP is still guarded")
	}
	if got := l.reaction(l.client, l.tcp(l.client, l.at(1, 2), 4000, l.at(8, 5), 3500, false)); len(got) != 0 {
		t.Errorf("a port marked now: %v", got)
	}
	if got := l.reaction(l.client, l.tcp(l.client, l.at(1, 2), 4000, l.at(8, 5), 1500, false)); len(got) == 0 {
		t.Error("a port marked no more is still guarded")
	}
	updated := sets(t, l.ns, "dirigo_lab")
	before := stats(t, l.ns, g)
	in(t, l.ns, func() {
		if err := g.Install([]string{"d0", "d1"}, changed); err != nil {
			t.Error(err)
		}
	})
	if after := stats(t, l.ns, g); !maps.Equal(before, after) || before[countMark] != 1 {
		t.Errorf("counters %v, after another Install %v", before, after)
	}
	guardIn(t, l.ns, "fresh", []string{"d0", "d1"}, changed)
	fresh := sets(t, l.ns, "dirigo_fresh")
	for name, want := range fresh {
		if !slices.Equal(updated[name], want) {
			t.Errorf("set %s holds %v, fresh %v", name, updated[name], want)
		}
	}
	if len(updated) != len(fresh) || len(fresh) == 0 {
		t.Errorf("%d sets, fresh %d", len(updated), len(fresh))
	}
}

// sets are the elements of a table's sets as nft prints them, sorted.
func sets(t testing.TB, ns, table string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	name := ""
	for _, line := range strings.Split(nft(t, ns, "-n list table netdev "+table), "\n") {
		line = strings.Trim(line, "\t }")
		if after, ok := strings.CutPrefix(line, "set "); ok {
			name = strings.TrimSuffix(after, " {")
			out[name] = nil
			continue
		}
		line = strings.TrimPrefix(line, "elements = { ")
		if strings.HasPrefix(line, "chain") {
			break
		}
		if name == "" || line == "" || strings.HasPrefix(line, "type ") || strings.HasPrefix(line, "flags ") || strings.HasPrefix(line, "size ") {
			continue
		}
		for _, e := range strings.Split(strings.TrimSuffix(line, ","), ", ") {
			out[name] = append(out[name], strings.TrimSpace(e))
		}
	}
	for _, elements := range out {
		slices.Sort(elements)
	}
	return out
}

// An interface that is not there does not keep the others unguarded; Update guards it
// when it has come, one that went and came again, and all after a firewall's flush.
func TestGuardFollowsInterfaces(t *testing.T) {
	ns := newNS(t)
	dummies(t, ns, "a0", "a1")
	g := guardIn(t, ns, "x", []string{"a0", "a1", "a2"}, oneVIP("10.9.9.9"))
	check := func(what string, want ...string) {
		t.Helper()
		if got := g.Guarded(); !slices.Equal(got, want) {
			t.Errorf("%s: Guarded %v, want %v", what, got, want)
		}
		rules := nft(t, ns, "list ruleset")
		if n := strings.Count(rules, "hook ingress device"); n != len(want) {
			t.Errorf("%s: %d hooks\n%s", what, n, rules)
		}
		for _, p := range want {
			if !strings.Contains(rules, fmt.Sprintf("hook ingress device \"%s\"", p)) {
				t.Errorf("%s: %s is not guarded\n%s", what, p, rules)
			}
		}
	}
	check("at first", "a0", "a1")
	dummies(t, ns, "a2")
	update(t, ns, g, oneVIP("10.9.9.9"))
	check("a2 has come", "a0", "a1", "a2")
	ip(t, ns, "link del a1")
	update(t, ns, g, oneVIP("10.9.9.9"))
	check("a1 has gone", "a0", "a2")
	ip(t, ns, "link del a0")
	dummies(t, ns, "a0")
	update(t, ns, g, oneVIP("10.9.9.9"))
	check("a0 is another", "a0", "a2")

	nft(t, ns, "flush ruleset")
	in(t, ns, func() {
		if _, err := g.Stats(); !errors.Is(err, ErrGone) {
			t.Errorf("Stats after a flush: %v", err)
		}
	})
	update(t, ns, g, oneVIP("10.9.9.7"))
	check("after a flush", "a0", "a2")
	nft(t, ns, "flush ruleset")
	update(t, ns, g, oneVIP("10.9.9.7"))
	check("after a flush, same rules", "a0", "a2")
	in(t, ns, func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	if rules := nft(t, ns, "list ruleset"); rules != "" {
		t.Errorf("after Remove:\n%s", rules)
	}
}

// A mark rule for one port guards there and nowhere else; a rule that comes later brings
// its own sets.
func TestMarkRulesByPort(t *testing.T) {
	pin(t)
	l := newLab(t, false, true)
	rules := l.rules()
	fromClient := l.tcp(l.client, l.at(1, 2), 4000, l.at(8, 5), 2000, false)
	fromServer := l.tcp(l.server, l.at(2, 2), 4000, l.at(1, 3), 2000, false)
	rules.Marks = nil
	g := guardIn(t, l.ns, "lab", []string{"d0", "d1"}, rules)
	if len(l.reaction(l.client, fromClient)) == 0 || len(l.reaction(l.server, fromServer)) == 0 {
		t.Fatal("guarded without a mark rule")
	}
	rules.Marks = []conf.Mark{{Proto: packet.TCP, DestPorts: []conf.PortRange{{First: 2000, Last: 2000}}, InPort: "d1", Value: 3, Mask: 0xff}}
	update(t, l.ns, g, rules)
	if len(l.reaction(l.client, fromClient)) == 0 {
		t.Error("the rule for d1 guards d0")
	}
	if got := l.reaction(l.server, fromServer); len(got) != 0 {
		t.Errorf("the rule for d1 does not guard it: %v", got)
	}
	rules.Marks[0].InPort = "d0"
	update(t, l.ns, g, rules)
	if got := l.reaction(l.client, fromClient); len(got) != 0 {
		t.Errorf("the rule for d0 does not guard it: %v", got)
	}
	if len(l.reaction(l.server, fromServer)) == 0 {
		t.Error("the rule for d0 guards d1")
	}
}

// A tagged frame is not for this interface: a VLAN interface above it, which may be a
// port itself, has to see it.
func TestTaggedFramesPass(t *testing.T) {
	pin(t)
	l := newLab(t, false, true)
	g := guardIn(t, l.ns, "lab", []string{"d0"}, l.rules())
	eth := &layers.Ethernet{SrcMAC: l.client.mac, DstMAC: l.hostMAC[0], EthernetType: layers.EthernetTypeDot1Q}
	tag := &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeIPv4}
	inner := l.ip(l.at(1, 2), l.at(9, 1), layers.IPProtocolTCP, &layers.TCP{SrcPort: 4000, DstPort: 80, SYN: true})
	l.reaction(l.client, serialize(t, append([]gopacket.SerializableLayer{eth, tag}, inner...)...))
	if s := stats(t, l.ns, g); s[countVIP] != 0 {
		t.Errorf("a tagged frame was dropped: %v", s)
	}
	l.reaction(l.client, serialize(t, append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: l.client.mac, DstMAC: l.hostMAC[0], EthernetType: layers.EthernetTypeIPv4}}, inner...)...))
	if s := stats(t, l.ns, g); s[countVIP] != 1 {
		t.Errorf("the same frame without the tag: %v", s)
	}
}

// manyServices are n services of three NAT servers each, every one on a VIP of its own.
func manyServices(n int) (r Rules) {
	for i := range n {
		s := tcpService("10.0.0.0", 80)
		s.Key.Addr = netip.AddrFrom4([4]byte{10, 100, byte(i >> 8), byte(i)})
		for j := range 3 {
			s.Servers = append(s.Servers, conf.Server{Addr: netip.AddrFrom4([4]byte{10, byte(101 + j), byte(i >> 8), byte(i)}), Port: 8080})
		}
		r.Services = append(r.Services, s)
	}
	return r
}

// Ten thousand services go in, change and go out in well under a second each. A step
// counts by the best of three rounds, as the machine may have other things to do.
func TestTenThousandServices(t *testing.T) {
	const n, rounds = 10000, 3
	limit := time.Second
	if raceEnabled {
		limit = 10 * time.Second
	}
	ns := newNS(t)
	dummies(t, ns, "d0")
	many := manyServices(n)
	steps := []struct {
		what  string
		rules Rules
		want  int
	}{
		{"10 000 added", many, n},
		{"half of them removed", Rules{Services: many.Services[:n/2]}, n / 2},
		{"the other half instead", Rules{Services: many.Services[n/2:]}, n / 2},
		{"one added", Rules{Services: many.Services[n/2-1:]}, n/2 + 1},
		{"none", Rules{}, 0},
	}
	best := make([]time.Duration, len(steps))
	for round := range rounds {
		g := guardIn(t, ns, "x", []string{"d0"}, Rules{})
		for i, step := range steps {
			start := time.Now()
			update(t, ns, g, step.rules)
			if took := time.Since(start); round == 0 || took < best[i] {
				best[i] = took
			}
			if round > 0 {
				continue // nft takes seconds to list them
			}
			elements := sets(t, ns, "dirigo_x")
			if len(elements["vip4"]) != step.want || len(elements["reply4"]) != 3*step.want {
				t.Errorf("%s: %d VIPs, %d answers in the kernel", step.what, len(elements["vip4"]), len(elements["reply4"]))
			}
		}
	}
	for i, step := range steps {
		t.Logf("%s: %v", step.what, best[i])
		if best[i] > limit {
			t.Errorf("%s took %v", step.what, best[i])
		}
	}
}

// While the table is written anew again and again, no frame gets through in between.
func TestReplacementLetsNothingThrough(t *testing.T) {
	pin(t)
	l := newLab(t, false, true)
	g := guardIn(t, l.ns, "lab", []string{"d0", "d1"}, l.rules())
	frame := l.tcp(l.client, l.at(1, 2), 4000, l.at(9, 1), 80, false)
	replaced := make(chan int)
	go func() {
		n := 0
		defer func() { replaced <- n }()
		enter(t, l.ns)
		for ; n < 30; n++ {
			if err := g.Install([]string{"d0", "d1"}, l.rules()); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	sent := 0
	for n := 0; n == 0; sent++ {
		l.client.send(frame)
		select {
		case n = <-replaced:
		default:
		}
	}
	if got := l.reaction(l.client, frame); len(got) != 0 {
		t.Errorf("%d of %d frames got through: %v", len(got), sent, got)
	}
	if got := stats(t, l.ns, g)[countVIP]; got == 0 || got > uint64(sent)+1 {
		t.Errorf("counted %d of %d frames over all replacements", got, sent)
	}
	t.Logf("%d frames during 30 replacements", sent)
}

// BenchmarkGuard sends frames to a host and waits for none: the cost of a frame in the
// sender's system call, which with veth is also the host's receive path up to the guard's
// verdict or, for frames that pass, to the host's RST.
func BenchmarkGuard(b *testing.B) {
	pin(b)
	for _, n := range []int{-1, 1, 10000} {
		l := newLab(b, false, false)
		name := "guard=off"
		if n >= 0 {
			name = fmt.Sprintf("services=%d", n)
			rules := manyServices(n)
			rules.Services = append(rules.Services, l.rules().Services[0])
			guardIn(b, l.ns, "bench", []string{"d0"}, rules)
		}
		for _, c := range []struct {
			what  string
			frame []byte
		}{
			{"vip", l.tcp(l.client, l.at(1, 2), 4000, l.at(9, 1), 80, false)},
			{"host", l.tcp(l.client, l.at(1, 2), 4000, l.at(1, 1), 81, false)},
		} {
			b.Run(name+"/"+c.what, func(b *testing.B) {
				for b.Loop() {
					l.client.send(c.frame)
				}
			})
		}
	}
}
