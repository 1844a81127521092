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
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

const replayConfig = `
[[port]]
name = "eth0"
mac = "02:00:00:00:01:01"
addresses = ["10.0.1.1/24"]
[[port]]
name = "eth1"
mac = "02:00:00:00:02:01"
addresses = ["10.0.2.1/24"]
[[service]]
listen = "tcp/10.0.1.100:80"
scheduler = "rr"
forward = "METHOD"
[[service.server]]
address = "10.0.2.11:80"
[[service.server]]
address = "10.0.2.12:80"
`

// capture is a conversation of n clients, a second apart, in a file of either form: SYN, the
// answer of the server that rr gives (the newest first), ACK.
func capture(t *testing.T, ng bool, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcap.NewWriter(&b, ng, []string{"eth0", "eth1"}, []bool{true, true})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 0)
	put := func(port int, s packet.Spec) {
		at = at.Add(10 * time.Millisecond)
		if err := w.Write(at, port, s.Frame()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		client := packet.AddrFrom4([4]byte{10, 0, 1, byte(7 + i%100)})
		server := packet.AddrFrom4([4]byte{10, 0, 2, byte(12 - i%2)})
		sport := uint16(40000 + i)
		in := packet.Spec{Flow: packet.Flow{Src: client, SrcPort: sport, Dst: packet.AddrFrom4([4]byte{10, 0, 1, 100}), DstPort: 80, Proto: packet.TCP},
			EthDst: packet.MAC{2, 0, 0, 0, 1, 1}, EthSrc: packet.MAC{2, 0, 0, 0, 9, byte(7 + i%100)}, TCPFlags: packet.SYN}
		put(0, in)
		put(1, packet.Spec{Flow: packet.Flow{Src: server, SrcPort: 80, Dst: client, DstPort: sport, Proto: packet.TCP},
			EthDst: packet.MAC{2, 0, 0, 0, 2, 1}, EthSrc: packet.MAC{2, 0, 0, 0, 9, server[15]}, TCPFlags: packet.SYN | packet.ACK})
		in.TCPFlags = packet.ACK
		put(0, in)
		at = at.Add(time.Second)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// play replays a capture and returns what was sent, a line a frame, and what was explained.
func play(t *testing.T, method string, file []byte, workers int) (sent []string, explained []Explained, sum ReplaySummary) {
	t.Helper()
	cfg, err := conf.Parse("replay.toml", []byte(strings.Replace(replayConfig, "METHOD", method, 1)))
	if err != nil {
		t.Fatal(err)
	}
	sum, err = Replay(cfg, func() (*pcap.Reader, io.Closer, error) {
		r, err := pcap.NewReader(bytes.NewReader(file))
		return r, io.NopCloser(nil), err
	}, ReplayOptions{
		Workers: workers,
		Emit: func(at time.Time, port int, frame []byte) error {
			sent = append(sent, fmt.Sprintf("%d %d %x", at.UnixNano(), port, frame))
			return nil
		},
		Explain: func(e Explained) error { explained = append(explained, e); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return sent, explained, sum
}

// The same capture gives the same bytes, for any number of workers and either form of
// file.
func TestReplayIsDeterministic(t *testing.T) {
	for _, method := range []string{"nat", "dr", "tun"} {
		want, _, sum := play(t, method, capture(t, false, 200), 1)
		if sum.Frames != 600 || len(want) < 400 {
			t.Fatalf("%s: %d frames, %d sent", method, sum.Frames, len(want))
		}
		for _, workers := range []int{1, 2, 7} {
			for _, ng := range []bool{false, true} {
				if got, _, _ := play(t, method, capture(t, ng, 200), workers); !slices.Equal(got, want) {
					t.Errorf("%s, %d workers, pcapng %v: another output", method, workers, ng)
				}
			}
		}
	}
}

// Each frame is explained: the choice at the SYN, the connection's state, and MACs that the
// capture shows are used for next hops.
func TestReplayExplains(t *testing.T) {
	sent, ex, _ := play(t, "nat", capture(t, false, 1), 1)
	if len(ex) != 3 || len(sent) != 3 {
		t.Fatalf("%d explained, %d sent, want 3", len(ex), len(sent))
	}
	for i, want := range []struct {
		port, by, state string
		r               dataplane.Reason
	}{
		{"eth0", "rr", "SYN_RECV", dataplane.ForwardNAT},
		{"eth1", "", "SYN_RECV", dataplane.ForwardReply},
		{"eth0", "", "ESTABLISHED", dataplane.ForwardNAT},
	} {
		e := ex[i]
		if e.Port != want.port || e.Verdict != dataplane.Send || e.Reason != want.r || e.Trace.Scheduler != want.by || e.Trace.Conn == nil || e.Trace.Conn.State != want.state {
			t.Errorf("frame %d: %+v %+v, want %+v", i+1, e, e.Trace.Conn, want)
		}
	}
	if !strings.Contains(sent[0], " 1 02000000090c020000000201") { // to the server's MAC as the capture has it, from eth1's
		t.Errorf("the SYN went out as %s", sent[0])
	}
}

// A capture that was cut off counts up to there; frames it holds in part are passed over
// and said so; another link type is refused.
func TestReplayOfDamagedCaptures(t *testing.T) {
	whole := capture(t, false, 2)
	_, ex, sum := play(t, "nat", whole[:len(whole)-5], 1)
	if sum.Frames != 5 || len(ex) != 5 {
		t.Errorf("%d frames of a capture cut in its sixth", sum.Frames)
	}
	part := bytes.Clone(whole)
	part[24+12]++ // the first record's original length
	_, ex, sum = play(t, "nat", part, 1)
	if sum.Skipped != 1 || ex[0].Note == "" {
		t.Errorf("a frame held in part: %+v", ex[0])
	}
	other := bytes.Clone(whole)
	other[20] = 105 // IEEE 802.11
	cfg, err := conf.Parse("replay.toml", []byte(strings.Replace(replayConfig, "METHOD", "nat", 1)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Replay(cfg, func() (*pcap.Reader, io.Closer, error) {
		r, err := pcap.NewReader(bytes.NewReader(other))
		return r, io.NopCloser(nil), err
	}, ReplayOptions{Emit: func(time.Time, int, []byte) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "link type") {
		t.Errorf("802.11 frames: %v", err)
	}
}
