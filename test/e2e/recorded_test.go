package e2e

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/ipvsadm"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// recorded is what a recording of ../kernel/testdata says about its machine.
type recorded struct {
	Name, Ipvsadm string
	VIPs, Rules   []string
}

// recordedStep is one step: a frame that came in, a line of a shell, or a pause.
type recordedStep struct {
	Step          int
	Op, Cmd, Text string
	RC, MS        int
	If, In        string
}

func loadRecording(t *testing.T, file string) (r recorded, steps []recordedStep) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var line struct {
			Meta *recorded
			recordedStep
		}
		if err = errors.Join(err, json.Unmarshal(in.Bytes(), &line)); line.Meta != nil {
			r = *line.Meta
		} else if line.Op != "" {
			steps = append(steps, line.recordedStep)
		}
	}
	if err = errors.Join(err, in.Err()); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r, steps
}

// recordedServices are the ports that had names on the recorded machine.
const recordedServices = "http 80/tcp www\nhttps 443/tcp\ndomain 53/udp\nsip 5060/udp\nhttp-alt 8080/tcp\n"

// recordedMachine makes a director with the addresses of the recorded one: clients behind
// cl0, servers behind sv0, all neighbours known. inject receives a frame there.
func recordedMachine(t *testing.T, r recorded) (d *director, sh *shell, inject func(port, frame string) error) {
	t.Helper()
	machine, around := lab.New(t, "machine"), lab.New(t, "around")
	fds, indexes := map[string]int{}, map[string]int{}
	for side, port := range []string{"cl0", "sv0"} {
		side++
		lab.Veth(lab.Link{NS: machine, Dev: port}, lab.Link{NS: around, Dev: port}, 1)
		mac := func(last int) string { return fmt.Sprintf("02:00:00:00:%02x:%02x", side, last) }
		lines := []string{fmt.Sprintf("link set %s address %s", port, mac(1)),
			fmt.Sprintf("addr add 10.0.%d.1/24 dev %s", side, port), fmt.Sprintf("addr add 2001:db8:%d::1/64 dev %s nodad", side, port)}
		if side == 1 {
			lines = append(lines, "route add default via 10.0.1.254", "neigh add 10.0.1.254 dev cl0 lladdr "+mac(0xfe)+" nud permanent")
		}
		for n := 11; n <= 16; n++ {
			lines = append(lines, fmt.Sprintf("neigh add 10.0.%d.%d dev %s lladdr %s nud permanent", side, n, port, mac(n)))
		}
		machine.IP(lines...)
		around.Sysctl("ipv6/conf/"+port+"/disable_ipv6", "1")
		var err error
		around.Do(func() { fds[port], indexes[port], err = openRaw(port) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fds[port]) })
	}
	for _, vip := range r.VIPs {
		a := netip.MustParseAddr(vip)
		machine.IP(fmt.Sprintf("addr add %v/%d dev cl0", a, a.BitLen()))
	}
	d = startDirector(t, machine, "[director]\nworkers = 1\nannounce = 0\n[[port]]\nname = \"cl0\"\n[[port]]\nname = \"sv0\"\n"+recordedNeighbors())
	dir := t.TempDir()
	sh = d.shell()
	sh.binds = map[string]string{"/etc/services": filepath.Join(dir, "services"), "/etc/hosts": filepath.Join(dir, "hosts"),
		"/etc/resolv.conf": filepath.Join(dir, "resolv.conf")}
	err := errors.Join(os.WriteFile(sh.binds["/etc/services"], []byte(recordedServices), 0o644),
		os.WriteFile(sh.binds["/etc/hosts"], []byte("127.0.0.1 localhost\n"), 0o644),
		os.WriteFile(sh.binds["/etc/resolv.conf"], []byte("nameserver 127.0.0.1\n"), 0o644)) // nobody answers there
	if err != nil {
		t.Fatal(err)
	}
	return d, sh, func(port, frame string) error {
		b, err := hex.DecodeString(frame)
		if err != nil {
			return err
		}
		return unix.Sendto(fds[port], b, 0, &unix.SockaddrLinklayer{Ifindex: indexes[port], Halen: 6})
	}
}

// recordedNeighbors says it to the director too, which asks for neighbours itself.
func recordedNeighbors() string {
	var b strings.Builder
	add := func(port, addr string, side, last int) {
		fmt.Fprintf(&b, "[[neighbor]]\nport = %q\naddress = %q\nmac = \"02:00:00:00:%02x:%02x\"\n", port, addr, side, last)
	}
	add("cl0", "10.0.1.254", 1, 0xfe)
	for n := 11; n <= 16; n++ {
		add("sv0", fmt.Sprintf("10.0.2.%d", n), 2, n)
		add("sv0", fmt.Sprintf("2001:db8:2::%x", n), 2, n)
	}
	return b.String()
}

