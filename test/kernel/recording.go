// Package kernel replays conversations recorded from a kernel IPVS through the
// director's pipeline on a virtual clock, and compares what comes out.
package kernel

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// recording is one conversation: transcript.jsonl of its folder.
type recording struct {
	Name     string
	Ipvsadm  string // the program's version line
	VIPs     []string
	Local    []string // prefixes that are local to the director
	Rules    []string // lines for ipvsadm
	IPTables []string `json:"iptables"`
	Sysctls  map[string]any
	Setup    []string
	MTU      map[string]int
	Steps    []step `json:"-"`

	// Alone makes the VIPs addresses of the director only, not of its host: what the host's
	// stack said for them has to come from the director then.
	Alone bool `json:"-"`
}

type step struct {
	Step int
	T    int64 // milliseconds since the beginning
	Op   string
	If   string
	In   string
	Out  []emitted
	Cmd  string
	RC   int
	Text string
	Note string
}

type emitted struct {
	If  string
	Hex string
}

func (s *step) at() time.Duration { return time.Duration(s.T) * time.Millisecond }

// load reads the recording in a folder.
func load(dir string) (*recording, error) {
	path := filepath.Join(dir, "transcript.jsonl")
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r := &recording{}
	in := bufio.NewScanner(file)
	in.Buffer(nil, 64<<20)
	for line := 1; in.Scan(); line++ {
		if line == 1 {
			head := struct{ Meta *recording }{r}
			if err := json.Unmarshal(in.Bytes(), &head); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, line, err)
			}
			continue
		}
		var s step
		if err := json.Unmarshal(in.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
		if s.Op != "" { // the last line may hold kernel messages only
			r.Steps = append(r.Steps, s)
		}
	}
	if r.Name == "" {
		r.Name = filepath.Base(dir)
	}
	return r, in.Err()
}

func unhex(s string) ([]byte, error) { return hex.DecodeString(strings.TrimSpace(s)) }
