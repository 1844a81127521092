package metrics

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// docs/metrics.md has every figure of the director's own and of node_exporter's, with its
// type, labels and meaning, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	families, err := gather{busy(t).exporter()}.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "dirigo_") || strings.HasPrefix(f.GetName(), "node_ipvs_") {
			want[fmt.Sprintf("| `%s` | %s | %s | %s |", f.GetName(), strings.ToLower(f.GetType().String()), labelsOf(f), f.GetHelp())] = true
		}
	}
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(doc)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| `") {
			if !want[line] {
				t.Errorf("docs/metrics.md has what there is not: %s", line)
			}
			delete(want, line)
		}
	}
	for line := range want {
		t.Errorf("docs/metrics.md lacks: %s", line)
	}
}

// labelsOf are the labels that a family's samples have, sorted.
func labelsOf(f *dto.MetricFamily) string {
	var names []string
	for _, m := range f.Metric {
		for _, l := range m.Label {
			if !slices.Contains(names, l.GetName()) {
				names = append(names, l.GetName())
			}
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