// openRaw opens a socket that sends whole frames.
func openRaw(dev string) (fd, index int, err error) {
	i, err := net.InterfaceByName(dev)
	if err != nil {
		return -1, 0, err
	}
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	return fd, i.Index, err
}

// Everything that was run on the recorded machine is run here: the programs as they are
// built, in a real shell, against a running director that gets the recorded frames. Texts
// and exit codes must be the same to the byte. What cannot be is masked: see same.
func TestRecordedCommands(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "kernel", "testdata", "cli-*", "transcript.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		r, steps := loadRecording(t, file)
		t.Run(r.Name, func(t *testing.T) {
			d, sh, inject := recordedMachine(t, r)
			for _, rule := range r.Rules {
				sh.must("ipvsadm " + rule)
			}
			lines, frames, files := 0, 0, strings.NewReplacer("/tmp/", t.TempDir()+"/")
			for _, s := range steps {
				switch s.Op {
				case "inject":
					if err := inject(s.If, s.In); err != nil {
						t.Fatal(err)
					}
					frames++
					time.Sleep(12 * time.Millisecond) // as long as the recorded kernel was given
				case "wait":
					time.Sleep(time.Duration(s.MS) * time.Millisecond)
				case "cmd", "dump":
					lines++
					got, rc := sh.do(files.Replace(s.Cmd))
					if want, why := s.Text, unlike[s.Cmd]; why == "" && (rc != s.RC || !same(s.Cmd, want, got, r, frames > 0)) {
						t.Errorf("step %d: %s: exit code %d, want %d\nwant %s\ngot  %s", s.Step, s.Cmd, rc, s.RC, want, got)
					} else if why != "" {
						t.Logf("step %d: %s is not compared: %s: exit code %d, %s", s.Step, s.Cmd, why, rc, got)
					}
				default:
					t.Errorf("step %d: %s is not replayed", s.Step, s.Op)
				}
			}
			t.Logf("%d lines of a shell, %d frames", lines, frames)
			d.stop()
		})
	}
}

// unlike are lines whose answers cannot be the recorded ones, and why.
var unlike = map[string]string{
	"ipvsadm --start-daemon master --mcast-interface nosuch": "connections are not synchronized in this version",
}

// same compares texts. The program's version is our own, and so is a paragraph of its
// help; --nosort shows the order of a hash with a random seed; connections come in no
// order, and their time runs on between recording and replay; rates depend on when the
// estimator had its turn.
func same(cmd, want, got string, r recorded, traffic bool) bool {
	got = strings.ReplaceAll(got, ipvsadm.Version+"\n", r.Ipvsadm+"\n")
	if help, more, ours := strings.Cut(got, "\nDifferences:\n"); ours {
		_, rest, _ := strings.Cut(more, "\n\n")
		got = help + rest
	}
	switch {
	case strings.Contains(cmd, "--nosort"):
		want, got = blocks(want), blocks(got)
	case strings.Contains(cmd, "-Lnc") && strings.HasPrefix(want, "IPVS connection"):
		return sameConns(want, got)
	case strings.Contains(cmd, "--rate") && traffic:
		want, got = rates.ReplaceAllString(want, ""), rates.ReplaceAllString(got, "")
	}
	return got == want
}

var rates = regexp.MustCompile(`(?m)( +\d+){5}$`)

// blocks puts services, each with its servers, in order.
func blocks(text string) string {
	var all []string
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "  -> 1") || strings.HasPrefix(l, "  -> [") {
			all[len(all)-1] += l
		} else {
			all = append(all, l)
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// sameConns compares connections; the time left may differ by some seconds.
func sameConns(want, got string) bool {
	type conn struct {
		rest string
		left time.Duration
	}
	parse := func(text string) (all []conn) {
		for l := range strings.Lines(text) {
			c := conn{rest: l}
			var m, s int
			if n, _ := fmt.Sscanf(l[min(4, len(l)):], "%d:%d", &m, &s); n == 2 {
				c = conn{l[:4] + l[10:], time.Duration(m)*time.Minute + time.Duration(s)*time.Second}
			}
			all = append(all, c)
		}
		slices.SortFunc(all, func(a, b conn) int { return cmp.Or(strings.Compare(a.rest, b.rest), cmp.Compare(a.left, b.left)) })
		return all
	}
	return slices.EqualFunc(parse(want), parse(got), func(a, b conn) bool {
		return a.rest == b.rest && (a.left-b.left).Abs() <= 5*time.Second
	})
}
