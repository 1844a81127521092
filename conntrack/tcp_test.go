package conntrack

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// Every cell of the state tables is the one written down in testdata.
func TestTCPStatesAreTheKernels(t *testing.T) {
	file, err := os.Open("testdata/tcp_states.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	short := map[string]uint8{"NO": TCPNone, "ES": TCPEstablished, "SS": TCPSynSent, "SR": TCPSynRecv, "FW": TCPFinWait,
		"TW": TCPTimeWait, "CL": TCPClose, "CW": TCPCloseWait, "LA": TCPLastAck, "LI": TCPListen, "SA": TCPSynAck}
	dirs := map[string]Direction{"INPUT": Input, "OUTPUT": Output, "INPUT-ONLY": InputOnly}
	flags := map[string]uint8{"SYN": packet.SYN, "FIN": packet.FIN, "ACK": packet.ACK, "RST": packet.RST}
	var secure bool
	var dir Direction
	var head []string
	cells := 0
	for in := bufio.NewScanner(file); in.Scan(); {
		f := strings.Fields(strings.Trim(in.Text(), "[]"))
		switch {
		case len(f) == 0 || f[0] == "#" || strings.HasPrefix(f[0], "#"):
		case f[0] == "normal" || f[0] == "secure":
			secure, dir = f[0] == "secure", dirs[f[1]]
		case f[0] == "event":
			head = f[1:]
		default:
			for i, want := range f[1:] {
				if got := nextTCP(secure, dir, flags[f[0]], short[head[i]]); got != short[want] {
					t.Errorf("secure %v, %v, %s in %s: %s, want %s", secure, dir, f[0], head[i], tcpNames[got], want)
				}
				cells++
			}
		}
	}
	if cells != 2*3*4*11 {
		t.Errorf("%d cells compared, want %d", cells, 2*3*4*11)
	}
}

// The first of RST, SYN, FIN, ACK decides, and none of them means CLOSE
// (tcp_state_idx).
func TestTCPEventOrder(t *testing.T) {
	for _, c := range []struct {
		flags, state, want uint8
	}{
		{packet.SYN | packet.ACK, TCPNone, TCPSynRecv},
		{packet.FIN | packet.ACK, TCPEstablished, TCPCloseWait},
		{packet.RST | packet.SYN | packet.ACK, TCPEstablished, TCPClose},
		{packet.PSH | packet.URG, TCPEstablished, TCPClose},
		{0, TCPSynRecv, TCPClose},
	} {
		if got := nextTCP(false, Input, c.flags, c.state); got != c.want {
			t.Errorf("flags %#x in %s: %s, want %s", c.flags, tcpNames[c.state], tcpNames[got], tcpNames[c.want])
		}
	}
}

// A walk through a DR connection whose answers come by later: NOOUTPUT is lost for good
// and the INPUT table takes over.
func TestDirectRoutingSeesOutputOnce(t *testing.T) {
	to := DefaultTimeouts()
	c := Conn{Proto: packet.TCP, Flags: 3 | FlagNoOutput | FlagInactive}
	step := func(dir Direction, flags uint8, state uint8, ch Change) {
		t.Helper()
		if got := c.Advance(dir, flags, &to); got != ch || c.State != state || c.Timeout != to.TCP[state] {
			t.Fatalf("state %s, change %b, timeout %v; want %s, %b, %v", c.StateName(), got, c.Timeout, tcpNames[state], ch, to.TCP[state])
		}
	}
	step(Input, packet.SYN, TCPSynRecv, Activated)
	step(Input, packet.ACK, TCPEstablished, Answered)
	step(Input, packet.FIN|packet.ACK, TCPFinWait, Deactivated) // INPUT-ONLY: not CLOSE_WAIT
	step(Output, packet.ACK, TCPFinWait, 0)
	if c.Flags&FlagNoOutput != 0 {
		t.Fatal("NOOUTPUT still set after a server's packet")
	}
	step(Input, packet.FIN|packet.ACK, TCPTimeWait, 0) // INPUT
}

func TestUDPIsAlwaysInactive(t *testing.T) {
	to := DefaultTimeouts()
	c := Conn{Proto: packet.UDP, Flags: FlagInactive}
	if ch := c.Advance(Input, 0, &to); ch != 0 || c.Timeout != Ticks(300*time.Second) {
		t.Errorf("change %b, timeout %v; want none, 300 s", ch, c.Timeout)
	}
	if ch := c.Advance(Output, 0, &to); ch != Answered || c.Flags&FlagInactive == 0 {
		t.Errorf("change %b, flags %#x; want the template assured and still inactive", ch, c.Flags)
	}
}
