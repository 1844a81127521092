// Package replay turns conversations recorded from a kernel IPVS into what dirigo replay
// reads (a configuration, a capture, a script of commands), runs the command, and holds
// what it says and sends against the recording.
package replay

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// recording is one conversation: transcript.jsonl of its folder.
type recording struct {
	Name     string
	VIPs     []string
	Local    []string // prefixes that are local to the director
	Rules    []string // lines for ipvsadm
	IPTables []string `json:"iptables"`
	Sysctls  map[string]any
	MTU      map[string]int
	Steps    []step `json:"-"`
}

// step is one thing that happened: a frame injected, a command, a listing, a wait.
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

// at is the step's instant since the beginning. Steps of one millisecond are a nanosecond
// apart, so that what comes out can be told by its time.
func (s *step) at(i int) time.Duration {
	return time.Duration(s.T)*time.Millisecond + time.Duration(i)
}

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
