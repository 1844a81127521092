package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// tools is a folder with the ipvsadm under test and the two scripts' names for it.
var tools = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "bin")
	cmd := exec.Command("go", "build", "-o", dir+"/", "github.com/dirigo-lb/dirigo/cmd/ipvsadm")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ipvsadm: %w: %s", err, out)
	}
	for _, name := range []string{"ipvsadm-save", "ipvsadm-restore"} {
		if err := os.Symlink("ipvsadm", filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// ipvsadmPath is the path of the program under test.
func ipvsadmPath(t testing.TB) string {
	t.Helper()
	dir, err := tools()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "ipvsadm")
}

// A shell runs lines in the director's namespace, where ipvsadm is the one under test and
// speaks to the director. Each line has a mount namespace of its own, in which the files
// that are keys of binds are those they stand for.
type shell struct {
	t     testing.TB
	ns    *lab.NS
	env   []string
	binds map[string]string
}

func (d *director) shell() *shell {
	d.t.Helper()
	path := "PATH=" + filepath.Dir(ipvsadmPath(d.t)) + ":" + os.Getenv("PATH")
	return &shell{t: d.t, ns: d.ns, env: []string{path, "DIRIGO_CONTROL=" + d.socket}}
}

// bind makes the line's other files, for shell and whatever else runs commands.
const bind = `while [ "$1" != -- ]; do mount --bind "$2" "$1" || exit 99; shift 2; done; shift; exec "$@"`

// command is words as they are run in the namespace: ip-netns(8) has unshared the mounts.
func (s *shell) command(words ...string) []string {
	args := append([]string{"env"}, s.env...)
	args = append(args, "/bin/sh", "-c", bind, "sh")
	for at, file := range s.binds {
		args = append(args, at, file)
	}
	return append(append(args, "--"), words...)
}

// do runs a line and returns what it wrote to both its streams, and its exit code.
func (s *shell) do(line string) (text string, rc int) {
	s.t.Helper()
	text, err := s.ns.Run(s.command("/bin/sh", "-c", "exec 2>&1; "+line)...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		rc = exit.ExitCode()
	case err != nil:
		s.t.Fatalf("%s: %v", line, err)
	}
	return text, rc
}

// must is do for lines that have to succeed.
func (s *shell) must(line string) string {
	s.t.Helper()
	text, rc := s.do(line)
	if rc != 0 {
		s.t.Fatalf("%s: exit code %d: %s", line, rc, text)
	}
	return text
}

// destinations is a listing in short: for each service its scheduler, and what follows a
// server's address, by address.
func (s *shell) destinations() map[string]string {
	s.t.Helper()
	m := map[string]string{}
	for line := range strings.Lines(s.must("ipvsadm -Ln")) {
		f := strings.Fields(line)
		switch {
		case len(f) > 2 && f[0] == "->" && f[1] != "RemoteAddress:Port":
			m[f[1]] = f[2] + " " + f[3]
		case len(f) > 2 && (f[0] == "TCP" || f[0] == "UDP" || f[0] == "FWM"):
			m[f[0]+" "+f[1]] = strings.Join(f[2:], " ")
		}
	}
	return m
}

// rulesToSave has something of everything that saved rules can say: thresholds are not
// saved, as ipvsadm has it.
const rulesToSave = `-A -t VIP:80 -s wrr -p 300 -M 255.255.255.0
-a -t VIP:80 -r SERVER1:8080 -m -w 3
-a -t VIP:80 -r SERVER2:8080 -m -w 0
-A -t VIP:443 -s sh -b sh-fallback,sh-port
-a -t VIP:443 -r SERVER1:443 -g -w 1
-A -u VIP:53 -s rr -o
-a -u VIP:53 -r SERVER1:53 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
-A -u VIP:5060 -s rr -p 60 --pe sip
-A --sctp-service VIP:3868 -s lc
-A -t [2001:db8::1]:80 -s mh -p 300 -M 64 -b mh-port
-a -t [2001:db8::1]:80 -r [fd00:10:9::11]:8080 -m -w 7
-A -f 5 -s wlc
-a -f 5 -r SERVER1:0 -g -w 1
-A -f 6 -6 -s rr
`

// What keepalived's helpers and shell scripts do with ipvsadm: save, restore, clear,
// and watch.
func TestSaveAndRestore(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2, plain: true})
	d := startDirector(t, c.director, c.config(1, ""))
	sh := d.shell()
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte(c.fill(rulesToSave)), 0o644); err != nil {
		t.Fatal(err)
	}
	sh.must("ipvsadm-restore < " + rules)
	before := sh.must("ipvsadm -Ln; ipvsadm -Ln --tun-info")
	if n := len(d.services()); n != 8 {
		t.Fatalf("%d services, want 8:\n%s", n, before)
	}
	for _, line := range []string{
		"cd $(mktemp -d); ipvsadm -S -n > f; ipvsadm -C; [ -z \"$(ipvsadm -Sn)\" ] && ipvsadm -R < f; ipvsadm -Sn | diff - f",
		"ipvsadm-save -n | ipvsadm-restore", // clears when it has read everything: save may still be at work before
		"ipvsadm-save -n > /dev/null; ipvsadm -Sn | (cat > f$$; ipvsadm -C; ipvsadm -R < f$$; rc=$?; rm f$$; exit $rc)",
	} {
		if text := sh.must(line); text != "" {
			t.Errorf("%s: %s", line, text)
		}
		if after := sh.must("ipvsadm -Ln; ipvsadm -Ln --tun-info"); after != before {
			t.Errorf("%s: before\n%s\nafter\n%s", line, before, after)
		}
	}
	// A listing is the same however often it is asked for.
	seen := sh.must("for i in 1 2 3 4 5 6 7 8 9 10; do ipvsadm -Ln --rate; ipvsadm -Ln --stats; done | sort | uniq -c | awk '{print $1 % 10}' | sort -u")
	if seen != "0\n" {
		t.Errorf("twenty listings of a director at rest differ: %q", seen)
	}
	// A reader that has seen enough ends the program, quickly and without a word.
	start := time.Now()
	if text := sh.must("ipvsadm -Ln | head -n 1"); text != "IP Virtual Server version 1.2.1 (size=4096)\n" || time.Since(start) > 5*time.Second {
		t.Errorf("ipvsadm -Ln | head -n 1: %q after %v", text, time.Since(start))
	}
}
