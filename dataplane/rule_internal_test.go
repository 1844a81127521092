package dataplane

import (
	"strings"
	"testing"
)

// Every reason has a rule, no two have the same, and none has a word in braces that
// nothing fills.
func TestEachReasonHasItsRule(t *testing.T) {
	seen := map[string]string{}
	check := func(name, text, filled string) {
		if text == "" || strings.HasSuffix(text, ".") || strings.Contains(text, "\"") {
			t.Errorf("%s: %q is no sentence without a full stop and quotes", name, text)
		}
		if strings.ContainsAny(filled, "{}") {
			t.Errorf("%s: %q has an unknown word in braces", name, filled)
		}
		if other := seen[text]; other != "" {
			t.Errorf("%s and %s have the same rule %q", name, other, text)
		}
		seen[text] = name
	}
	for r := range Reasons {
		check(r.String(), ruleTexts[r], r.Rule())
	}
	for y := firstWhy + 1; y < whys; y++ {
		w := whyTexts[y]
		tr := Trace{why: y}
		check(w.of.String(), w.text, tr.Rule(w.of))
		if !strings.HasPrefix(w.text, tr.Rule(w.of)[:4]) && !strings.HasPrefix(w.text, "{") {
			t.Errorf("why %d of %v does not say its own text: %q", y, w.of, tr.Rule(w.of))
		}
	}
}
