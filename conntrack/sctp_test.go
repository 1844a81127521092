package conntrack

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

var chunkTypes = map[string][]uint8{ // RFC 9260 section 3.2; AUTH, ASCONF and others are as DATA
	"DATA": {0, 3, 4, 5, 12, 13, 15, 16, 0x40, 0x80, 0xc1, 0xff}, "INIT": {1}, "INIT-ACK": {2}, "ABORT": {6},
	"SHUTDOWN": {7}, "SHUTDOWN-ACK": {8}, "ERROR": {9}, "COOKIE-ECHO": {10}, "COOKIE-ACK": {11}, "SHUTDOWN-COMPLETE": {14},
}

// Every cell of the state tables is the one written down in testdata.
func TestSCTPStatesAreTheKernels(t *testing.T) {
	file, err := os.Open("testdata/sctp_states.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	short := map[string]uint8{"NO": 0, "I1": 1, "IN": 2, "CS": 3, "CR": 4, "CW": 5, "CO": 6, "CE": 7, "ES": 8,
		"SS": 9, "SR": 10, "SA": 11, "RJ": 12, "CL": 13}
	dirs := map[string]Direction{"INPUT": Input, "OUTPUT": Output, "INPUT-ONLY": InputOnly}
	var dir Direction
	var head []string
	seen := map[[3]uint8]bool{}
	for in := bufio.NewScanner(file); in.Scan(); {
		f := strings.Fields(strings.Trim(in.Text(), "[]"))
		switch {
		case len(f) == 0 || strings.HasPrefix(f[0], "#"):
		case len(f) == 1:
			dir = dirs[f[0]]
		case f[0] == "event":
			head = f[1:]
		default:
			for i, want := range f[1:] {
				for _, chunk := range chunkTypes[f[0]] {
					state := short[head[i]]
					if got := nextSCTP(dir, chunk, state); got != short[want] {
						t.Errorf("%v, chunk %d in %s: %s, want %s", dir, chunk, sctpNames[state], sctpNames[got], want)
					}
					seen[[3]uint8{uint8(dir), chunk, state}] = true
				}
			}
		}
	}
	if want := 3 * (9 + 12) * 14; len(seen) != want { // nine events of one chunk type, DATA with twelve
		t.Errorf("%d cells compared, want %d", len(seen), want)
	}
}

// sctpStep is one packet and what the kernel listed after it.
type sctpStep struct {
	dir    Direction
	chunk  uint8
	state  string
	expire int // seconds; listings round down
	change Change
}

// The walks that a kernel director was seen to make, with its listings: NAT, where both
// sides are seen, and DR.
func TestSCTPWalksAsRecorded(t *testing.T) {
	for name, walk := range map[string]struct {
		flags Flags
		steps []sctpStep
	}{
		"nat": {0, []sctpStep{
			{Input, packet.ChunkInit, "INIT1", 4, 0},
			{Output, packet.ChunkInitAck, "C-SENT", 61, 0},
			{Input, packet.ChunkCookieEcho, "C-REPLIED", 61, 0},
			{Output, packet.ChunkCookieAck, "ESTABLISHED", 900, Activated | Answered},
			{Input, packet.ChunkData, "ESTABLISHED", 900, 0},
			{Output, 3, "ESTABLISHED", 900, 0}, // SACK
			{Input, packet.ChunkShutdown, "S-RECEIVED", 61, Deactivated},
			{Output, packet.ChunkShutdownAck, "S-ACK-SENT", 61, 0},
			{Input, packet.ChunkShutdownComplete, "CLOSED", 61, 0},
		}},
		"nat, aborted": {0, []sctpStep{
			{Input, packet.ChunkInit, "INIT1", 4, 0},
			{Input, packet.ChunkAbort, "CLOSED", 61, 0},
		}},
		"dr": {3 | FlagNoOutput, []sctpStep{
			{Input, packet.ChunkInit, "INIT1", 4, 0},
			{Input, packet.ChunkCookieEcho, "ESTABLISHED", 900, Activated | Answered},
			{Input, packet.ChunkData, "ESTABLISHED", 900, 0},
			{Input, packet.ChunkShutdown, "S-RECEIVED", 61, Deactivated},
			{Input, packet.ChunkShutdownComplete, "CLOSED", 61, 0},
		}},
		"dr, aborted": {3 | FlagNoOutput, []sctpStep{
			{Input, packet.ChunkInit, "INIT1", 4, 0},
			{Input, packet.ChunkAbort, "CLOSED", 61, 0},
		}},
	} {
		to := defaultSCTP()
		c := Conn{Proto: packet.SCTP, Flags: walk.flags | FlagInactive, Timeout: Initial}
		for i, s := range walk.steps {
			ch := c.advanceSCTP(s.dir, s.chunk, &to)
			if got := sctpNames[c.State]; got != s.state || ch != s.change || c.Timeout != Ticks(time.Duration(s.expire)*time.Second) {
				t.Errorf("%s, packet %d: %s, change %b, %v ticks; want %s, %b, %d s", name, i+1, got, ch, c.Timeout, s.state, s.change, s.expire)
			}
			if active := c.Flags&FlagInactive == 0; active != (s.state == "ESTABLISHED") {
				t.Errorf("%s, packet %d: active %v in %s", name, i+1, active, s.state)
			}
		}
	}
}

