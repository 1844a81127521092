package ipvsadm

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/packet"
)

// words splits a line at blanks; "_" is an empty word.
func split(line string) []string {
	argv := strings.Fields(line)
	for i := range argv {
		if argv[i] == "_" {
			argv[i] = ""
		}
	}
	return argv
}

func TestMistakesHaveTheirMessages(t *testing.T) {
	const (
		badService = "illegal virtual server address[:port] specified"
		badServer  = "illegal real server address[:port] specified"
		badMask    = "illegal virtual server persistent mask specified"
		badMask6   = "illegal ipv6 netmask specified"
		aT         = "-a -t 10.0.0.1:80 -r 10.0.0.2 "
	)
	for _, c := range []struct{ line, want string }{
		{"-A -t 80", badService},
		{"-A -t _", badService},
		{"-A -t= 10.0.0.1:80", badService}, // an empty argument is one
		{"-A --tcp-service= 10.0.0.1:80", badService},
		{"-A -t 10.0.0.1:", badService},
		{"-A -t 10.0.0.1:-1", badService},
		{"-A -t 10.0.0.1:80x", badService},
		{"-A -t [2001:db8::1]", badService},
		{"-A -t [2001:db8::1]80", badService},
		{"-A -t [2001:db8::1", badService},
		{"-A -t [::1%lo]:80", badService},
		{"-A -t [::1]:", badService},
		{"-A -t 1.2.3.4.5:80", badService},
		{"-A -t 256.1:80", badService},
		{"-A -t 09.0.0.1:80", badService},
		{"-A -t www.example.com:80", badService}, // no resolver
		{"-A -t 10.0.0.1:http", badService},
		{"-A -t [10.0.0.1]:80", "Zero port specified for non-persistent service"}, // its port is not looked at
		{"-A -t 2001:db8::1", "Zero port specified for non-persistent service"},
		{"-A -u 10.0.0.1:0 -o", "Zero port specified for non-persistent service"},
		{"-A --sctp-service 10.0.0.1:5 -o", "One-Packet Scheduling is only for UDP virtual services"},
		{"-E -t 10.0.0.1:5 -o", "One-Packet Scheduling is only for UDP virtual services"},
		{"-A -f 0", "invalid fwmark value `0' specified"},
		{"-A -f 4294967296", "invalid fwmark value `4294967296' specified"},
		{"-A -f 99999999999999999999", "invalid fwmark value `99999999999999999999' specified"},
		{"-A -f 5x", "invalid fwmark value `5x' specified"},
		{"-A -6 -f 5", "-6 used before -f\n"},
		{"-A -t 10.0.0.1:80 -6", "-6 used before -f\n"},
		{"-A -t 10.0.0.1:80 -p 2678401", "invalid timeout value `2678401' specified"},
		{"-A -t 10.0.0.1:80 -p _", "invalid timeout value `' specified"},
		{"-A -t 10.0.0.1:80 --persistent=-5", "invalid timeout value `-5' specified"},
		{"-Apt 10.0.0.1:80", "invalid timeout value `t' specified"}, // -p took the t
		{"-A -t 10.0.0.1:80 -M 255.255.255.256", badMask},
		{"-A -t 10.0.0.1:80 -M 64x", badMask},
		{"-A -t [::1]:80 -M 0", badMask6},
		{"-A -t [::1]:80 -M 129", badMask6},
		{"-A -t [::1]:80 -M x", badMask6},
		{"-A -t [::1]:80 -M 255.255.255.0", badMask6},
		{"-A -f 5 -6 -M -1", badMask6},
		{"-A -M 64 -t [::1]:80 -b x", "invalid scheduler flag `x'"},
		{"-A -t 10.0.0.1:80 -b mh-port -s sh", "incompatible scheduler flag `mh-port'"},
		{"-A -t 10.0.0.1:80 -b flag-1,sh-fallback", "incompatible scheduler flag `sh-fallback'"},
		{"-L -b nonsense", "invalid scheduler flag `nonsense'"}, // before the table of options
		{"-a -t 10.0.0.1:80 -r 10", badServer},
		{"-a -t 10.0.0.1:80 -r [::1]", badServer},
		{aT + "-w 2147483648", "illegal weight specified"},
		{aT + "-w 1.5", "illegal weight specified"},
		{aT + "-x -1", "illegal u_threshold specified"},
		{aT + "-y 2147483648", "illegal l_threshold specified"},
		{aT + "-g -i", "multiple 'forwarding-method' options specified"},
		{aT + "--fullnat -m", "multiple 'forwarding-method' options specified"},
		{aT + "-i --tun-type GUE", "illegal tunnel type specified"},
		{aT + "-i --tun-type gue --tun-port 0", "illegal tunnel port specified"},
		{aT + "-i --tun-type gre --tun-port 5", "Illegal 'tun-port' option with the 'gre' tunnel type"},
		{aT + "-i --tun-type gre --tun-remcsum", "Illegal 'tun-remcsum' option with the 'gre' tunnel type"},
		{aT + "-i --tun-type gre --tun-csum --tun-nocsum",
			"The option 'tun-csum' conflicts with the 'tun-nocsum' option in the 'gre' tunnel type"},
		{aT + "-i --tun-csum", "Illegal 'tun-csum' option with the 'ipip' tunnel type"},
		{aT + "--tun-type ipip", "Tunnel options conflict with forward method"},
		{"-a -f 5 -6 -r 10.0.0.2 -m", "Different address family is allowed only for tunneling servers"},
		{"-e -f 5 -r [::2]:0", "Different address family is allowed only for tunneling servers"},
		{"--start-daemon", "Try `ipvsadm -h' or 'ipvsadm --help' for more information."},
		{"--start-daemon _", "illegal start-daemon parameter specified"},
		{"--stop-daemon x", "illegal start_daemon specified"},
		{"--start-daemon master --syncid 256", "illegal syncid specified"},
		{"--start-daemon master --sync-maxlen 65508", "illegal sync-maxlen specified"},
		{"--start-daemon master --mcast-port 0", "illegal mcast-port specified"},
		{"--start-daemon master --mcast-ttl 256", "illegal mcast-ttl specified"},
		{"--start-daemon master --mcast-group 10.0.0.1", "invalid IPv4 mcast-group `10.0.0.1'"},
		{"--start-daemon master --mcast-group 224.1", "invalid IPv4 mcast-group `224.1'"},
		{"--start-daemon master --mcast-group 2001:db8::1", "invalid IPv6 mcast-group `2001:db8::1'"},
		{"--start-daemon master --mcast-group ff02::1%eth0", "invalid IPv6 mcast-group `ff02::1%eth0'"},
		{"--start-daemon master --mcast-group ::ffff:224.0.0.1", "invalid IPv6 mcast-group `::ffff:224.0.0.1'"},
		{"--set 1 2", "--set option requires 3 timeout values"},
		{"--set 1 2 3 4", "unexpected argument 4"},
		{"--set 2678401 x 3", "invalid timeout value `2678401' specified"},
		{"--set 1 2 x", "invalid timeout value `x' specified"},
		{"-A -u 10.0.0.1:5060 -s rr -p 60 pe sip ops", "unexpected argument pe"}, // as saved by 1.26
		{"-L -", "unexpected argument -"},
		{"-L -- -n", "unexpected argument -n"},
		{"word -L", "unexpected argument word"},
		{"-C _", "unexpected argument "},
		{"-L -LA", "invalid option `-LA'"},
		{"-L --start-daemon master", "invalid option `master'"}, // the last word taken is blamed
		{"-L --help", "invalid option `--help'"},
		{"-A -t 10.0.0.1:80 -q", "-q: unknown option"},
		{"-A -t 10.0.0.1:80 -p -5", "-5: unknown option"},
		{"-Lnq", "-Lnq: unknown option"},
		{"-L --no-such=1", "--no-such=1: unknown option"},
		{"-L --NUMERIC", "--NUMERIC: unknown option"},
		{"-L --num", "--num: unknown option"},
		{"-L=", "-L=: unknown option"},
		{"-A -s", "-s: missing argument"},
		{"-A --scheduler", "--scheduler: missing argument"},
		{"-A -os", "-os: missing argument"},
		{"word", "Try `ipvsadm -h' or 'ipvsadm --help' for more information."},
		{"--", "Try `ipvsadm -h' or 'ipvsadm --help' for more information."},
		{"-- -L", "Try `ipvsadm -h' or 'ipvsadm --help' for more information."},
		{"--tcp-service 10.0.0.1:80 -A", "Try `ipvsadm -h' or 'ipvsadm --help' for more information."},
		{"-q", "Try `ipvsadm -h' or 'ipvsadm --help' for more information."},
	} {
		cmd, err := Parse(split(c.line), Env{})
		if err == nil {
			t.Errorf("ipvsadm %s: %+v, want %q", c.line, cmd, c.want)
			continue
		}
		e := err.(*Error)
		want := Error{Text: c.want, ExitCode: 2, Ends: true}
		switch {
		case strings.HasPrefix(c.want, "Try "):
			want.ExitCode, want.Hint = 255, true
		case strings.HasSuffix(c.want, "unknown option"), strings.HasSuffix(c.want, "missing argument"):
			want.ExitCode, want.Ends = 255, false
		}
		if *e != want {
			t.Errorf("ipvsadm %s: %+v, want %+v", c.line, *e, want)
		}
	}
}

