package test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dirigo-lb/dirigo/"

// mayImport is the package map: what each package may import of this module. Imports
// point down only, and siblings never import each other.
var mayImport = map[string][]string{
	"packet":             {},
	"conntrack":          {"packet"},
	"sched":              {"packet"},
	"encap":              {"packet"},
	"arp":                {"packet"},
	"conf":               {"packet"},
	"health":             {"conf"},
	"health/notify":      {"packet", "conf", "health"},
	"dataplane":          {"packet", "conntrack", "sched", "encap", "arp", "conf"},
	"dataplane/afpacket": {"packet", "dataplane"},
	"dataplane/tun":      {"packet", "dataplane"},
	"dataplane/pcap":     {"packet", "dataplane"},
	"ipvsadm":            {"packet", "conf"},
	"control/host":       {"packet", "conf"},
	"health/probe":       {"conf", "health", "packet"},
	"control/via":        {"packet", "conf", "dataplane", "health"},
	"control": {"packet", "conntrack", "sched", "arp", "conf", "dataplane", "dataplane/afpacket", "dataplane/tun",
		"dataplane/pcap", "control/host", "control/via", "control/api", "control/metrics", "ipvsadm", "health", "health/probe", "health/notify"},
	"control/metrics":       {"packet", "arp", "conf", "dataplane", "health"},
	"control/api":           {"conf", "ipvsadm"},
	"cmd/dirigo":            {"packet", "conf", "ipvsadm", "dataplane", "dataplane/pcap", "control", "control/api", "control/host", "cmd/dirigo/demo", "cmd/dirigo/realserver"},
	"cmd/ipvsadm":           {"conf", "ipvsadm", "control/api"},
	"cmd/dirigo/demo":       {"packet", "conf", "control/api", "control/host"},
	"cmd/dirigo/realserver": {"packet", "encap"},
	"bench/peers/bare":      {"packet", "dataplane", "dataplane/afpacket", "bench/peers/bare/xdp"}, // the driver, and no work
	"bench/peers/bare/xdp":  {"packet"},
	"bench/peers/fastpath":  {"packet"},
}

// shipped packages must not import these, which are free to import what they like unless
// the map has them.
var neverShipped = []string{"bench", "test"}

func TestImportsPointDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name := strings.TrimPrefix(words[0], module)
		may, known := mayImport[name]
		if top, _, _ := strings.Cut(name, "/"); !known && slices.Contains(neverShipped, top) {
			continue
		} else if !known {
			t.Errorf("package %s is not in the package map", name)
			continue
		}
		seen++
		for _, imp := range words[1:] {
			if in, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(may, in) {
				t.Errorf("%s imports %s: it may import %v only", name, in, may)
			} else if name == "packet" && strings.Contains(imp, ".") {
				t.Errorf("packet imports %s: it uses the standard library only", imp)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d packages seen", seen)
	}
}

// The hot path has no clock and no logging of its own: an instant is an argument.
func TestHotPathHasNoClock(t *testing.T) {
	for _, p := range []string{"packet", "conntrack", "sched", "encap", "arp", "dataplane"} {
		out, err := exec.Command("sh", "-c", `cd "$(go list -f '{{.Dir}}' `+module+p+`)" && grep -nE 'time\.(Now|Since|Sleep|After|NewTimer|NewTicker)\(|"log/slog"|"log"' $(ls *.go | grep -v _test.go) || true`).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", p, err, out)
		}
		if len(out) > 0 {
			t.Errorf("package %s reads a clock or logs:\n%s", p, out)
		}
	}
}
