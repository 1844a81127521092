package e2e

import (
	"os"
	"strings"
	"testing"
)

// What the file says and what commands changed are kept apart: shown, compared, merged by
// a reload that names the conflict, and saved.
func TestConfigOfFileAndCommands(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	d := startDirector(t, c.director, c.config(1, c.web("rr", "", 1, 1)))
	one, two := c.servers[0].addr.String()+":80", c.servers[1].addr.String()+":80"
	d.shell().must("ipvsadm -e -t " + c.vip.String() + ":80 -r " + one + " -m -w 0")
	run := func(args ...string) string {
		t.Helper()
		if args[0] != "check" {
			args = append(args, "--control", d.socket)
		}
		out, err := d.command(args...)
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return out
	}
	wants := func(what, text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(text, p) {
				t.Errorf("%s: no %q in\n%s", what, p, text)
			}
		}
	}
	weights := func() (w [2]int) {
		s := d.services()[0].Servers
		return [2]int{s[0].Weight, s[1].Weight}
	}
	shown := run("config", "show")
	wants("show", shown, "weight = 0", one)
	if strings.Contains(shown, "dirigo0") {
		t.Errorf("the director's own TUN is no part of the configuration: %s", shown)
	}
	again := t.TempDir() + "/again.toml"
	if err := os.WriteFile(again, []byte(shown), 0o600); err != nil {
		t.Fatal(err)
	}
	run("check", "-c", again)

	d.write(c.config(1, c.web("rr", "", 3, 5))) // the file says something of both servers
	wants("diff", run("config", "diff"),
		"  edit server "+two+" of tcp/"+c.vip.String()+":80: weight 1 -> 5\n",
		"  conflict: server "+one+" of tcp/"+c.vip.String()+":80: the file says weight 3, a command said 0: kept 0\n",
		"commands have changed since it was loaded\n  edit server "+one+" of tcp/"+c.vip.String()+":80: weight 1 -> 0\n")
	if w := weights(); w != [2]int{0, 1} {
		t.Errorf("weights %v after a diff, want 0 and 1 still", w)
	}
	wants("reload", run("reload"), "weight 1 -> 5\n", "conflict: server "+one)
	if w := weights(); w != [2]int{0, 5} {
		t.Errorf("weights %v after the reload, want the command's 0 and the file's 5", w)
	}

	run("config", "save")
	if out := run("config", "diff"); !strings.Contains(out, "would change nothing") || strings.Contains(out, "commands have") {
		t.Errorf("after a save: %s", out)
	}
	d.stop()
	d.start()
	if w := weights(); w != [2]int{0, 5} {
		t.Errorf("weights %v after a restart, want what was saved, 0 and 5", w)
	}
	d.shell().must("ipvsadm -C")
	wants("reload --discard", run("reload", "--discard"), "add service")
	if w := weights(); w != [2]int{0, 5} {
		t.Errorf("weights %v, want the file's state", w)
	}
}
