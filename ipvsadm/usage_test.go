package ipvsadm

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

// The help is ours in its first line and its last paragraph, ipvsadm's in between, and
// that fits a wide terminal.
func TestHelp(t *testing.T) {
	var b strings.Builder
	if err := WriteUsage(&b, "lb"); err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(strings.NewReader(b.String()))
	for first := true; s.Scan(); first = false {
		if first && s.Text() != Version || len(s.Text()) > 120 || strings.TrimRight(s.Text(), " ") != s.Text() {
			t.Errorf("line %q", s.Text())
		}
	}
	recorded, err := os.ReadFile("testdata/help")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(b.String(), "\n")
	_, want, _ := strings.Cut(string(recorded), "\n")
	ours, more := strings.CutPrefix(strings.ReplaceAll(rest, "  lb ", "  ipvsadm "), want)
	if !more || !strings.HasPrefix(ours, "\n") || strings.Contains(ours[1:], "\n\n") || strings.Contains(b.String(), "PROGRAM") {
		t.Errorf("help:\n%s", b.String())
	}
	b.Reset()
	if err := WriteVersion(&b); err != nil || b.String() != Version+"\n" || !strings.HasPrefix(Version, "ipvsadm v1.31") {
		t.Errorf("%v %q", err, b.String())
	}
}
