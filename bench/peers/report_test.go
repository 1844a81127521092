package main

import (
	"encoding/xml"
	"io"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// made are results of three rounds in which the machine was slower each time: Dirigo NAT
// is 1.5, 1.5 and 1.2 times nftables.
func made() *results {
	r := &results{Rounds: 3, Whole: true, Machine: machine{CPU: "A <fast> one", CPUs: 2, Kernel: "6.1"},
		Rows: []row{{"nft", "nftables NAT"}, {"haproxy", "HAProxy"}, {"dirigo-nat", "Dirigo NAT"}}}
	add := func(name, measure string, rates ...float64) {
		for i, v := range rates {
			r.Samples = append(r.Samples, sample{Forwarder: name, Measure: measure, Round: i, Values: values{"rate": v, "machine": 2, "p99": 5000}})
		}
	}
	add("nft", "conns", 20000, 10000, 5000)
	add("dirigo-nat", "conns", 30000, 15000, 6000)
	add("haproxy", "conns", 40000, 10000)
	r.Samples = append(r.Samples, sample{Forwarder: "haproxy", Measure: "conns", Round: 2, Error: "it\nended"})
	return r
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	r := made()
	if s := r.ratio("dirigo-nat", "nft", "conns", value("rate", 1)); s != (summary{3, 1.5, 1.2, 1.5}) {
		t.Errorf("%+v", s)
	}
	// The round that failed has no ratio.
	if s := r.ratio("dirigo-nat", "haproxy", "conns", value("rate", 1)); s != (summary{2, 1.125, 0.75, 1.5}) {
		t.Errorf("%+v", s)
	}
	if s := r.ratio("dirigo-nat", "ipvs", "conns", value("rate", 1)); s.n != 0 {
		t.Errorf("%+v", s)
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		atMost bool
		s      summary
		want   string
	}{
		{false, summary{}, "not measured"},
		{false, summary{3, 1.5, 1, 2}, "yes"},
		{false, summary{3, 1.4, 1, 1.6}, "no, but in the best round"},
		{false, summary{3, 1.4, 1, 1.45}, "no"},
		{true, summary{3, 1.5, 1, 9}, "yes"},
		{true, summary{3, 1.6, 1.5, 9}, "no, but in the best round"},
		{true, summary{3, 1.7, 1.6, 9}, "no"},
	} {
		x := target{bound: 1.5, atMost: c.atMost}
		if got := x.verdict(c.s); got != c.want {
			t.Errorf("%+v at most %v: %q, want %q", c.s, c.atMost, got, c.want)
		}
	}
}

// Each target and each reference names a measure and forwarders that there are.
func TestTargetsAndTablesNameWhatThereIs(t *testing.T) {
	known := map[string]bool{"": true}
	for _, m := range measures() {
		known[m.name] = true
	}
	for _, f := range forwarders([]string{"low"}) {
		known[f.name] = true
	}
	for _, x := range targets() {
		if !known[x.measure] || !known[x.row] || !known[x.reference] {
			t.Errorf("target %+v", x)
		}
	}
	for _, x := range tables() {
		for _, ref := range append(x.refs, x.measure) {
			if !known[ref] {
				t.Errorf("table %q: what is %q?", x.title, ref)
			}
		}
	}
}

func TestMarkdown(t *testing.T) {
	got := markdown(made(), "x.svg")
	for _, want := range []string{
		"A <fast> one, 2 CPUs",
		"![medians and spread of every measure](x.svg)",
		"| new connections/s, NAT | ≥ 1.5 × nft | 1.50 (1.20–1.50) | yes |",
		"| new connections/s, NAT | ≥ 1 × haproxy | 1.12 (0.75–1.50) | yes |",
		"| new connections/s, NAT | ≥ 1 × nginx | – | not measured |",
		// references that were not measured have no column; a median, its spread, the ratios
		"| forwarder | connections/s | × nft | × haproxy |",
		"| Dirigo NAT | 15000 (6000–30000) | 1.50 | 1.12 | 5.00 |",
		"- round 3, conns, haproxy: it ended",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report has no %q:\n%s", want, got)
		}
	}
	for _, no := range []string{"Bulk", "SYN flood\n", "Quick", "Interrupted", "other work"} {
		if strings.Contains(got, no) {
			t.Errorf("the report has %q:\n%s", no, got)
		}
	}
	// Every line of a table has as many cells as its head.
	cells := 0
	for line := range strings.Lines(got) {
		n := strings.Count(line, "|")
		if n > 0 && cells > 0 && n != cells {
			t.Errorf("%d cells, the head has %d: %s", n, cells, line)
		}
		cells = n
	}
	r := made()
	r.Rows = append(r.Rows, row{"bare-xdp", "bare AF_XDP"}, row{"ebpf-nat", "eBPF NAT"})
	for round := range 3 {
		r.Samples = append(r.Samples, sample{Forwarder: "bare-xdp", Measure: "conns", Round: round, Refused: "xdp d0: not\nhere"})
	}
	r.Samples = append(r.Samples, sample{Forwarder: "ebpf-nat", Measure: "conns", Round: 0, Refused: "once"},
		sample{Forwarder: "ebpf-nat", Measure: "conns", Round: 1, Values: values{"rate": 1}})
	got = markdown(r, "")
	for _, want := range []string{
		"| bare AF_XDP | refused: xdp d0: not here | – | – | – |", // and so on
		"| eBPF NAT | 1.00 |",
		"- round 1, conns, ebpf-nat: it did not start: once",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report has no %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "bare-xdp") || strings.Count(got, "AF_XDP") != 1 {
		t.Errorf("a refusal is a failure, or in tables it is not of:\n%s", got)
	}
	r = made()
	r.Quick, r.Whole, r.Machine.Busy = true, false, 0.7
	got = markdown(r, "")
	for _, want := range []string{"**Quick", "**Interrupted", "0.70 CPUs were busy"} {
		if !strings.Contains(got, want) {
			t.Errorf("the report has no %q", want)
		}
	}
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1234.5: "1234", 99.96: "100", 99.94: "99.9", 9.996: "10.0", 9.99: "9.99", 0.054: "0.05", 0.0014: "0.001", -12: "-12.0"} {
		if got := digits(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}

// The picture is well-formed and nothing in it is outside.
func TestSVG(t *testing.T) {
	got := svg(made())
	d := xml.NewDecoder(strings.NewReader(got))
	texts := ""
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		if c, ok := tok.(xml.CharData); ok {
			texts += string(c) + "\n"
		}
	}
	for _, want := range []string{"A <fast> one", "Dirigo NAT", "connections/s (more is better)", "15000", "40k"} {
		if !strings.Contains(texts, want) {
			t.Errorf("the picture has no %q", want)
		}
	}
	if strings.Contains(texts, "Bulk") || strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
		t.Errorf("the picture has what was not measured: %s", got)
	}
}

func TestTicks(t *testing.T) {
	for most := 0.0013; most < 1e7; most *= 1.37 {
		step, end := ticks(most)
		n := end / step
		if end < most*0.999 || n < 2.5 || n > 6.5 || end > 2*most {
			t.Errorf("%v: steps of %v to %v", most, step, end)
		}
		lead := step / math.Pow(10, math.Floor(math.Log10(step)+1e-9))
		if d := math.Min(math.Abs(lead-1), math.Min(math.Abs(lead-2), math.Abs(lead-5))); d > 1e-6 {
			t.Errorf("%v: steps of %v", most, step)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	r := made()
	if err := r.save(file); err != nil {
		t.Fatal(err)
	}
	got, err := load(file)
	if err != nil || !reflect.DeepEqual(&got, r) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := load(file + "x"); err == nil {
		t.Error("a file that is not there")
	}
}
