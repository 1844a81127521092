package probe

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// daemon is a real server of Debian's packages, run as a child on loopback.
type daemon struct {
	t    testing.TB
	dir  string // its own; every user may enter it
	out  *lab.Text
	cmd  *exec.Cmd
	done chan struct{}
}

// host is a loopback address of this test process alone, and its ports are given out once:
// one that is free stays free.
var (
	host     = netip.AddrFrom4([4]byte{127, 1 + byte(os.Getpid()>>16), byte(os.Getpid() >> 8), byte(os.Getpid())})
	lastPort atomic.Uint32
)

func freePort(testing.TB) netip.AddrPort {
	return netip.AddrPortFrom(host, uint16(10000+lastPort.Add(1)))
}

// file writes one of the daemon's files, with DIR put in, and returns its path.
func (d *daemon) file(name, text string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", d.dir)), 0o644); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func newDaemon(t *testing.T) *daemon {
	t.Parallel() // they wait for their daemons
	return &daemon{t: t, dir: openDir(t), out: &lab.Text{}, done: make(chan struct{})}
}

// own gives the daemon's directory, and all in it, to a user.
func (d *daemon) own(name string) *syscall.Credential {
	d.t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		d.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	err = filepath.Walk(d.dir, func(path string, _ os.FileInfo, err error) error {
		if err == nil {
			err = os.Lchown(path, uid, gid)
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// command is one of the daemon's tools, dead with us.
func (d *daemon) command(as *syscall.Credential, argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, d.out, d.out
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=" + d.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Credential: as}
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a tool to its end.
func (d *daemon) run(as *syscall.Credential, argv ...string) {
	d.t.Helper()
	if err := d.command(as, argv...).Run(); err != nil {
		d.t.Fatalf("%v: %v (see \"make tools\"): %s", argv, err, d.out)
	}
}

func (d *daemon) start(as *syscall.Credential, argv ...string) {
	d.t.Helper()
	d.cmd = d.command(as, argv...)
	if err := d.cmd.Start(); err != nil {
		d.t.Fatalf("%v: %v (see \"make tools\")", argv, err)
	}
	go func() { d.cmd.Wait(); close(d.done) }()
	d.t.Cleanup(func() {
		d.signal(syscall.SIGCONT)
		d.kill()
	})
}

func (d *daemon) signal(s syscall.Signal) { syscall.Kill(-d.cmd.Process.Pid, s) }

func (d *daemon) kill() {
	d.signal(syscall.SIGKILL)
	<-d.done
}

// asked is a probe and what its answer is to be.
type asked struct {
	name  string
	probe conf.Probe
	at    netip.AddrPort
	want  health.Why
}

// until asks again and again until the answer is the one wanted.
func (d *daemon) until(x asked, timeout time.Duration) {
	d.t.Helper()
	lab.Until(d.t, 60*time.Second, func() (bool, string) {
		select {
		case <-d.done:
			if x.want == health.WhyNone {
				d.t.Fatalf("%s: the daemon has ended: %s", x.name, d.out)
			}
		default:
		}
		r := ask(d.t, x.probe, x.at, timeout)
		return r.Why == x.want, fmt.Sprintf("%s: %q: %s; want %q; %s", x.name, r.Why, r.Text, x.want, d.out)
	})
}

// live takes a daemon through its life: up, with every answer that is listed; stopped; up
// again; dead.
func (d *daemon) live(list ...asked) {
	d.t.Helper()
	d.until(list[0], enough)
	for _, x := range list {
		if r := ask(d.t, x.probe, x.at, enough); r.Why != x.want {
			d.t.Errorf("%s: got %q: %s; want %q", x.name, r.Why, r.Text, x.want)
		}
	}
	if d.t.Failed() {
		d.t.Fatal(d.out)
	}
	var good []asked
	for _, x := range list {
		if x.want == health.WhyNone {
			good = append(good, x)
		}
	}
	d.halt()
	for _, x := range good {
		if r := ask(d.t, x.probe, x.at, short/2); r.Why != health.WhyTimeout {
			d.t.Errorf("%s, stopped: got %q: %s", x.name, r.Why, r.Text)
		}
	}
	d.signal(syscall.SIGCONT)
	d.until(list[0], enough)
	d.kill()
	for _, x := range good {
		x.want = health.WhyRefused
		d.until(x, enough)
	}
}

// halt stops the daemon's processes, and waits until none of their threads runs: a signal
// that is sent has not been taken yet.
func (d *daemon) halt() {
	d.t.Helper()
	d.signal(syscall.SIGSTOP)
	lab.Until(d.t, 5*time.Second, func() (bool, string) {
		tasks, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat")
		for _, path := range tasks {
			b, err := os.ReadFile(path)
			_, rest, found := strings.Cut(string(b), ") ") // behind the name: state, parent, group
			f := strings.Fields(rest)
			if err == nil && found && len(f) > 2 && f[2] == strconv.Itoa(d.cmd.Process.Pid) && !strings.Contains("TZX", f[0]) {
				return false, path + " is " + f[0]
			}
		}
		return true, ""
	})
}