func TestTheHintNamesTheProgram(t *testing.T) {
	_, err := Parse([]string{"-c", "-L"}, Env{Program: "/sbin/lb"})
	if want := "Try `/sbin/lb -h' or '/sbin/lb --help' for more information."; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// One service in each way it may be written.
func TestSpellings(t *testing.T) {
	want := conf.Service{
		Key:         conf.ServiceKey{Proto: packet.TCP, Addr: netip.MustParseAddr("10.0.1.100"), Port: 106},
		Scheduler:   "sh",
		SchedFlags:  conf.SchedFlag1 | conf.SchedFlag2,
		Persistence: conf.Persistence{Timeout: 5 * time.Minute, Netmask: netip.MustParseAddr("255.255.255.0"), Engine: "sip"},
	}
	for _, line := range []string{
		"-A -t 10.0.1.100:106 -s sh -p 300 -M 255.255.255.0 --pe sip -b sh-fallback,sh-port",
		"-At 10.0.1.100:106 -ssh -p300 -M255.255.255.0 --pe=sip -bsh-fallback,sh-port",
		"-At10.0.1.100:106 -s=sh -p=300 -M=255.255.255.0 --pe sip -b=flag-1,flag-2",
		"--add-service --tcp-service 10.0.1.100:106 --scheduler=sh --persistent=300 --netmask=255.255.255.0 --pe sip --sched-flags=sh-port,,flag-1,",
		"-A -b sh-port,flag-1 --persistent 300 -M 0xffffff00 --pe sip -s sh -t 10.0.356:106",
		"-A -t 012.0.1.100:106 -p +300 -M 4294967040 --pe=sip --sched-flags sh-port,sh-fallback --scheduler sh",
		"--add-service=ignored -t 10.0.1.100:106 -s sh -p 300 -M 255.255.255.0 --pe sip -b flag-1,flag-2",
	} {
		cmd, err := Parse(split(line), Env{})
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if cmd.Op != OpAddService || !cmd.HasKey || cmd.Key != want.Key || !reflect.DeepEqual(cmd.Service, want) {
			t.Errorf("%s:\n%+v, want\n%+v", line, cmd.Service, want)
		}
	}
}

func TestOmittedOptionsTakeTheirDefaults(t *testing.T) {
	for _, op := range []string{"-A", "-E"} {
		cmd := mustParse(t, op+" -u 10.0.0.1:53", Env{})
		want := conf.Service{Key: conf.ServiceKey{Proto: packet.UDP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 53}, Scheduler: "wlc"}
		if !reflect.DeepEqual(cmd.Service, want) {
			t.Errorf("%s: %+v", op, cmd.Service)
		}
	}
	for _, op := range []string{"-a", "-e"} {
		cmd := mustParse(t, op+" -u 10.0.0.1:53 -r 10.0.0.2", Env{})
		if want := (conf.Server{Addr: netip.MustParseAddr("10.0.0.2"), Port: 53, Forward: conf.DR, Weight: 1}); !cmd.Server.Equal(&want) {
			t.Errorf("%s: %+v", op, cmd.Server)
		}
	}
	if cmd := mustParse(t, "--start-daemon backup", Env{}); cmd.Daemon != (Daemon{Role: Backup, Interface: "eth0"}) {
		t.Errorf("%+v", cmd.Daemon)
	}
	if cmd := mustParse(t, "--stop-daemon backup", Env{}); cmd.Daemon != (Daemon{Role: Backup}) {
		t.Errorf("%+v", cmd.Daemon)
	}
	if cmd := mustParse(t, "", Env{}); !reflect.DeepEqual(cmd, mustParse(t, "-L", Env{})) {
		t.Errorf("no words: %+v", cmd)
	}
}

func TestPersistence(t *testing.T) {
	mask := func(s string) conf.Persistence {
		return conf.Persistence{Timeout: 6 * time.Minute, Netmask: netip.MustParseAddr(s)}
	}
	prefix := func(n int) conf.Persistence { return conf.Persistence{Timeout: 6 * time.Minute, Prefix: n} }
	for _, c := range []struct {
		line string
		want conf.Persistence
	}{
		{"-A -t 10.0.0.1:80 -M 255.0.255.0 -p", mask("255.0.255.0")},
		{"-A -t 10.0.0.1:80 -p -M 0.0.0.0", mask("0.0.0.0")},
		{"-A -t 10.0.0.1:80 -p -M 255.255.255.255", prefix(0)}, // the default
		{"-A -t 10.0.0.1:80 -M 255.255.255.0", conf.Persistence{}},
		{"-A -t 10.0.0.1:80 --pe sip", conf.Persistence{Engine: "sip"}},
		{"-A -M 255.255.255.0 -p -t [::1]:80", prefix(0)}, // read as a mask, then replaced
		{"-A -p -t [::1]:80 -M 64", prefix(64)},
		{"-A -p -t [::1]:80 -M 64bits", prefix(64)},
		{"-A -p -t [::1]:80 -M 128", prefix(0)},
		{"-A -p -f 7 -6 -M 1", prefix(1)},
		{"-A -p -f 7 -M 255.0.0.0 -6", prefix(0)},
		{"-A -p -f 7 -6 -M 64 -6", prefix(0)},
		{"-A -p -f 7 -M 255.0.0.0", mask("255.0.0.0")},
		{"-A -t 10.0.0.1:0 -p 2678400", conf.Persistence{Timeout: 31 * 24 * time.Hour}},
	} {
		if got := mustParse(t, c.line, Env{}).Service.Persistence; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.line, got, c.want)
		}
	}
}