// A server's packet ends NOOUTPUT for good: the same chunk then reads the INPUT table.
func TestSCTPOutputEndsInputOnly(t *testing.T) {
	to := defaultSCTP()
	c := Conn{Proto: packet.SCTP, State: SCTPCookieWait, Flags: 3 | FlagNoOutput | FlagInactive}
	unseen, seen := c, c
	unseen.advanceSCTP(Input, packet.ChunkCookieEcho, &to)
	seen.advanceSCTP(Output, 3, &to)
	seen.advanceSCTP(Input, packet.ChunkCookieEcho, &to)
	if unseen.State != SCTPEstablished || unseen.Flags&FlagNoOutput == 0 {
		t.Errorf("only the client seen: %s", sctpNames[unseen.State])
	}
	if seen.State != SCTPCookieWait || seen.Flags&FlagNoOutput != 0 {
		t.Errorf("the server seen too: %s, flags %#x", sctpNames[seen.State], seen.Flags)
	}
}

// A synced entry may arrive active in a state that is not ESTABLISHED, or the reverse:
// the first change of state puts the flag right, and one that changes nothing leaves it.
func TestSCTPFlagFollowsChangesOnly(t *testing.T) {
	to := defaultSCTP()
	c := Conn{Proto: packet.SCTP, State: SCTPInit}
	if ch := c.advanceSCTP(Input, packet.ChunkData, &to); ch != 0 || c.Flags&FlagInactive != 0 {
		t.Errorf("no change of state: change %b, flags %#x", ch, c.Flags)
	}
	if ch := c.advanceSCTP(Output, packet.ChunkCookieAck, &to); ch != Answered {
		t.Errorf("active already: change %b, want %b", ch, Answered)
	}
	c = Conn{Proto: packet.SCTP, State: SCTPEstablished, Flags: FlagInactive}
	if ch := c.advanceSCTP(Input, packet.ChunkAbort, &to); ch != 0 || c.Flags&FlagInactive == 0 {
		t.Errorf("inactive already: change %b", ch)
	}
}

func TestSCTPTimeouts(t *testing.T) {
	want := [SCTPStates]int{2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61}
	for state, got := range defaultSCTP() {
		if got != Ticks(time.Duration(want[state])*time.Second) {
			t.Errorf("%s: %d ticks, want %d s", sctpNames[state], got, want[state])
		}
	}
}

func TestSCTPAllocatesNothing(t *testing.T) {
	to := defaultSCTP()
	c := Conn{Proto: packet.SCTP, Flags: FlagInactive}
	var chunk uint8
	if n := testing.AllocsPerRun(1000, func() { c.advanceSCTP(Direction(chunk&1), chunk, &to); chunk++ }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
