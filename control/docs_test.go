package control

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Every curl line of docs/api.md does what it says, in the order of the document: those
// with output below them print that, the others print something.
func TestDocumentedCurlLines(t *testing.T) {
	doc, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	m := newInMemory(t)
	m.syn()
	lines := strings.Split(string(doc), "\n")
	ran, compared := 0, 0
	for i, line := range lines {
		command, ok := strings.CutPrefix(line, "    curl ")
		if !ok {
			continue
		}
		var want strings.Builder
		for _, out := range lines[i+1:] {
			text, indented := strings.CutPrefix(out, "    ")
			if !indented || strings.HasPrefix(text, "curl ") {
				break
			}
			want.WriteString(text + "\n")
		}
		command = "curl -S " + strings.Replace(command, "/run/dirigo/control.sock", m.socket, 1)
		got, err := exec.Command("sh", "-c", command).CombinedOutput()
		switch {
		case err != nil:
			t.Errorf("%s\n%v: %s", line, err, got)
		case len(got) == 0:
			t.Errorf("%s\nprinted nothing", line)
		case want.Len() > 0 && string(got) != want.String():
			t.Errorf("%s\nprinted %s\nwant %s", line, got, want.String())
		}
		ran++
		if want.Len() > 0 {
			compared++
		}
	}
	if ran < 15 || compared < 7 {
		t.Errorf("only %d lines ran, %d with output", ran, compared)
	}
}
