package ipvsadm

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// recorded is a command that was given to ipvsadm 1.31 on a kernel director.
type recorded struct {
	Argv string `json:"argv"`
	RC   int    `json:"rc"`
	Text string `json:"text"`

	Stdin string `json:"stdin"` // for -R
}

func readRecorded(t *testing.T, file string) (all []recorded) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var r recorded
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// refusable says which answers of the director have the text.
func refusable(op Op, text string, rc int) bool {
	for errno := syscall.Errno(1); errno < 134; errno++ {
		if e := Refused(op, errno); e.Text+"\n" == text && e.ExitCode == rc {
			return true
		}
	}
	return false
}

// A command line that the recorded ipvsadm took parses; one that it refused itself gives the
// same text and exit code; one that its kernel refused parses, and there is an answer
// of the director that gives the same text and exit code.
func TestCommandLinesAnswerAsRecorded(t *testing.T) {
	env := Env{Names: testNames(t)}
	counts := map[string]int{}
	for _, r := range readRecorded(t, "testdata/commands.jsonl") {
		cmd, err := Parse(strings.Fields(r.Argv), env)
		switch e, _ := err.(*Error); {
		case err != nil:
			counts["refused by the parser"]++
			if e.Text+"\n" != r.Text || e.ExitCode != r.RC {
				t.Errorf("ipvsadm %s: %q, exit %d; recorded %q, exit %d", r.Argv, e.Text, e.ExitCode, r.Text, r.RC)
			}
		case r.RC == 0:
			counts["taken"]++
		default:
			counts["refused by the director"]++
			if !refusable(cmd.Op, r.Text, r.RC) {
				t.Errorf("ipvsadm %s: parses; recorded %q, exit %d, which no answer of the director gives", r.Argv, r.Text, r.RC)
			}
		}
	}
	for what, least := range map[string]int{"taken": 350, "refused by the parser": 35, "refused by the director": 15} {
		if counts[what] < least {
			t.Errorf("%d command lines %s, want %d at least", counts[what], what, least)
		}
	}
}

func TestRecordedRulesParse(t *testing.T) {
	b, err := os.ReadFile("testdata/rules.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if _, err := Parse(strings.Fields(line), Env{}); err != nil {
			t.Errorf("%s: %v", strings.TrimSpace(line), err)
		}
	}
	if n < 500 {
		t.Errorf("%d rules", n)
	}
}

// Listings are read back into entries, the entries reversed and printed again.
func TestListingsAreRecordedByteForByte(t *testing.T) {
	names := testNames(t)
	count := map[string]int{}
	for _, r := range readRecorded(t, "testdata/listings.jsonl") {
		cmd, err := Parse(strings.Fields(r.Argv), Env{Names: names})
		if err != nil {
			t.Fatal(err)
		}
		got, ok := reprint(t, cmd, r.Text, names)
		if !ok {
			continue
		}
		count[r.Argv]++
		if got != r.Text {
			t.Errorf("ipvsadm %s:\n%s\nrecorded:\n%s", r.Argv, visible(got), visible(r.Text))
		}
	}
	for argv, least := range map[string]int{
		"": 3, "-L": 2, "-Ln": 400, "-Lnc": 400, "-Ln --stats --exact": 90, "-Ln --rate": 2, "-Ln --thresholds": 20,
		"-Ln --persistent-conn": 15, "-Ln --tun-info": 7, "-Lnc --persistent-conn": 7, "-Ln --nosort": 3,
		"-L --daemon": 5, "-L --timeout": 3, "-Ln -t 10.0.1.100:80": 2, "-Ln --rate -f 5": 1, "-Ln --stats --rate": 2,
	} {
		if count[argv] < least {
			t.Errorf("ipvsadm %s: %d listings compared, want %d", argv, count[argv], least)
		}
	}
}

// reprint reads a listing and prints it again; ok is false for those made otherwise.
func reprint(t *testing.T, cmd *Command, text string, names *Names) (string, bool) {
	list := cmd.List
	read := reader{names, list}
	var b strings.Builder
	switch {
	case cmd.Op != OpList:
		return "", false // rules: TestRulesMakeRecordedTables
	case list.Connections:
		return printConns(t, list, names, slices.Values(read.conns(text))), true
	case list.Timeout:
		words := strings.Fields(text)
		err := WriteTimeouts(&b, Timeouts{int(unsigned(words[4])), int(unsigned(words[5])), int(unsigned(words[6]))})
		return b.String(), err == nil
	case list.Daemon:
		err := WriteDaemons(&b, readDaemons(text))
		return b.String(), err == nil
	}
	if list.Stats { // both may be given; statistics win
		read.list.Rate = false
	}
	return printServices(t, list, names, read.listing(text), !list.NoSort), true
}

func readDaemons(text string) (all []Daemon) {
	for line := range strings.Lines(text) {
		role, rest, _ := strings.Cut(line, " sync daemon (")
		d := Daemon{Role: map[string]Role{"master": Master, "backup": Backup}[role]}
		for _, field := range strings.Split(strings.TrimSuffix(rest, ")\n"), ", ") {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "mcast":
				d.Interface = value
			case "syncid":
				d.SyncID = int(unsigned(value))
			case "maxlen":
				d.MaxLen = int(unsigned(value))
			case "group":
				d.Group = netip.MustParseAddr(value)
			case "port":
				d.Port = uint16(unsigned(value))
			case "ttl":
				d.TTL = uint8(unsigned(value))
			}
		}
		all = append(all, d)
	}
	slices.Reverse(all)
	return all
}

// visible shows trailing blanks.
func visible(s string) string { return strings.ReplaceAll(s, "\n", "$\n") }
