package control

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

// syns is a capture of SYNs from one client each, at the given instants.
func syns(t *testing.T, at ...time.Duration) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcap.NewWriter(&b, true, []string{"eth0", "eth1"}, []bool{true, true})
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range at {
		s := packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10, 0, 1, 7}), SrcPort: uint16(40000 + i), Dst: packet.AddrFrom4([4]byte{10, 0, 1, 100}), DstPort: 80, Proto: packet.TCP},
			EthDst: packet.MAC{2, 0, 0, 0, 1, 1}, EthSrc: packet.MAC{2, 0, 0, 0, 9, 7}, TCPFlags: packet.SYN}
		if err := w.Write(time.Unix(1_700_000_000, 0).Add(d), 0, s.Frame()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const noServices = `
[[port]]
name = "eth0"
mac = "02:00:00:00:01:01"
addresses = ["10.0.1.1/24"]
[[port]]
name = "eth1"
mac = "02:00:00:00:02:01"
addresses = ["10.0.2.1/24"]
`

// perform replays a capture with a script and tells the story of both, a line an event.
func perform(t *testing.T, config string, file []byte, script string, workers int) (story []string, sum ReplaySummary) {
	t.Helper()
	cfg, err := conf.Parse("replay.toml", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	before := cfg.Clone()
	commands, err := ParseCommands("script", strings.NewReader(script))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1_700_000_000, 0)
	sum, err = Replay(cfg, func() (*pcap.Reader, io.Closer, error) {
		r, err := pcap.NewReader(bytes.NewReader(file))
		return r, io.NopCloser(nil), err
	}, ReplayOptions{
		Workers: workers, Commands: commands,
		Emit: func(at time.Time, port int, frame []byte) error {
			f := packet.NewFrame(frame)
			f.Parse()
			story = append(story, fmt.Sprintf("%v sent by %d to %v, %x", at.Sub(start), port, f.Flow.Dst.Netip(), f.DstMAC()))
			return nil
		},
		Explain: func(e Explained) error {
			story = append(story, fmt.Sprintf("%v %v %v", e.Time.Sub(start), e.Verdict, e.Reason))
			return nil
		},
		Commanded: func(c Commanded) error {
			line := fmt.Sprintf("%v line %d", c.Time.Sub(start), c.Line)
			if c.Err != nil {
				line += ": " + c.Err.Error()
			}
			story = append(story, line)
			if c.Output != "" {
				story = append(story, strings.TrimSuffix(c.Output, "\n"))
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(conf.Diff(before, cfg)) > 0 {
		t.Error("the replay changed the configuration that it was given")
	}
	return story, sum
}

// Commands are carried out at their times, before the frames of the same time, also before
// the first and after the last frame.
func TestReplayObeysCommandsBetweenFrames(t *testing.T) {
	script := `-2 ipvsadm -A -t 10.0.1.100:80 -s rr
-2 ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.11:80 -m
1 ipvsadm -e -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 0
2 ipvsadm -d -t 10.0.1.100:80 -r 10.0.2.99:80
2.5 ipvsadm -D -t 10.0.1.100:80
4 ipvsadm -Ln
`
	want := []string{
		"-2s line 1", "-2s line 2",
		"0s sent by 1 to 10.0.2.11, 02000a00020b", "0s send forward_nat",
		"1s line 3",
		"1s sent by 0 to 10.0.1.7, 020000000907", "1s drop no_dest",
		"2s line 4: No such destination",
		"2.5s line 5",
		"3s pass no_service",
		"4s line 6", "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
	}
	for _, workers := range []int{1, 3} {
		got, sum := perform(t, noServices, syns(t, 0, time.Second, 3*time.Second), script, workers)
		if !slices.Equal(got, want) {
			t.Errorf("%d workers: got\n%s\nwant\n%s", workers, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if sum.Commands != 6 || sum.Failed != 1 {
			t.Errorf("%d commands, %d refused, want 6 and 1", sum.Commands, sum.Failed)
		}
	}
}

// A sysctl takes effect, is read back, and a foreign or impossible one is refused; a word
// that ipvsadm does not know is refused like any other command.
func TestReplayObeysSysctls(t *testing.T) {
	got, sum := perform(t, replayConfigOf("nat"), syns(t, 0), `0 sysctl -w net.ipv4.vs.drop_packet=3
0 sysctl -w net.ipv4.vs.am_droprate=1
0 sysctl net.ipv4.vs.am_droprate
1 sysctl -w net.ipv4.vs.drop_packet=4
1 sysctl -w net.ipv4.ip_forward=1
1 sysctl -w net.ipv4.vs.drop_packet=yes
1 sysctl
1 ipvsadm --frobnicate
1 ipvsadm --start-daemon master
`, 1)
	want := []string{
		"0s line 1", "0s line 2", "0s line 3", "net.ipv4.vs.am_droprate = 1", "0s drop defended",
		"1s line 4: drop_packet is 4; ", "1s line 5: net.ipv4.ip_forward: only names of net.ipv4.vs", "1s line 6: ", "1s line 7: nothing to set; ",
		"1s line 8: ", "1s line 9: start-daemon is not possible here",
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if sum.Failed != 6 {
		t.Errorf("%d refused, want 6", sum.Failed)
	}
}

func replayConfigOf(method string) string { return strings.Replace(replayConfig, "METHOD", method, 1) }

// With expire_nodest_conn a removed server's connections end a tick (4 ms) after the
// removal, without any packet; figures and rates are those of the moment, and of the last
// two seconds.
func TestReplayKeepsTime(t *testing.T) {
	var at []time.Duration
	for i := range 20 {
		at = append(at, time.Duration(i)*100*time.Millisecond)
	}
	got, _ := perform(t, replayConfigOf("nat"), syns(t, at...), `-1 sysctl -w net.ipv4.vs.expire_nodest_conn=1
1.95 ipvsadm -Ln --stats
1.95 ipvsadm -Ln --rate
2 ipvsadm -Ln --rate
2 ipvsadm -d -t 10.0.1.100:80 -r 10.0.2.11:80
2 ipvsadm -d -t 10.0.1.100:80 -r 10.0.2.12:80
2.003 ipvsadm -Lnc
2.008 ipvsadm -Lnc
`, 1)
	var lists []string
	for _, l := range got {
		if strings.Contains(l, "\n") {
			lists = append(lists, l)
		}
	}
	if len(lists) != 5 {
		t.Fatalf("%d listings, want 5:\n%s", len(lists), strings.Join(got, "\n"))
	}
	// The clock begins at -1 s here, so the estimators' first turn is at 1 s: 10 connections
	// and 400 bytes in 2 s, of which the first average takes a quarter.
	for i, want := range []string{
		"TCP  10.0.1.100:80                      20       20        0      800        0",
		"TCP  10.0.1.100:80                       1        1        0       50        0",
		"TCP  10.0.1.100:80                       1        1        0       50        0",
	} {
		if !strings.Contains(lists[i], want) {
			t.Errorf("listing %d:\n%s\nwant the line\n%s", i+1, lists[i], want)
		}
	}
	if n := strings.Count(lists[3], "10.0.1.7"); n != 20 {
		t.Errorf("%d connections 3 ms after the removal, want 20:\n%s", n, lists[3])
	}
	if n := strings.Count(lists[4], "10.0.1.7"); n != 0 {
		t.Errorf("%d connections 8 ms after the removal, want none", n)
	}
}

// A neighbour of the file has the file's MAC, whatever the capture says; an address of a
// local route is the host's.
func TestReplayKnowsWhatTheFileSays(t *testing.T) {
	config := replayConfigOf("nat") + `
[[neighbor]]
address = "10.0.2.12"
mac = "02:00:00:00:00:aa"
port = "eth1"
`
	got, _ := perform(t, config, syns(t, 0), "", 1)
	if want := "0s sent by 1 to 10.0.2.12, 0200000000aa"; got[0] != want {
		t.Errorf("%q, want %q", got[0], want)
	}
	got, _ = perform(t, config+"[[route]]\ndest = \"10.0.2.12\"\ntype = \"local\"\n", syns(t, 0), "", 1)
	if want := []string{"0s drop no_host_port"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q: no port leads to the host", got, want)
	}
	got, _ = perform(t, config+"[[route]]\ndest = \"10.0.2.12\"\ntype = \"unreachable\"\n", syns(t, 0), "", 1)
	if got[len(got)-1] != "0s drop no_route" {
		t.Errorf("%q, want drop no_route", got)
	}
}

// A long silence is passed over at once.
func TestReplayPassesOverSilence(t *testing.T) {
	began := time.Now()
	got, _ := perform(t, noServices, syns(t, 0, 30*365*24*time.Hour), "", 1)
	if len(got) != 2 || time.Since(began) > 5*time.Second {
		t.Errorf("%v in %v", got, time.Since(began))
	}
}

// ipvsadm -E has no word for redispatch and leaves it as it is, in a replay too: the refusal
// that comes after it is withheld, and the next SYN goes to another server.
func TestReplayedEditKeepsRedispatch(t *testing.T) {
	config := strings.Replace(replayConfigOf("nat"), "[[service]]\n", "[[service]]\nredispatch = 1\n", 1)
	client, vip := packet.AddrFrom4([4]byte{10, 0, 1, 7}), packet.AddrFrom4([4]byte{10, 0, 1, 100})
	for _, edit := range []string{"", "-1 ipvsadm -E -t 10.0.1.100:80 -s fo\n"} {
		var b bytes.Buffer
		w, err := pcap.NewWriter(&b, true, []string{"eth0", "eth1"}, []bool{true, true})
		if err != nil {
			t.Fatal(err)
		}
		syn := packet.Spec{Flow: packet.Flow{Src: client, SrcPort: 40000, Dst: vip, DstPort: 80, Proto: packet.TCP},
			EthDst: packet.MAC{2, 0, 0, 0, 1, 1}, EthSrc: packet.MAC{2, 0, 0, 0, 9, 7}, TCPFlags: packet.SYN, TTL: 64}
		write := func(at time.Duration, port int, s packet.Spec) {
			if err := w.Write(time.Unix(1_700_000_000, 0).Add(at), port, s.Frame()); err != nil {
				t.Fatal(err)
			}
		}
		write(0, 0, syn)
		for _, server := range []byte{11, 12} { // whichever was asked: the other one's belongs to no connection
			write(time.Millisecond, 1, packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10, 0, 2, server}), SrcPort: 80, Dst: client, DstPort: 40000, Proto: packet.TCP},
				EthDst: packet.MAC{2, 0, 0, 0, 2, 1}, EthSrc: packet.MAC{2, 0, 0, 0, 9, server}, TCPFlags: packet.RST | packet.ACK, TTL: 64})
		}
		write(time.Second, 0, syn)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, _ := perform(t, config, b.Bytes(), edit, 1)
		sent := map[string]bool{}
		for _, l := range got {
			if _, to, ok := strings.Cut(l, "sent by 1 to "); ok {
				sent[to] = true
			}
		}
		if all := strings.Join(got, "\n"); !strings.Contains(all, "refusal_withheld") || len(sent) != 2 {
			t.Errorf("%q: %d servers were asked:\n%s", edit, len(sent), all)
		}
	}
}
