package sched

import (
	"strings"
	"testing"
)

func TestFlagNamesByScheduler(t *testing.T) {
	for _, c := range []struct {
		scheduler, text string
		f               Flags
		listed          string
	}{
		{"sh", "", 0, ""},
		{"sh", "sh-fallback", Flag1, "sh-fallback"},
		{"sh", "sh-port,sh-fallback", Flag1 | Flag2, "sh-fallback,sh-port"},
		{"sh", "flag-2,flag-3", Flag2 | Flag3, "sh-port,flag-3"},
		{"mh", "mh-port", Flag2, "mh-port"},
		{"mh", "mh-fallback,mh-port,mh-port", Flag1 | Flag2, "mh-fallback,mh-port"},
		{"wlc", "flag-1,flag-2,flag-3", Flag1 | Flag2 | Flag3, "flag-1,flag-2,flag-3"},
	} {
		f, err := ParseFlags(c.scheduler, c.text)
		if err != nil || f != c.f {
			t.Errorf("%s %q: %b, %v; want %b", c.scheduler, c.text, f, err, c.f)
		}
		if got := FlagNames(c.scheduler, c.f); got != c.listed {
			t.Errorf("%s %b: %q, want %q", c.scheduler, c.f, got, c.listed)
		}
	}
}

func TestParseFlagsErrors(t *testing.T) {
	for _, c := range []struct{ scheduler, text, names string }{
		{"wlc", "sh-port", `"sh-port"`},
		{"sh", "mh-port", `"mh-port"`},
		{"mh", "sh-fallback", "mh-fallback"},
		{"sh", "sh-port,", `""`},
		{"sh", ",", "sh-port"},
		{"sh", "sh-port, sh-fallback", `" sh-fallback"`},
		{"rr", "flag-4", "flag-3"},
		{"sh", "SH-PORT", "flag-3"},
	} {
		f, err := ParseFlags(c.scheduler, c.text)
		if err == nil || f != 0 || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s %q: %b, error %v; want one with %s", c.scheduler, c.text, f, err, c.names)
		}
	}
}

// What is read is written in a form that is read the same.
func FuzzParseFlags(f *testing.F) {
	f.Add("sh", "sh-fallback,sh-port") // both of its own
	f.Add("mh", "mh-port,flag-3")      // own and plain names
	f.Add("wlc", "flag-1,flag-1")      // twice
	f.Add("wlc", "sh-port")            // of another scheduler
	f.Add("", ",,")                    // empty names
	f.Fuzz(func(t *testing.T, scheduler, text string) {
		flags, err := ParseFlags(scheduler, text)
		if err != nil {
			if flags != 0 {
				t.Errorf("flags %b beside error %v", flags, err)
			}
			return
		}
		if flags >= Flag3<<1 {
			t.Errorf("flags %b", flags)
		}
		again, err := ParseFlags(scheduler, FlagNames(scheduler, flags))
		if err != nil || again != flags {
			t.Errorf("%b is written %q and read %b, %v", flags, FlagNames(scheduler, flags), again, err)
		}
	})
}
