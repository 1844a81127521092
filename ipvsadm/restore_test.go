package ipvsadm

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// outcome is what one restore line came to.
func outcomes(in io.Reader, script bool) (all []string) {
	seq := Restore(in, Env{})
	if script {
		seq = RestoreScript(in, Env{})
	}
	for cmd, err := range seq {
		switch {
		case err != nil:
			all = append(all, "! "+err.Error())
		case cmd.HasKey:
			all = append(all, cmd.Op.String()+" "+cmd.Key.Addr.String())
		default:
			all = append(all, cmd.Op.String())
		}
	}
	return all
}

const tryHelp = "! Try `ipvsadm -h' or 'ipvsadm --help' for more information."

func TestRestoreLines(t *testing.T) {
	for _, c := range []struct {
		name, in, script string
		want             []string
	}{
		// The recorded run: a first line, then a comment, which ends it.
		{name: "recorded", in: "-A -t 10.0.1.100:111 -s rr\n# comment\n\n-a -t 10.0.1.100:111 -r 10.0.2.11\n-x\n",
			want: []string{"add-service 10.0.1.100", tryHelp}},
		{name: "blank lines and the word ipvsadm", in: "\n  \t\r\nipvsadm\nipvsadm -C\n\n-C ipvsadm\r\n  -Z",
			want: []string{"flush", "flush", "zero"}},
		{name: "syntax error ends", in: "-C\n-C x\n-C\n", want: []string{"flush", "! unexpected argument x"}},
		{name: "late comment", in: "-C # all\n-C\n", want: []string{"! unexpected argument #"}},
		{name: "unknown option goes on", in: "-C -q\n-C\n", want: []string{"! -q: unknown option", "flush"}},
		{name: "quotes are kept", in: `-A -t "10.0.0.1:80"`, want: []string{"! illegal virtual server address[:port] specified"}},
		{name: "nested", in: "-R\n-C\n", want: []string{tryHelp}},
		{name: "help ends", in: "-h\n-C\n", want: []string{"help"}},
		{name: "version ends", in: "-v\n-C\n", want: []string{"version"}},
		{name: "script", in: "#-A -t 192.0.2.99:80\n-Z\n #\n", script: "y",
			want: []string{"flush", "zero", tryHelp}},
		{name: "empty", in: "", want: nil},
	} {
		got := outcomes(strings.NewReader(c.in), c.script != "")
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A caller that stops early reads no further, and a reader that fails is reported.
func TestRestoreStopsWithItsReader(t *testing.T) {
	n := 0
	for range Restore(strings.NewReader("-C\n-C\n-C\n"), Env{}) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d lines after a break at 2", n)
	}
	for range RestoreScript(strings.NewReader("-Z\n"), Env{}) {
		break
	}

	broken := io.MultiReader(strings.NewReader("-C\n"), iotest.ErrReader(errors.New("disk on fire")))
	got := outcomes(broken, false)
	if len(got) != 2 || got[0] != "flush" || !strings.Contains(got[1], "disk on fire") {
		t.Errorf("broken reader: %q", got)
	}
	got = outcomes(strings.NewReader(strings.Repeat("x", maxLine+1)), false)
	if len(got) != 1 || !strings.HasPrefix(got[0], "! restore: ") {
		t.Errorf("endless line: %.80q", got)
	}
}

func FuzzRestore(f *testing.F) {
	f.Add("-A -t 10.0.1.100:111 -s rr\n# comment\n\n-a -t 10.0.1.100:111 -r 10.0.2.11\n")
	f.Add("ipvsadm --set 1 2 3\n-R\n")
	f.Add("-C\x00\n-Lnc\v\n\xff\xfe -Z")
	f.Fuzz(func(t *testing.T, in string) {
		n, ended := 0, false
		for cmd, err := range Restore(strings.NewReader(in), Env{}) {
			if ended {
				t.Fatal("goes on after an error that ends")
			}
			if n++; (cmd == nil) == (err == nil) {
				t.Fatalf("command %v, error %v", cmd, err)
			}
			if err != nil {
				e, ok := err.(*Error)
				if !ok || e.Text == "" || e.ExitCode == 0 {
					t.Fatalf("%#v", err)
				}
				ended = e.Ends
			}
		}
		if most := strings.Count(in, "\n") + 1; n > most {
			t.Fatalf("%d outcomes of %d lines", n, most)
		}
	})
}
