package kernel

import (
	"github.com/dirigo-lb/dirigo/test/recording"
	"strings"
	"testing"
)

func testShell(t *testing.T) *shell {
	t.Helper()
	d, err := newDirector(&recording.Recording{VIPs: []string{"10.0.1.100"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.plane.Conns().Close)
	return newShell(d)
}

func TestShellRunsWhatRecordingsRun(t *testing.T) {
	sh := testShell(t)
	for _, c := range []struct {
		line, text string
		rc         int
	}{
		{"echo a; echo b", "a\nb\n", 0},
		{"false && echo no; echo $?", "1\n", 0},
		{"false || echo yes", "yes\n", 0},
		{"true || echo no", "", 0},
		{`printf -- '-A %s\n' "x y" z`, "-A x y\n-A z\n", 0},
		{`printf 'a\nb\n' | wc -l`, "2\n", 0},
		{`printf 'b\na\nb\n' | sort -u; true # said`, "a\nb\n", 0},
		{`printf 'b\nA\n' | grep -i ^a`, "A\n", 0},
		{`printf 'b\nA\n' | grep -vc x`, "2\n", 0},
		{`echo 'a+b' | grep 'a+b'`, "a+b\n", 0},
		{"echo a | grep b", "", 1},
		{`echo '->' | grep -e '->'`, "->\n", 0},
		{"for i in 1 2; do echo x.$i; done", "x.1\nx.2\n", 0},
		{"A='p q'; echo \"$A\" $A; echo ${A}r", "p q p q\np qr\n", 0},
		{"echo one > /tmp/f; echo two >> /tmp/f; cat /tmp/f", "one\ntwo\n", 0},
		{"printf '1\\n2\\n3\\n' | head -2 | tail -n 1", "2\n", 0},
		{"printf '1\\n2\\n3\\n' | tail -n +2", "2\n3\n", 0},
		{"printf '1\\n2\\n' | tail -n +9; echo a | tail -3", "a\n", 0},
		{"printf '1 2\\n' > /tmp/w; wc -w /tmp/w; wc -c < /tmp/w", "2 /tmp/w\n4\n", 0},
		{"echo gone >/dev/null; echo gone 2>/dev/null", "gone\n", 0},
		{"cat /nosuch 2>&1 | wc -l", "1\n", 0},
		{"cat < /nosuch", "/bin/sh: 1: cannot open /nosuch: No such file\n", 2},
		{"(echo a; echo b) | sort", "a\nb\n", 0},
		{"cat <<'E' | sort\nz $y\na\nE\necho c", "a\nz $y\nc\n", 0},
		{"echo a > /tmp/a; printf 'a\\nb\\n' | diff - /tmp/a", "2d1\n< b\n", 1},
		{"diff /tmp/a /tmp/a && echo same", "same\n", 0},
		{"printf '1\\n2\\n3\\n' >/tmp/a; printf '0\\n1\\nx\\ny\\n3\\n' | diff /tmp/a -", "0a1\n> 0\n2c3,4\n< 2\n---\n> x\n> y\n", 1},
		{"echo 1 > /proc/sys/net/ipv4/vs/expire_nodest_conn; cat /proc/sys/net/ipv4/vs/expire_nodest_conn", "1\n", 0},
		{"echo x > /proc/sys/net/ipv4/vs/expire_nodest_conn", "/bin/sh: 1: echo: echo: I/O error\n", 1},
		{"ipvsadm -A -t 10.0.1.100:http -s rr; ipvsadm -Sn", "-A -t 10.0.1.100:80 -s rr\n", 0},
		{"printf -- '-L\\n-A -t 10.0.1.100:80\\n' | ipvsadm -R 2>&1 | head -1", "Service already exists\n", 0},
	} {
		text, rc, err := sh.do(c.line)
		if err != nil || text != c.text || rc != c.rc {
			t.Errorf("%s: %q, %d, %v; want %q, %d", c.line, text, rc, err, c.text, c.rc)
		}
	}
}

// What the shell does not know is named and never passes.
func TestShellNamesWhatItCannotRun(t *testing.T) {
	sh := testShell(t)
	for line, want := range map[string]string{
		"awk 1":                   "awk",
		"true; ls /":              "ls",
		"echo `date`":             "`",
		"echo $(date)":            "$(date)",
		"echo 'x":                 "quote",
		"ls *":                    "*",
		"sleep 1 &":               "&",
		"sort -n":                 "option n",
		"ip link set cl0 down":    "ip:",
		"sysctl -p":               "sysctl",
		"for x; do true; done":    "for",
		"for x in a; do true":     "done",
		"{ true":                  "}",
		"true )":                  ")",
		"echo a >":                ">",
		"while true; do :; done":  "do",
		"cat <<E\n$x\nE\n":        "here document",
		"cat <<E\n":               "does not end",
		"printf '%x' 1":           "%x",
		"if true; then true; fi":  "if",
		"ipvsadm -Sn | sort -k 2": "option k",
	} {
		_, _, err := sh.do(line)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), strings.Fields(line)[0]) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// A recording that says something else is found different, whatever is masked.
func TestDifferencesAreFound(t *testing.T) {
	sh := testShell(t)
	for _, line := range []string{"ipvsadm -A -t 10.0.1.100:80 -s rr", "ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.11 -m", "ipvsadm -A -f 3 -s rr"} {
		if text, rc, err := sh.do(line); rc != 0 || err != nil {
			t.Fatal(line, text, err)
		}
	}
	const title = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n" +
		"  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
	const server = "  -> 10.0.2.11:80                 Masq    1      0          0         \n"
	const conns = "IPVS connection entries\npro expire state       source             virtual            destination\n"
	const row = "TCP 00:01  NONE        10.0.1.7:0         10.0.1.100:80      10.0.2.11:80\n"
	r := &recording.Recording{Ipvsadm: "ipvsadm v0"}
	for _, c := range []struct {
		s     recording.Step
		equal bool
	}{
		{recording.Step{Cmd: "ipvsadm -Ln", Text: title + "TCP  10.0.1.100:80 rr\n" + server + "FWM  3 rr\n"}, true},
		{recording.Step{Cmd: "ipvsadm -Ln", Text: title + "FWM  3 rr\nTCP  10.0.1.100:80 rr\n" + server}, false},
		{recording.Step{Cmd: "ipvsadm -Ln --nosort", Text: title + "FWM  3 rr\nTCP  10.0.1.100:80 rr\n" + server}, true},
		{recording.Step{Cmd: "ipvsadm -Ln --nosort", Text: title + "FWM  3 rr\n" + server + "TCP  10.0.1.100:80 rr\n"}, false},
		{recording.Step{Cmd: "ipvsadm -Ln", RC: 1, Text: title + "TCP  10.0.1.100:80 rr\n" + server + "FWM  3 rr\n"}, false},
		{recording.Step{Cmd: "ipvsadm -v", Text: "ipvsadm v0\n"}, true},
		{recording.Step{Cmd: "ipvsadm -v", Text: "ipvsadm v1\n"}, false},
		{recording.Step{Cmd: "ipvsadm -Lnc", Text: conns}, true},
		{recording.Step{Cmd: "ipvsadm -Lnc", Text: conns + strings.Replace(row, "00:01", "00:00", 1)}, true},
		{recording.Step{Cmd: "ipvsadm -Lnc", Text: conns + row}, false},
		{recording.Step{Cmd: "ipvsadm -D -f 4", RC: 255, Text: "No such service\n"}, true},
		{recording.Step{Cmd: "ipvsadm -D -f 4", RC: 255}, false},
	} {
		if diff := sh.d.line(sh, r, &c.s); (diff == "") != c.equal {
			t.Errorf("%s: %q, want equal %v", c.s.Cmd, diff, c.equal)
		}
	}
}
