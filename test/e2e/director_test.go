package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// director is a running dirigo in a namespace.
type director struct {
	*lab.Proc
	t      testing.TB
	ns     *lab.NS
	file   string // its configuration
	socket string
	binary string // the program
}

// startDirector starts a director with a configuration to which the path of its control
// socket is added, and waits until it runs. A test that fails shows what it knew.
func startDirector(t testing.TB, ns *lab.NS, config string) *director {
	t.Helper()
	return startProgram(t, binary, ns, config)
}

// startProgram is startDirector for another build of the director.
func startProgram(t testing.TB, program string, ns *lab.NS, config string) *director {
	t.Helper()
	dir := t.TempDir()
	d := &director{t: t, ns: ns, file: filepath.Join(dir, "dirigo.toml"), socket: filepath.Join(dir, "control.sock"), binary: program}
	d.write(config)
	d.start()
	return d
}

// start starts the director again, after its end, with the same files.
func (d *director) start() {
	d.t.Helper()
	d.Proc = d.ns.Start(d.binary, "run", "-c", d.file)
	proc := d.Proc
	d.t.Cleanup(func() {
		if d.t.Failed() {
			d.explain(proc)
		}
		if strings.Contains(proc.Out.String(), "DATA RACE") {
			d.t.Errorf("the director has a data race:\n%s", proc.Out)
		}
		proc.Kill() // the namespace may outlive this test
		_ = proc.Wait(time.Second)
	})
	lab.Until(d.t, 10*time.Second, func() (bool, string) {
		if d.Ended() {
			d.t.Fatalf("the director ended at once: %v", d.Wait(time.Second))
		}
		_, err := d.status()
		return err == nil, fmt.Sprint(err)
	})
}

// write writes the configuration file; reload makes the director read it.
func (d *director) write(config string) {
	d.t.Helper()
	config = strings.Replace(config, "[director]", fmt.Sprintf("[director]\ncontrol = %q", d.socket), 1)
	if err := os.WriteFile(d.file, []byte(config), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// command runs dirigo with the arguments in the director's namespace.
func (d *director) command(args ...string) (string, error) {
	return d.ns.Run(append([]string{binary}, args...)...)
}

// reload takes over a new configuration by the command.
func (d *director) reload(config string) {
	d.t.Helper()
	d.write(config)
	if out, err := d.command("reload", "--control", d.socket); err != nil {
		d.t.Fatalf("reload: %v: %s", err, out)
	}
}

// hangUp takes over a new configuration by SIGHUP.
func (d *director) hangUp(config string) {
	d.t.Helper()
	before := d.reloads()
	d.write(config)
	d.Signal(syscall.SIGHUP)
	lab.Until(d.t, 5*time.Second, func() (bool, string) { return d.reloads() > before, "no word of a reload in the log" })
}

func (d *director) reloads() int { return strings.Count(d.Out.String(), `msg="reload done"`) }

// stop ends the director as an operator would, and checks that it took it well.
func (d *director) stop() {
	d.t.Helper()
	d.Signal(syscall.SIGTERM)
	if err := d.Wait(2 * time.Second); err != nil {
		d.t.Errorf("stop: %v", err)
	}
}

func (d *director) status() (s api.Status, err error) {
	return s, api.NewClient(d.socket).Get("/v1/status", &s)
}

func (d *director) services() (s []api.ServiceStatus) {
	d.t.Helper()
	for one, err := range api.Lines[api.ServiceStatus](context.Background(), api.NewClient(d.socket), "/v1/services") {
		if err != nil {
			d.t.Fatal(err)
		}
		s = append(s, one)
	}
	return s
}

// connections lists the connection table.
func (d *director) connections() (list []api.Connection) {
	d.t.Helper()
	for c, err := range api.Lines[api.Connection](context.Background(), api.NewClient(d.socket), "/v1/connections") {
		if err != nil {
			d.t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// waitReason waits until so many frames have ended for a reason: workers hand their
// counts over every two seconds.
func (d *director) waitReason(reason string, least uint64) {
	d.t.Helper()
	lab.Until(d.t, 5*time.Second, func() (bool, string) {
		s, err := d.status()
		return err == nil && s.Reasons[reason] >= least, fmt.Sprintf("%s: want %d frames; status %+v, %v", reason, least, s, err)
	})
}

// explain says what a failed test needs to be understood.
func (d *director) explain(p *lab.Proc) {
	d.t.Logf("the director's log:\n%s", p.Out)
	if p.Ended() {
		d.t.Logf("the director has ended: %v", p.Wait(time.Second))
		return
	}
	time.Sleep(2200 * time.Millisecond) // counts are handed over every two seconds
	if s, err := d.status(); err == nil {
		b, _ := json.MarshalIndent(s, "", "  ")
		t, _ := json.Marshal(d.services())
		d.t.Logf("status: %s\nservices: %s", b, t)
		list := d.connections()
		d.t.Logf("connections (%d in all): %+v", len(list), list[:min(len(list), 20)])
	}
	for _, c := range []string{"nft list counters", "ip -s link", "ip neigh", "ip route", "ip rule"} {
		out, err := d.ns.Run(strings.Fields(c)...)
		d.t.Logf("%s: %v\n%s", c, err, out)
	}
}
