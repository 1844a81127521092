package e2e

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// SIGTERM and SIGINT end the director at once, with everything it has put up, also
// under load.
func TestCleanStop(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
			config := strings.Replace(c.config(2, c.web("rr", "", 1)+"[[port]]\nname = \"host0\"\ndriver = \"tun\"\n"),
				"[director]", "[director]\nhost_port = \"host0\"", 1)
			config += "[[service]]\nlisten = \"tcp/" + c.vip.String() + ":81\"\nforward = \"nat\"\n[[service.server]]\naddress = \"127.0.0.1:8080\"\n"
			d := startDirector(t, c.director, config)
			if got := c.director.Must("ip", "rule"); !strings.Contains(got, "from 127.0.0.1") {
				t.Errorf("no policy rule for the local server: %s", got)
			}
			fetch(c, c.client, 50, 10, c.url("/"))
			d.Signal(sig)
			start := time.Now()
			if err := d.Wait(2 * time.Second); err != nil {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			c.nothingLeft(d)
		})
	}
}

// A second director on the same control socket, or of the same name, is refused and
// leaves the first alone.
func TestSecondDirectorIsRefused(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	d := startDirector(t, c.director, c.config(1, c.web("rr", "", 1)))
	out, err := d.command("run", "-c", d.file)
	if err == nil || !strings.Contains(err.Error(), d.socket) {
		t.Errorf("a second director: %v: %s", err, out)
	}
	// Another socket does not help where it has the first one's name, which its guard goes by.
	out, err = d.command("run", "-c", d.file, "--control", d.socket+"2")
	if err == nil || !strings.Contains(err.Error(), "another director") {
		t.Errorf("a second director with another socket: %v: %s", err, out)
	}
	c.want("the first", fetch(c, c.client, 10, 1, c.url("/")), map[string]int{"s1": 10})
	if got := c.director.Must("nft", "list", "tables"); !strings.Contains(got, "dirigo_dirigo") {
		t.Errorf("the first one's guard is gone: %q", got)
	}
}

// The shipped binary is one static file: it runs where there is nothing else.
func TestStaticBinary(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "dirigo")
	if err := lab.Build("dirigo", path, false); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("file", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "statically linked") {
		t.Errorf("file: %v: %s", err, out)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		t.Errorf("needs libraries %v, %v", libs, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("needs a dynamic loader")
		}
	}
	cmd := exec.Command("/dirigo", "version")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Dir, cmd.Env = "/", []string{}
	out, err = cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "dirigo") {
		t.Errorf("in an empty root: %v: %s", err, out)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 {
		t.Errorf("the root holds %v, %v", entries, err)
	}
}
