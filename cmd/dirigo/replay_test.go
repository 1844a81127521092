package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

// dirigo runs a command line in this process.
func dirigo(t *testing.T, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err = cmd.Execute()
	return out.String(), err
}

// rules are as a kernel director's administrator has them.
const rules = "-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 1\n"

const portsTOML = `
[[port]]
name = "eth0"
mac = "02:00:00:00:01:01"
addresses = "10.0.1.1/24"
[[port]]
name = "eth1"
mac = "02:00:00:00:02:01"
addresses = "10.0.2.1/24"
`

// folder holds a configuration made by import, a capture of two SYNs a second apart, and a
// script.
func folder(t *testing.T, script string) (config, capture, commands string) {
	t.Helper()
	dir := t.TempDir()
	config, capture, commands = filepath.Join(dir, "dirigo.toml"), filepath.Join(dir, "in.pcap"), filepath.Join(dir, "script")
	services, err := dirigo(t, rules, "import", "ipvsadm")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := pcap.NewWriter(&b, false, []string{"eth0"}, []bool{true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		s := packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10, 0, 1, 7}), SrcPort: uint16(40000 + i), Dst: packet.AddrFrom4([4]byte{10, 0, 1, 100}), DstPort: 80, Proto: packet.TCP},
			EthDst: packet.MAC{2, 0, 0, 0, 1, 1}, EthSrc: packet.MAC{2, 0, 0, 0, 9, 7}, TCPFlags: packet.SYN}
		err = errors.Join(err, w.Write(time.Unix(1_700_000_000+int64(i), 0), 0, s.Frame()))
	}
	for path, text := range map[string]string{config: services + portsTOML, commands: script} {
		err = errors.Join(err, os.WriteFile(path, []byte(text), 0o644))
	}
	if err = errors.Join(err, w.Close(), os.WriteFile(capture, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	return config, capture, commands
}

// What import prints is accepted by check, with the ports added.
func TestImportedRulesAreChecked(t *testing.T) {
	config, _, _ := folder(t, "")
	out, err := dirigo(t, "", "check", "-c", config)
	if err != nil || !strings.Contains(out, "good: 2 ports, 1 services, 1 real servers") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := dirigo(t, "-Ln\n", "import", "ipvsadm"); err == nil || !strings.HasPrefix(err.Error(), "stdin:1: ") {
		t.Errorf("a listing is imported: %v", err)
	}
	if _, err := dirigo(t, rules, "import", "keepalived"); err == nil {
		t.Error("rules of keepalived are imported")
	}
}

// Each frame and each command has its line, the drop with its rule, the listing below its
// command; a refused command makes the exit status 1 after all else is done.
func TestReplayWithCommands(t *testing.T) {
	config, capture, script := folder(t, `0.5 ipvsadm -e -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 0
0.5 ipvsadm -D -t 10.0.1.100:81
2 ipvsadm -Sn
`)
	sent := filepath.Join(filepath.Dir(capture), "out.pcap")
	out, err := dirigo(t, "", "replay", "-c", config, capture, "-o", sent, "--commands", script, "--explain")
	if err == nil || err.Error() != script+": 1 of 3 commands were refused" {
		t.Errorf("error %v", err)
	}
	want := []string{
		`1 22:13:20.000000 eth0 send forward_nat tcp:10.0.1.7:40000>10.0.1.100:80 service=tcp/10.0.1.100:80 chosen-by=rr server=10.0.2.11:80 state=SYN_RECV expires=1m0s out=tcp:10.0.1.7:40000>10.0.2.11:80`,
		script + `:1 22:13:20.500000 ipvsadm -e -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 0`,
		script + `:2 22:13:20.500000 ipvsadm -D -t 10.0.1.100:81 refused: No such service`,
		`2 22:13:21.000000 eth0 drop no_dest tcp:10.0.1.7:40001>10.0.1.100:80 service=tcp/10.0.1.100:80 rule="all servers of tcp/10.0.1.100:80 have weight 0; the client is told port unreachable"`,
		script + `:3 22:13:22.000000 ipvsadm -Sn`,
		`-A -t 10.0.1.100:80 -s rr`, `-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 0`,
		`2 frames, 2 sent, 0 not replayed`, `3 commands, 1 refused`,
	}
	if !strings.HasPrefix(out, strings.Join(want, "\n")+"\n") {
		t.Errorf("got\n%s\nwant at first\n%s", out, strings.Join(want, "\n"))
	}
	if st, err := os.Stat(sent); err != nil || st.Size() < 100 {
		t.Errorf("the output was not written: %v", err)
	}
	// Without --explain: refused commands and listings only.
	out, _ = dirigo(t, "", "replay", "-c", config, capture, "--commands", script)
	if !strings.HasPrefix(out, strings.Join(append([]string{want[2]}, want[4:]...), "\n")) {
		t.Errorf("without --explain\n%s", out)
	}
}

// A script that is wrong in itself is refused with file and line before anything is done.
func TestReplayRefusesScript(t *testing.T) {
	config, capture, script := folder(t, "0 ipvsadm -C\nsoon ipvsadm -C\n")
	sent := filepath.Join(filepath.Dir(capture), "out.pcap")
	out, err := dirigo(t, "", "replay", "-c", config, capture, "-o", sent, "--commands", script)
	if err == nil || !strings.HasPrefix(err.Error(), script+":2: ") || out != "" {
		t.Errorf("error %v, output %q", err, out)
	}
	if _, err := os.Stat(sent); err == nil {
		t.Error("an output was written")
	}
}

// The fields that --help explains are those of the lines.
func TestReplayHelpNamesEachField(t *testing.T) {
	source, err := os.ReadFile("explain.go")
	if err != nil {
		t.Fatal(err)
	}
	fields := regexp.MustCompile(`[a-z-]+=%`).FindAllString(string(source), -1)
	if len(fields) < 8 {
		t.Fatalf("fields %q", fields)
	}
	for _, f := range fields {
		if f := strings.TrimSuffix(f, "%"); !strings.Contains(replayHelp, f) {
			t.Errorf("%s is not in the help", f)
		}
	}
	// and its example is a script
	_, example, _ := strings.Cut(replayHelp, "# seconds  command")
	example, _, _ = strings.Cut(example, "\n\n")
	path := filepath.Join(t.TempDir(), "example")
	if err := os.WriteFile(path, []byte(example), 0o644); err != nil {
		t.Fatal(err)
	}
	if list, err := readScript(path); err != nil || len(list) != 5 {
		t.Errorf("the example: %d commands, %v", len(list), err)
	}
	if _, err := conf.Parse("", []byte("[[route]]\ndest = \"10.0.0.1\"\ntype = \"local\"")); err != nil {
		t.Errorf("what the help says of routes: %v", err)
	}
}
