package sched

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// scenario is one line of testdata/scheduler-vectors.jsonl.gz: a service's history with
// the decisions of the kernel's own selection code.
type scenario struct {
	Scheduler    string   `json:"scheduler"`
	AF           string   `json:"af"`
	Flags        []string `json:"flags"`
	ActiveFactor int      `json:"active_factor"`
	Steps        []step   `json:"steps"`
}

type step struct {
	Op       string   `json:"op"`
	ID       int      `json:"id"`
	IP       string   `json:"ip"`
	Port     uint16   `json:"port"`
	Weight   int32    `json:"weight"`
	Active   int32    `json:"active"`
	Inactive int32    `json:"inactive"`
	Overload bool     `json:"overload"`
	Seconds  int64    `json:"seconds"`
	R        []uint32 `json:"r"`
	Src      string   `json:"src"`
	SPort    uint16   `json:"sport"`
	Dst      string   `json:"dst"`
	Expect   *int     `json:"expect"`
}

// run replays the scenario and returns how many decisions it compared.
func (sc *scenario) run(t *testing.T, line int) (decisions int) {
	f, err := ParseFlags(sc.Scheduler, strings.Join(sc.Flags, ","))
	if err != nil {
		t.Fatal(err)
	}
	var random []uint32 // what the kernel's generator gave, in the order of the draws
	v := newService(t, sc.Scheduler, f, Config{
		ActiveFactor: sc.ActiveFactor,
		Random: func(n uint64) uint64 {
			if len(random) == 0 {
				t.Fatalf("line %d: more draws than the kernel made", line)
			}
			r := uint64(random[0]) % n
			random = random[1:]
			return r
		},
	})
	var now time.Duration
	for i, st := range sc.Steps {
		switch st.Op {
		case "add":
			s := server(st.ID, st.Weight)
			ip := netip.MustParseAddr(st.IP)
			s.Addr, s.V6, s.Port = packet.AddrFrom(ip), ip.Is6(), st.Port
			v.join(st.ID, s)
		case "edit":
			v.edit(st.ID, st.Weight)
		case "del":
			v.del(st.ID)
		case "state":
			s := v.servers[st.ID]
			s.Active.Store(st.Active)
			s.Inactive.Store(st.Inactive)
			s.Overload.Store(st.Overload)
		case "advance":
			now += time.Duration(st.Seconds) * time.Second
		case "random":
			random = st.R
		case "schedule":
			r := request(st.Src, st.SPort, st.Dst)
			r.Now = now
			if got := v.id(v.Pick(r)); got != *st.Expect {
				t.Fatalf("line %d (%s %s %v): step %d: got %d, want %d", line, sc.Scheduler, sc.AF, sc.Flags, i, got, *st.Expect)
			}
			decisions++
		default:
			t.Fatalf("line %d: step %d: unknown op %q", line, i, st.Op)
		}
	}
	return decisions
}

// The kernel's decisions, step by step. The totals guard against a file cut short.
func TestKernelVectors(t *testing.T) {
	file, err := os.Open("testdata/scheduler-vectors.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string][]scenario)
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var sc scenario
		if err := json.Unmarshal(lines.Bytes(), &sc); err != nil {
			t.Fatal(err)
		}
		byName[sc.Scheduler] = append(byName[sc.Scheduler], sc)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	var scenarios, decisions atomic.Int64
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			if len(byName[name]) == 0 {
				t.Fatal("no scenario")
			}
			for i := range byName[name] {
				decisions.Add(int64(byName[name][i].run(t, i)))
				scenarios.Add(1)
			}
		})
	}
	t.Logf("scheduler vectors: %d scenarios, %d decisions equal", scenarios.Load(), decisions.Load())
	if !t.Failed() && (scenarios.Load() != 236 || decisions.Load() != 11482) {
		t.Error("want 236 scenarios, 11482 decisions")
	}
}