func TestServers(t *testing.T) {
	for _, c := range []struct {
		line, addr string
		port       uint16
		forward    conf.Forward
	}{
		// DR and TUN servers of an address service have its port, but not for -d.
		{"-a -t 10.0.0.1:80 -r 10.0.0.2:8080", "10.0.0.2", 80, conf.DR},
		{"-e -t 10.0.0.1:80 -r 10.0.0.2:8080 -i", "10.0.0.2", 80, conf.Tunnel},
		{"-a -r 10.0.0.2 -t 10.0.0.1:80", "10.0.0.2", 80, conf.DR},
		{"-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m", "10.0.0.2", 8080, conf.NAT},
		{"-a -t 10.0.0.1:80 -r 10.0.0.2:8080 --fullnat", "10.0.0.2", 8080, conf.FullNAT},
		{"-a -t 10.0.0.1:80 -r 10.0.0.2 -m", "10.0.0.2", 80, conf.NAT},
		{"-a -r 10.0.0.2 -t 10.0.0.1:80 -m", "10.0.0.2", 0, conf.NAT}, // service not known yet
		{"-a -t 10.0.0.1:80 -r [10.0.0.2]:8080 -m", "10.0.0.2", 80, conf.NAT},
		{"-a -f 5 -r 10.0.0.2:8080", "10.0.0.2", 8080, conf.DR},
		{"-a -f 5 -r 10.0.0.2", "10.0.0.2", 0, conf.DR},
		{"-a -f 5 -6 -r 2001:db8::2", "2001:db8::2", 0, conf.DR},
		{"-a -t 10.0.0.1:80 -r [2001:db8::2]:1 -i", "2001:db8::2", 80, conf.Tunnel},
		{"-a -f 5 -6 -r 10.0.0.2 -i", "10.0.0.2", 0, conf.Tunnel},
		{"-d -t 10.0.0.1:80 -r 10.0.0.2:8080", "10.0.0.2", 8080, 0},
		{"-d -t 10.0.0.1:80 -r 10.0.0.2", "10.0.0.2", 80, 0},
		{"-d -t 10.0.0.1:80 -r [::2]:9", "::2", 9, 0}, // no check of the family here
	} {
		s := mustParse(t, c.line, Env{}).Server
		if s.Addr.String() != c.addr || s.Port != c.port || s.Forward != c.forward {
			t.Errorf("%s: %+v", c.line, s)
		}
	}
	s := mustParse(t, "-a -t 10.0.0.1:80 -r 10.0.0.2 -i -w 0 -x 2147483647 -y 5 --tun-type gue --tun-port 6080 --tun-remcsum", Env{}).Server
	if s.Weight != 0 || s.Upper != 1<<31-1 || s.Lower != 5 || s.TunType != conf.TunGUE || s.TunPort != 6080 || s.TunFlags != 2 {
		t.Errorf("%+v", s)
	}
}

