package health

import (
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"status 503, want 200-299":         "status 503, want 200-299",
		"müde":                             "müde",
		"a\x1b[2J\r\nb\tc\x00\u202e\u2028": "a?[2J??b?c???",
		"\xff\xfe":                         "??",
		strings.Repeat("x", 400):           strings.Repeat("x", 400),
		strings.Repeat("x", 1<<20):         strings.Repeat("x", 400) + "...",
		strings.Repeat("x", 399) + "ü":     strings.Repeat("x", 399) + "?...",
	} {
		if got := Plain(text); got != want {
			t.Errorf("%.40q: got %q, want %q", text, got, want)
		}
	}
}
