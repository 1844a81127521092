package control

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseCommands(t *testing.T) {
	const script = `# what happened on Friday
-1.5 ipvsadm -A -t 192.0.2.1:80 -s rr

0	ipvsadm  -C
  0.000000001 sysctl -w 'net.ipv4.vs.sloppy_tcp=1'
12.25 ipvsadm -Ln # no comment: as a word
`
	got, err := ParseCommands("s", strings.NewReader(script))
	if err != nil {
		t.Fatal(err)
	}
	want := []Command{
		{At: -1500 * time.Millisecond, Line: 2, Words: []string{"ipvsadm", "-A", "-t", "192.0.2.1:80", "-s", "rr"}, Text: "ipvsadm -A -t 192.0.2.1:80 -s rr"},
		{At: 0, Line: 4, Words: []string{"ipvsadm", "-C"}, Text: "ipvsadm  -C"},
		{At: 1, Line: 5, Words: []string{"sysctl", "-w", "net.ipv4.vs.sloppy_tcp=1"}, Text: "sysctl -w 'net.ipv4.vs.sloppy_tcp=1'"},
		{At: 12250 * time.Millisecond, Line: 6, Words: []string{"ipvsadm", "-Ln", "#", "no", "comment:", "as", "a", "word"}, Text: "ipvsadm -Ln # no comment: as a word"},
	}
	same := func(a, b Command) bool {
		return a.At == b.At && a.Line == b.Line && a.Text == b.Text && slices.Equal(a.Words, b.Words)
	}
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// What is wrong with a script's form is told of all lines at once, with file and line.
func TestParseCommandsRefuses(t *testing.T) {
	const script = `5 ipvsadm -C
ipvsadm -C
1h ipvsadm -C
5
6 reboot
4 ipvsadm -C
7 sysctl -w 'net
1e3 ipvsadm -C
99999999999 ipvsadm -C
`
	_, err := ParseCommands("f.txt", strings.NewReader(script))
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`f.txt:2: "ipvsadm" is not a time; `, `f.txt:3: "1h" is not a time; `, `f.txt:4: a time without a command; `,
		`f.txt:5: "reboot" is not a command of a replay; `, `f.txt:6: 4s is before line 1; `, `f.txt:7: the quote ' is not closed`,
		`f.txt:8: "1e3" is not a time; `, `f.txt:9: "99999999999" is not a time; `,
	}
	got := strings.Split(err.Error(), "\n")
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got\n%v\nwant lines that begin with\n%s", err, strings.Join(want, "\n"))
	}
}

// Whatever a script holds, it is read or refused, and what is read is in order.
func FuzzParseCommands(f *testing.F) {
	f.Add("0 ipvsadm -C\n-1 sysctl 'a b'=1\n")
	f.Add("1.5\tipvsadm \"x'y\n# c\n\n2 ipvsadm")
	f.Add("-0 sysctl\r\n+1 sysctl \x00\xff")
	f.Fuzz(func(t *testing.T, script string) {
		list, err := ParseCommands("f", strings.NewReader(script))
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("%q names no line", err)
		}
		for i, c := range list {
			if len(c.Words) == 0 || i > 0 && c.At < list[i-1].At || c.Line < 1 || c.Line > strings.Count(script, "\n")+1 {
				t.Errorf("command %d: %+v", i, c)
			}
		}
	})
}
