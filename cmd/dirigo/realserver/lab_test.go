package realserver

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// bound is how long anything that has to happen may take.
const bound = 10 * time.Second

var program string // the built dirigo

func TestMain(m *testing.M) { os.Exit(lab.Main(m, &program)) }

// pair is a director's host and a real server on one link: 203.0.113.1 and .2, and
// 2001:db8:1::1 and ::2.
type pair struct {
	t                *testing.T
	director, server string // namespaces
	state            string
}

var pairs atomic.Int32

func newPair(t *testing.T) *pair {
	t.Helper()
	n := pairs.Add(1)
	p := &pair{t: t, state: t.TempDir()}
	p.director, p.server = fmt.Sprintf("drs%d-%dd", os.Getpid(), n), fmt.Sprintf("drs%d-%ds", os.Getpid(), n)
	for _, ns := range []string{p.director, p.server} {
		p.run("ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
		p.ip(ns, "link set lo up")
		p.in(ns, func() {
			for _, key := range []string{"all", "default"} {
				for _, name := range []string{"rp_filter", "arp_ignore", "arp_announce"} {
					if err := writeSysctl("ipv4/conf/"+key+"/"+name, "0"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	p.ip(p.director, "link add eth0 type veth peer name eth0 netns "+p.server)
	for i, ns := range []string{p.director, p.server} {
		p.ip(ns, fmt.Sprintf("addr add 203.0.113.%d/24 dev eth0", i+1))
		p.ip(ns, fmt.Sprintf("addr add 2001:db8:1::%d/64 dev eth0 nodad", i+1))
		p.ip(ns, "link set eth0 up")
	}
	p.ip(p.server, "route add default via 203.0.113.1")
	for end := time.Now().Add(bound); !strings.Contains(p.ip(p.server, "link show dev eth0"), "state UP"); {
		if time.Now().After(end) {
			t.Fatal("eth0 does not come up")
		}
	}
	return p
}

func (p *pair) run(name string, args ...string) string {
	p.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (p *pair) ip(ns, line string) string {
	p.t.Helper()
	return p.run("ip", append([]string{"-n", ns}, strings.Fields(line)...)...)
}

// settings is all of the server that a real server changes.
func (p *pair) settings() string {
	p.t.Helper()
	var b strings.Builder
	p.in(p.server, func() {
		for _, dev := range []string{"all", "default", "lo", "eth0"} {
			for _, name := range []string{"arp_ignore", "arp_announce", "rp_filter"} {
				v, err := readSysctl("ipv4/conf/" + dev + "/" + name)
				if err != nil {
					p.t.Error(err)
				}
				fmt.Fprintf(&b, "%s.%s=%s\n", dev, name, v)
			}
		}
	})
	for _, line := range strings.Split(p.ip(p.server, "-o addr"), "\n") {
		if f := strings.Fields(line); len(f) > 3 && !strings.HasPrefix(f[3], "fe80:") { // comes when it likes
			fmt.Fprintln(&b, f[1], f[3])
		}
	}
	return b.String()
}

// set changes a sysctl of the server.
func (p *pair) set(key, value string) {
	p.t.Helper()
	p.in(p.server, func() {
		if err := writeSysctl(key, value); err != nil {
			p.t.Error(err)
		}
	})
}

// in runs f on a thread in a namespace, which ends with it.
func (p *pair) in(ns string, f func()) {
	p.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the runtime throws the thread away
		h, err := netns.GetFromName(ns)
		if err == nil {
			defer h.Close()
			err = netns.Set(h)
		}
		if err != nil {
			p.t.Errorf("enter %s: %v", ns, err)
			return
		}
		f()
	}()
	<-done
	if p.t.Failed() {
		p.t.FailNow()
	}
}

// command is dirigo realserver on the server.
func (p *pair) command(args ...string) *exec.Cmd {
	line := append([]string{"netns", "exec", p.server, program, "realserver", "--state", p.state}, args...)
	return exec.Command("ip", line...)
}

// once runs it to its end.
func (p *pair) once(args ...string) (string, error) {
	out, err := p.command(args...).CombinedOutput()
	return string(out), err
}

// serving is one that runs.
type serving struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	said  strings.Builder
	err   bytes.Buffer
}

// serve starts it and waits until it is ready.
func (p *pair) serve(args ...string) *serving {
	p.t.Helper()
	s := &serving{t: p.t, cmd: p.command(args...)}
	s.cmd.Stderr = &s.err
	stdout, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	limit := time.AfterFunc(6*bound, func() { _ = s.cmd.Process.Kill() })
	p.t.Cleanup(func() {
		limit.Stop()
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // it may have ended
	})
	s.lines = bufio.NewScanner(stdout)
	s.until("ready")
	return s
}

func (s *serving) until(text string) {
	s.t.Helper()
	for s.lines.Scan() {
		s.said.WriteString(s.lines.Text() + "\n")
		if strings.Contains(s.lines.Text(), text) {
			return
		}
	}
	s.t.Fatalf("it never said %q:\n%s%s", text, s.said.String(), s.err.String())
}

// end ends it and returns what it said.
func (s *serving) end(sig syscall.Signal) string {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	for s.lines.Scan() {
		s.said.WriteString(s.lines.Text() + "\n")
	}
	if err := s.cmd.Wait(); sig != syscall.SIGKILL && err != nil {
		s.t.Errorf("%v: %s", err, s.err.String())
	}
	return s.said.String()
}

// echo answers UDP datagrams to port 7 of the VIPs.
func (p *pair) echo() {
	p.t.Helper()
	for _, vip := range []string{vip4.String(), vip6.String()} {
		var conn *net.UDPConn
		p.in(p.server, func() {
			var err error
			if conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(vip), Port: 7}); err != nil {
				p.t.Error(err)
			}
		})
		p.t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 1<<16)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				_, _ = conn.WriteToUDPAddrPort(buf[:n], from) // the test would miss it
			}
		}()
	}
}

// dial is a raw or UDP socket of the director to the server.
func (p *pair) dial(network, server string) io.WriteCloser {
	p.t.Helper()
	var c net.Conn
	p.in(p.director, func() {
		var err error
		if c, err = net.Dial(network, server); err != nil {
			p.t.Error(err)
		}
	})
	p.t.Cleanup(func() { c.Close() })
	return c
}

// listen is a socket of the client, which lives on the director's host.
func (p *pair) listen(network, at string) net.PacketConn {
	p.t.Helper()
	var c net.PacketConn
	p.in(p.director, func() {
		var err error
		if c, err = net.ListenPacket(network, at); err != nil {
			p.t.Error(err)
		}
	})
	p.t.Cleanup(func() { c.Close() })
	return c
}