func TestListAndDaemonOptions(t *testing.T) {
	for _, c := range []struct {
		line string
		want List
	}{
		{"-Ln", List{Numeric: true}},
		{"-lcn", List{Numeric: true, Connections: true}},
		{"-L=n", List{Numeric: true}}, // popt passes over the sign
		{"-LX --stats --rate --nosort --sort", List{Exact: true, Stats: true, Rate: true, NoSort: true}},
		{"--list --thresholds --persistent-conn --tun-info --syncid 3", List{Thresholds: true, PersistentConn: true, TunInfo: true}},
		{"-L --timeout", List{Timeout: true}},
		{"-L --daemon -n", List{Daemon: true, Numeric: true}},
	} {
		if cmd := mustParse(t, c.line, Env{}); cmd.Op != OpList || cmd.List != c.want {
			t.Errorf("%s: %+v", c.line, cmd)
		}
	}
	d := mustParse(t, "--start-daemon master --mcast-interface an-interface-name --syncid 255 --sync-maxlen 65507 "+
		"--mcast-group ff02::51 --mcast-port 65535 --mcast-ttl 255", Env{}).Daemon
	want := Daemon{Master, "an-interface-na", 255, 65507, netip.MustParseAddr("ff02::51"), 65535, 255}
	if d != want {
		t.Errorf("%+v, want %+v", d, want)
	}
	if tm := mustParse(t, "--set 0 +5 2678400", Env{}).Timeouts; tm != (Timeouts{0, 5, 2678400}) {
		t.Errorf("%+v", tm)
	}
}

