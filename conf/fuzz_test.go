package conf

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// Any text gives a state or Errors with a line in the text. A state is valid, and is
// read back from what it writes.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range append(files, "reference.toml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, seed := range []string{
		"a.b.c = 1\na.\"\".d = 2",                      // dotted and empty keys
		"service = [[], [{}], 1]",                      // nested arrays where tables belong
		"service = {}",                                 // a table where a list belongs
		"[[service]]\nserver = [{tunnel.type=1}]",      // dotted key in an inline table
		"[[mark]]\nvalue = \"1/\"\nproto = 256",        // half a mask
		"[[port]]\nname = \"\\u0000\"",                 // what no interface is called
		"[[service]]\nfwmark = 0x1_0\nforward = 1e400", // numbers TOML has in more forms
		"x = \"\"\"\"\"\"\"\"\ny = ''''''",             // quotes beside quotes
		"[[service]]\nlisten = \"tcp/[fe80::1%eth0]:80\"",
		"\xef\xbb\xbf[sysctl]\r\npmtu_disc = 1\r\n", // byte order mark, CRLF
		"[check]\nwindow = \"1 of 1\"\n[[service]]\nfwmark = 1\n[[service.check]]\ntype = \"udp\"\nport = 1\nsend = '\\xff\\\\'\n[[service.check]]\ntype = \"https\"\nfall = 1\ntls.verify = true",
		"[health.notify]\nmail = [\"a@b\"]\n[[service]]\nfwmark = 1\nhealth.sorry_server = { address = \"::1\", forward = \"tun\" }\nserver = [{ address = \"10.0.0.1\", forward = \"dr\", check = [{ type = \"none\" }, { name = {} }] }]",
		"[conntrack]\ntimeouts = {tcp = 9223372036854775807, udp = \"2562047h\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkLines(t, data)
		cfg, warnings, err := Check("f.toml", data)
		if err != nil {
			var es Errors
			if !errors.As(err, &es) || len(es) == 0 || cfg != nil {
				t.Fatalf("%T %v, state %v", err, err, cfg)
			}
			for i, e := range es {
				if e.Line < 1 || e.Msg == "" || i > 0 && e.Line < es[i-1].Line {
					t.Errorf("mistake %d is %#v, after line order or without one", i, e)
				}
			}
			return
		}
		for _, w := range warnings {
			if w.Msg == "" {
				t.Errorf("a warning says nothing: %#v", w)
			}
		}
		if err := Validate(cfg); err != nil {
			t.Fatalf("taken but not valid: %v", err)
		}
		text := cfg.TOML()
		again, err := Parse("again.toml", text)
		if err != nil {
			t.Fatalf("%v\nin:\n%s", err, text)
		}
		if !reflect.DeepEqual(again, cfg) {
			t.Fatalf("got %+v\nwant %+v\nin:\n%s", again, cfg, text)
		}
		if d := Diff(cfg, again); len(d) != 0 {
			t.Fatalf("differ: %v", d)
		}
	})
}

// The index ends on any bytes; on text that is TOML checkLines says what it must hold.
func FuzzIndexLines(f *testing.F) {
	for _, seed := range []string{"a=[[", "a={", "[", "[[", "\"", "'''", "a=\"\\", "=", "]", "a.b.", "[a.\"b", "a = [1 2]", "a={b}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 1
		for _, b := range data {
			if b == '\n' {
				total++
			}
		}
		lines, deep := indexLines(data)
		if deep < 0 || deep > total {
			t.Errorf("too deep at line %d of %d", deep, total)
		}
		for path, line := range lines {
			if line < 1 || line > total {
				t.Errorf("%q at line %d of %d", path, line, total)
			}
		}
		checkLines(t, data)
	})
}

// What is read as a service reads again as it is written, and nothing else is taken.
func FuzzServiceKey(f *testing.F) {
	for _, s := range []string{"tcp/192.0.2.1:80", "udp/[2001:db8::1]:*", "sctp/192.0.2.1:0", "fwmark 3 ipv6", "fwmark 4294967295", "fwmark 0", "tcp/[::ffff:1.2.3.4]:1", "tcp/[fe80::1%eth0]:1", "", "fwmark  1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseServiceKey(s)
		if err != nil {
			return
		}
		again, err := ParseServiceKey(k.String())
		if err != nil || again != k {
			t.Errorf("%q is %+v, written %q, which is %+v, %v", s, k, k, again, err)
		}
	})
}
