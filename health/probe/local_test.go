package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// failing is a Dialer whose every connection ends in one error.
type failing struct{ err error }

func (f failing) Dial(context.Context, string, netip.AddrPort) (net.Conn, error) { return nil, f.err }

func dialError(call string, errno syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError(call, errno)}
}

// What the system says when a connection fails: of the other side, of the way, of us.
func TestReasonsOfTheSystem(t *testing.T) {
	for _, c := range []struct {
		err  error
		want health.Why
	}{
		{dialError("connect", syscall.ECONNREFUSED), health.WhyRefused},
		{dialError("connect", syscall.EHOSTUNREACH), health.WhyUnreachable},
		{dialError("connect", syscall.ENETUNREACH), health.WhyUnreachable},
		{dialError("connect", syscall.ENETDOWN), health.WhyUnreachable},
		{dialError("connect", syscall.EACCES), health.WhyUnreachable}, // ICMPv6 prohibited
		{dialError("connect", syscall.ETIMEDOUT), health.WhyTimeout},
		{dialError("read", syscall.ECONNRESET), health.WhyClosed},
		{dialError("write", syscall.EPIPE), health.WhyClosed},
		{dialError("socket", syscall.EACCES), health.WhyLocal},
		{dialError("socket", syscall.EMFILE), health.WhyLocal},
		{dialError("socket", syscall.ENFILE), health.WhyLocal},
		{dialError("socket", syscall.ENOMEM), health.WhyLocal},
		{dialError("socket", syscall.ENOBUFS), health.WhyLocal},
		{dialError("socket", syscall.EAFNOSUPPORT), health.WhyLocal},
		{dialError("bind", syscall.EADDRNOTAVAIL), health.WhyLocal},
		{dialError("bind", syscall.EADDRINUSE), health.WhyLocal},
		{dialError("connect", syscall.EADDRNOTAVAIL), health.WhyLocal}, // no port is free
		{dialError("connect", syscall.EPERM), health.WhyLocal},         // our own firewall
		{fmt.Errorf("no pin: %w", health.ErrLocal), health.WhyLocal},
		{&net.DNSError{Err: "no such host", Name: "none.test"}, health.WhyResolve},
		{errors.New("something else"), health.WhyProtocol},
	} {
		for _, p := range []conf.ProbeType{conf.ProbeTCP, conf.ProbeHTTP, conf.ProbeUDP, conf.ProbePing, conf.ProbeSMTP, conf.ProbeMySQL, conf.ProbeDNS} {
			r := askBy(t, conf.Probe{Type: p}, netip.MustParseAddrPort("127.0.0.1:1"), enough, failing{c.err})
			if r.Why != c.want || r.Text == "" {
				t.Errorf("%s, %v: got %q: %s; want %q", p, c.err, r.Why, r.Text, c.want)
			}
		}
	}
}

// A target whose name did not resolve has no address.
func TestTargetWithoutAddress(t *testing.T) {
	for _, p := range tcpProtocols {
		wantBad(t, ask(t, p.probe, netip.AddrPort{}, enough), health.WhyResolve)
	}
	wantBad(t, ask(t, conf.Probe{Type: conf.ProbePing}, netip.AddrPort{}, enough), health.WhyResolve)
	wantBad(t, ask(t, conf.Probe{Type: conf.ProbeUDP}, netip.AddrPort{}, enough), health.WhyResolve)
}

// A source address that is not ours is our own trouble.
func TestSourceAddress(t *testing.T) {
	seen := make(chan string, 1)
	at := serve(t, func(c net.Conn) { seen <- c.RemoteAddr().String() })
	from := netip.MustParseAddr("127.0.0.9")
	wantGood(t, askBy(t, conf.Probe{Type: conf.ProbeTCP}, at, enough, Plain{Local: netip.AddrPortFrom(from, 0)}))
	if got := <-seen; !strings.HasPrefix(got, "127.0.0.9:") {
		t.Errorf("came from %s", got)
	}
	for _, p := range []conf.ProbeType{conf.ProbeTCP, conf.ProbeUDP, conf.ProbePing} {
		wantBad(t, askBy(t, conf.Probe{Type: p}, at, enough, Plain{Local: netip.MustParseAddrPort("192.0.2.1:0")}), health.WhyLocal)
	}
}