func TestNamesAreResolved(t *testing.T) {
	env := Env{Names: testNames(t)}
	for line, want := range map[string]string{
		"-A -t www.example.com:http": "192.0.2.10:80",
		"-A -t WWW:webcache":         "192.0.2.10:8080",
		"-A -u www:https":            "192.0.2.10:443",
		"-A -t [::1]:sip":            "[::1]:5060",
	} {
		k := mustParse(t, line, env).Key
		if got := netip.AddrPortFrom(k.Addr, k.Port).String(); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
	for _, line := range []string{
		"-A -u www:http",                // TCP only
		"-A --sctp-service www:http",    // likewise
		"-A -t six.example.com:80",      // IPv6 names are not looked up
		"-A -t nohost:80", "-A -t www:", // no such
		"-a -r www:http -t www:80", // the protocol is not known yet
	} {
		if _, err := Parse(split(line), env); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
	if s := mustParse(t, "-a -f 9 -r www:http -m", env).Server; s.Port != 80 { // a mark counts as TCP
		t.Errorf("%+v", s)
	}
	if p := mustParse(t, "-A -t www:80 -p 5 -M localhost", env).Service.Persistence; p.Netmask.String() != "127.0.0.1" {
		t.Errorf("%+v", p)
	}
}

func mustParse(t testing.TB, line string, env Env) *Command {
	t.Helper()
	cmd, err := Parse(split(line), env)
	if err != nil {
		t.Fatalf("ipvsadm %s: %v", line, err)
	}
	return cmd
}

// inet_aton(3) of glibc: the forms its manual page lists, and what it refuses.
func TestInetAton(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "10.1": "10.0.0.1", "10.1.257": "10.1.1.1", "0x7f000001": "127.0.0.1",
		"0177.0.0.01": "127.0.0.1", "0": "0.0.0.0", "4294967295": "255.255.255.255", "255.16777215": "255.255.255.255",
		"0X0a.0xFF": "10.0.0.255", "1.2.3.4 trash": "1.2.3.4", "1.2.3.4\n": "1.2.3.4",
		"": "", "1.2.3.256": "", "1.2.65536": "", "1.16777216": "", "4294967296": "", "1.2.3.4.5": "", "1..2": "",
		".1": "", "1.": "", "08": "", "0x": "", "0xg": "", "-1": "", "+1": "", " 1": "", "1.2.3.4x": "", "256.1": "",
	} {
		got := ""
		if a, ok := inetAton(in); ok {
			got = a.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"-A -t 10.0.1.100:80 -s rr -p 10 -M 255.255.255.0 -o --pe sip -b flag-1",
		"-at[2001:db8::1]:80 -r2001:db8::2 -i --tun-type=gue --tun-port 6080 --tun-csum -w3",
		"-Lnc --persistent-conn", "--set 1 2 3", "--start-daemon=master --mcast-group ff02::1",
		"-- -", "-L=n=", "-A -f 5 -6 -M 64", "-t", "\x00 -\xff",
	} {
		f.Add(strings.ReplaceAll(line, " ", "\n"))
	}
	n := testNames(f)
	f.Fuzz(func(t *testing.T, in string) {
		cmd, err := Parse(strings.Split(in, "\n"), Env{Names: n})
		if err == nil && cmd != nil {
			checkCommandIsSound(t, cmd)
			return
		}
		e, ok := err.(*Error)
		if cmd != nil || !ok || e.Text == "" || e.ExitCode != 2 && e.ExitCode != 255 {
			t.Fatalf("%v, %#v", cmd, err)
		}
	})
}

// checkCommandIsSound checks what holds for every command that Parse lets through.
func checkCommandIsSound(t *testing.T, c *Command) {
	t.Helper()
	needsKey := c.Op <= OpEditServer && c.Op != OpList && c.Op != OpFlush
	if needsKey && !c.HasKey {
		t.Fatalf("%v without a service", c.Op)
	}
	if k := c.Key; c.HasKey && (k.Fwmark != 0) == (k.Proto != 0) || c.HasKey && (k.Fwmark != 0) == k.Addr.IsValid() {
		t.Fatalf("key %+v", k)
	}
	switch s, d := c.Service, c.Server; c.Op {
	case OpAddService, OpEditService:
		if s.Key != c.Key || s.Scheduler == "" || s.Key.Fwmark == 0 && s.Key.Port == 0 && s.Persistence.Timeout == 0 ||
			s.Persistence.Netmask.IsValid() && s.Persistence.Prefix != 0 {
			t.Fatalf("%+v", s)
		}
	case OpAddServer, OpEditServer:
		if !d.Addr.IsValid() || d.Weight < 0 || d.Forward == conf.Local || d.Forward == conf.Bypass ||
			d.TunPort != 0 && d.TunType != conf.TunGUE || d.TunFlags > 2 {
			t.Fatalf("%+v", d)
		}
	}
}
