// Package recording reads conversations recorded from a kernel IPVS, one folder each.
package recording

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

// Recording is one conversation: transcript.jsonl of its folder.
type Recording struct {
	Name     string
	Ipvsadm  string // the program's version line
	VIPs     []string
	Local    []string // prefixes that are local to the director
	Rules    []string // lines for ipvsadm
	IPTables []string `json:"iptables"`
	Sysctls  map[string]any
	Setup    []string
	MTU      map[string]int
	Steps    []Step `json:"-"`

	// Alone makes the VIPs addresses of the director only, not of its host: what the host's
	// stack said for them has to come from the director then.
	Alone bool `json:"-"`
}

// Step is one thing that happened: a frame injected, a command, a listing, a wait.
type Step struct {
	Step int
	T    int64 // milliseconds since the beginning
	Op   string
	If   string
	In   string
	Out  []Emitted
	Cmd  string
	RC   int
	Text string
	Note string
}

// Emitted is a frame that the recorded machine sent.
type Emitted struct {
	If  string
	Hex string
}

// At is the instant of the step since the beginning.
func (s *Step) At() time.Duration { return time.Duration(s.T) * time.Millisecond }

// Load reads the recording in a folder.
func Load(dir string) (*Recording, error) {
	path := filepath.Join(dir, "transcript.jsonl")
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r := &Recording{}
	in := bufio.NewScanner(file)
	in.Buffer(nil, 64<<20)
	for line := 1; in.Scan(); line++ {
		if line == 1 {
			head := struct{ Meta *Recording }{r}
			if err := json.Unmarshal(in.Bytes(), &head); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, line, err)
			}
			continue
		}
		var s Step
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

// Bytes reads a frame.
func Bytes(s string) ([]byte, error) { return hex.DecodeString(strings.TrimSpace(s)) }