// With no descriptor left every probe says so of the director, not of the server.
func TestNoDescriptorsLeft(t *testing.T) {
	at := serve(t, held)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	var taken []int
	defer func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	}()
	var probers []health.Prober
	for _, p := range []conf.Probe{{Type: conf.ProbeTCP}, {Type: conf.ProbeHTTP}, {Type: conf.ProbeUDP}, {Type: conf.ProbePing},
		{Type: conf.ProbeFile, Path: "/etc/hostname"}, {Type: conf.ProbeScript, Command: "/bin/true"}} {
		x, err := New(p, health.Target{Addr: at.Addr(), Port: at.Port()}, Plain{})
		if err != nil {
			t.Fatal(err)
		}
		probers = append(probers, x)
	}
	now := was
	now.Cur = 256
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	for {
		fd, err := unix.Dup(0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	for _, x := range probers {
		wantBad(t, once(t, x, enough), health.WhyLocal)
	}
}

// A probe whose context is cancelled ends at once and blames nobody.
func TestCancelled(t *testing.T) {
	at := serve(t, held)
	for _, p := range []conf.Probe{{Type: conf.ProbeHTTP}, {Type: conf.ProbeHTTP, HTTP: "2"}, {Type: conf.ProbeSMTP}, {Type: conf.ProbeHTTPS},
		{Type: conf.ProbeScript, Command: "/bin/sleep\x00600"}, {Type: conf.ProbePing}, {Type: conf.ProbeUDP}} {
		x, err := New(p, health.Target{Addr: at.Addr(), Port: at.Port()}, Plain{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		if p.Type == conf.ProbePing || p.Type == conf.ProbeUDP { // these would be answered
			cancel()
		}
		time.AfterFunc(50*time.Millisecond, cancel)
		wantBad(t, x.Probe(ctx), health.WhyLocal)
		cancel()
	}
}

// inside dials in a namespace.
type inside struct{ *lab.NS }

func (n inside) Dial(ctx context.Context, network string, to netip.AddrPort) (c net.Conn, err error) {
	n.Do(func() { c, err = Plain{}.Dial(ctx, network, to) })
	return c, err
}

// What the network between may do: hosts and routes that are not there, firewalls that
// drop or refuse, ports where nobody is.
func TestNetwork(t *testing.T) {
	director, server := lab.New(t, "director"), lab.New(t, "server")
	lab.Veth(lab.Link{NS: director, Dev: "d0"}, lab.Link{NS: server, Dev: "s0"}, 1)
	for ns, n := range map[*lab.NS]string{director: "1", server: "2"} {
		dev := map[string]string{"1": "d0", "2": "s0"}[n]
		ns.IP("link set "+dev+" up", "addr add 10.77.0."+n+"/24 dev "+dev, "addr add 2001:db8:77::"+n+"/64 dev "+dev+" nodad")
		ns.Sysctl("ipv4/neigh/"+dev+"/retrans_time_ms", "100") // three attempts: 0.3 s
		ns.Sysctl("ipv6/neigh/"+dev+"/retrans_time_ms", "100")
		ns.Sysctl("ipv4/icmp_ratelimit", "0")
		ns.Sysctl("ipv6/icmp/ratelimit", "0")
	}
	server.Must("nft", `table inet f { chain in { type filter hook input priority 0;
		meta l4proto { tcp, udp } th dport 1001 drop
		meta l4proto { tcp, udp } th dport 1002 reject with icmpx admin-prohibited
		meta l4proto { tcp, udp } th dport 1003 reject with icmpx host-unreachable
		meta l4proto { tcp, udp } th dport 1004 reject with icmpx port-unreachable
		tcp dport 1005 reject with tcp reset
		}
		}`)
	director.Must("nft", `table inet f { chain out { type filter hook output priority 0; meta l4proto { tcp, udp } th dport 1006 drop
		}
		}`)
	for _, base := range []string{"10.77.0.", "2001:db8:77::"} {
		at := func(host string, port uint16) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr(base+host), port)
		}
		away := netip.MustParseAddrPort(map[bool]string{true: "192.0.2.1:80", false: "[2001:db8:99::1]:80"}[base[2] == '.'])
		for _, c := range []struct {
			name    string
			kind    conf.ProbeType
			at      netip.AddrPort
			timeout time.Duration
			want    health.Why
		}{
			{"ping", conf.ProbePing, at("2", 0), enough, ""},
			{"ping, no host", conf.ProbePing, at("9", 0), enough, health.WhyUnreachable},
			{"ping, no route", conf.ProbePing, away, enough, health.WhyUnreachable},
			{"tcp, no host", conf.ProbeTCP, at("9", 80), enough, health.WhyUnreachable},
			{"tcp, no route", conf.ProbeTCP, away, enough, health.WhyUnreachable},
			{"tcp, nobody", conf.ProbeTCP, at("2", 80), enough, health.WhyRefused},
			{"tcp, dropped", conf.ProbeTCP, at("2", 1001), short, health.WhyTimeout},
			{"tcp, prohibited", conf.ProbeTCP, at("2", 1002), enough, health.WhyUnreachable},
			{"tcp, unreachable", conf.ProbeTCP, at("2", 1003), enough, health.WhyUnreachable},
			{"tcp, port unreachable", conf.ProbeTCP, at("2", 1004), enough, health.WhyRefused},
			{"tcp, reset", conf.ProbeTCP, at("2", 1005), enough, health.WhyRefused},
			{"udp, silence", conf.ProbeUDP, at("2", 1001), short, ""},
			{"udp, nobody", conf.ProbeUDP, at("2", 80), enough, health.WhyRefused},
			{"udp, no host", conf.ProbeUDP, at("9", 80), enough, health.WhyUnreachable},
			{"udp, no route", conf.ProbeUDP, away, enough, health.WhyUnreachable},
			{"udp, prohibited", conf.ProbeUDP, at("2", 1002), enough, health.WhyUnreachable},
			{"udp, unreachable", conf.ProbeUDP, at("2", 1003), enough, health.WhyUnreachable},
			{"udp, our own firewall", conf.ProbeUDP, at("2", 1006), enough, health.WhyLocal},
			{"dns, silence", conf.ProbeDNS, at("2", 1001), short, health.WhyTimeout},
		} {
			t.Run(c.name+" "+c.at.Addr().String(), func(t *testing.T) {
				r := askBy(t, conf.Probe{Type: c.kind}, c.at, c.timeout, inside{director})
				if r.Why != c.want {
					t.Errorf("got %q: %s; want %q", r.Why, r.Text, c.want)
				}
			})
		}
	}
}
