package ipvsadm

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"syscall"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
)

// director is a Backend that keeps rules and writes down what it is asked.
type director struct {
	table table
	asked []string
	info  Info
	conns []ConnEntry
	down  error // what it answers to everything
	fail  error // what ends each sequence
}

func (d *director) Change(commands iter.Seq[*Command]) (errs []error, err error) {
	if d.down != nil {
		d.asked = append(d.asked, "change")
		return nil, d.down
	}
	for c := range commands {
		errs = append(errs, d.change(c))
	}
	d.asked = append(d.asked, fmt.Sprintf("change %d", len(errs)))
	return errs, nil
}

func (d *director) change(c *Command) error {
	var svc *ServiceEntry
	if c.HasKey {
		svc = d.table.find(c.Key)
	}
	switch c.Op {
	case OpAddService:
		if svc != nil {
			return fmt.Errorf("add: %w", conf.ErrExists)
		}
	case OpStartDaemon:
		return syscall.ENODEV
	case OpStopDaemon:
		return conf.ErrNoService
	case OpSet:
		return errors.Join(conf.ErrInvalid, errors.New("text nobody sees"))
	case OpAddServer:
		switch {
		case svc == nil:
			return conf.ErrNoService
		case svc.find(c.Server) != nil:
			return conf.ErrExists
		case c.Server.Lower > c.Server.Upper:
			return fmt.Errorf("%w: %w", conf.ErrInvalid, conf.ErrRange)
		}
	case OpFlush, OpZero:
		if c.HasKey && svc == nil {
			return conf.ErrNoService
		}
	default:
		if svc == nil {
			return conf.ErrNoService
		}
		if c.Op != OpEditService && c.Op != OpDeleteService && svc.find(c.Server) == nil {
			return conf.ErrNoServer
		}
	}
	d.table.do(c)
	return nil
}

func (d *director) Services(only *conf.ServiceKey) iter.Seq2[ServiceEntry, error] {
	d.asked = append(d.asked, "services")
	return func(yield func(ServiceEntry, error) bool) {
		found := only == nil
		for _, e := range d.table {
			if only != nil && e.Service.Key != *only {
				continue
			}
			found = true
			servers := e.Servers
			e.Servers = nil
			if !yield(e, nil) {
				return
			}
			for i := range servers { // in parts
				if e.Servers = servers[i : i+1]; !yield(e, nil) {
					return
				}
			}
		}
		if err := errors.Join(d.down, d.fail); err != nil {
			yield(ServiceEntry{}, err)
		} else if !found {
			yield(ServiceEntry{}, conf.ErrNoService)
		}
	}
}

func (d *director) Conns() iter.Seq2[ConnEntry, error] {
	d.asked = append(d.asked, "conns")
	return func(yield func(ConnEntry, error) bool) {
		for _, c := range d.conns {
			if !yield(c, nil) {
				return
			}
		}
		if err := errors.Join(d.down, d.fail); err != nil {
			yield(ConnEntry{}, err)
		}
	}
}

func (d *director) Info() (Info, error) {
	d.asked = append(d.asked, "info")
	return d.info, d.down
}

// call runs a command line, words divided by blanks, with standard input after "<<".
func call(d *director, line string) (out, err string, exit int) {
	line, in, _ := strings.Cut(line, " <<")
	var o, e strings.Builder
	exit = Run(strings.Fields(line), Stdio{strings.NewReader(in), &o, &e}, Env{}, d)
	return o.String(), e.String(), exit
}

// Each line goes to the same director, one after the other: what it prints on which
// stream, and the exit code.
func TestRunAnswersAsIpvsadm(t *testing.T) {
	d := &director{info: Info{TableSize: 4096, Timeouts: Timeouts{900, 120, 300}}}
	const title = "IP Virtual Server version 1.2.1 (size=4096)\n"
	plain := titles[layoutPlain] + "\n"
	const svc = "TCP  10.0.0.1:80 rr\n"
	const srv = "  -> 10.0.0.2:80                  Route   1      0          0         \n"
	const help = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n"
	const invalid = "Invalid operation.  Possibly wrong module version, address not unicast, ...\n"
	for _, c := range []struct {
		line, out, err string
		exit           int
	}{
		{"ipvsadm", title + plain, "", 0},
		{"ipvsadm -A -t 10.0.0.1:80 -s rr", "", "", 0},
		{"ipvsadm -A -t 10.0.0.1:80", "", "Service already exists\n", 255},
		{"ipvsadm -E -t 10.0.0.9:80", "", "No such service\n", 255},
		{"ipvsadm -D -t 10.0.0.9:80", "", "No such service\n", 255},
		{"ipvsadm -Z -t 10.0.0.9:80", "", "No such service\n", 255},
		{"ipvsadm -Z", "", "", 0},
		{"ipvsadm -a -t 10.0.0.9:80 -r 10.0.0.2", "", "Service not defined\n", 255},
		{"ipvsadm -a -t 10.0.0.1:80 -r 10.0.0.2", "", "", 0},
		{"ipvsadm -a -t 10.0.0.1:80 -r 10.0.0.2", "", "Destination already exists\n", 255},
		{"ipvsadm -a -t 10.0.0.1:80 -r 10.0.0.3 -y 1", "", "Numerical result out of range\n", 255},
		{"ipvsadm -e -t 10.0.0.1:80 -r 10.0.0.3", "", "No such destination\n", 255},
		{"ipvsadm -d -t 10.0.0.1:80 -r 10.0.0.3", "", "No such destination\n", 255},
		{"ipvsadm -d -t 10.0.0.9:80 -r 10.0.0.3", "", "Service not defined\n", 255},
		{"ipvsadm --set 1 2 3", "", invalid, 255},
		{"ipvsadm --start-daemon master", "", "No such device\n", 255},
		{"ipvsadm --stop-daemon backup", "", "No daemon is running\n", 255},
		{"ipvsadm -Ln", title + plain + svc + srv, "", 0},
		{"ipvsadm -Ln --nosort", title + plain + svc + srv, "", 0},
		{"ipvsadm -Ln -t 10.0.0.1:80", plain + svc + srv, "", 0},
		{"ipvsadm -L -t 10.0.0.9:80", "", "No such service\n", 1},
		{"ipvsadm -Ln --daemon", "", "", 0},
		{"ipvsadm -L --timeout", "Timeout (tcp tcpfin udp): 900 120 300\n", "", 0},
		{"ipvsadm -Lnc", "IPVS connection entries\n" + connTitle + "\n", "", 0},
		{"ipvsadm -Lnc --stats", "", "options conflicts in the list command\n", 2},
		{"ipvsadm -Sn", "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n", "", 0},
		{"ipvsadm-save -n", "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n", "", 0},
		{"/sbin/ipvsadm-save -x", "", "Usage: /sbin/ipvsadm-save [-n] > FILE\n  write the rules of the director; -n: addresses and ports as numbers\n", 1},
		{"ipvsadm-restore -n", "", "Usage: ipvsadm-restore < FILE\n  replace the rules of the director by those of ipvsadm-save\n", 1},
		{"ipvsadm -X", "", help, 255},
		{"/sbin/ipvsadm x", "", "Try `/sbin/ipvsadm -h' or '/sbin/ipvsadm --help' for more information.\n", 255},
		{"ipvsadm -S x", "", "unexpected argument x\n", 2},
		{"ipvsadm -L -6", "", "-6 used before -f\n\n", 2},
		{"ipvsadm -L -q", "", "-q: unknown option\n", 255},
		{"ipvsadm -v", Version + "\n", "", 0},

		// Restoring: refusals go on, syntax ends it, the last line decides.
		{"ipvsadm -R <<", "", "", 0},
		{"ipvsadm -R <<-A -t 10.0.0.1:80\n-A -f 1\n", "", "Service already exists\n", 0},
		{"ipvsadm -R <<-A -f 2\n-A -f 2\n\n", "", "Service already exists\n", 255},
		{"ipvsadm -R <<-A -f 3\n-A -f 3 x\n-A -f 4\n", "", "unexpected argument x\n", 2},
		{"ipvsadm -R <<-A -f 4 -q\n-A -f 5\n", "", "-q: unknown option\n", 0},
		{"ipvsadm -R <<-A -f 6\n# no\n-A -f 7\n", "", help, 255},
		{"ipvsadm -R <<-D -f 6\n-R\n", "", help, 255},
		{"ipvsadm -R <<-A -f 8\n-L -f 9\n-A -f 9", "", "No such service\n", 1},
		{"ipvsadm -R <<-v\n-C\n", Version + "\n", "", 0},
		{"ipvsadm -Sn", "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n" +
			"-A -f 1 -s wlc\n-A -f 2 -s wlc\n-A -f 3 -s wlc\n-A -f 5 -s wlc\n-A -f 8 -s wlc\n", "", 0},
		{"ipvsadm -R <<-C\n-A -f 1 -s rr\n-Sn\n-A -f 2 -s rr\n-Ln -f 2\n", "-A -f 1 -s rr\n" + plain + "FWM  2 rr\n", "", 0},
		{"ipvsadm-restore <<# rules\n-A -f 7 -s rr\n", "", "", 0},
		{"ipvsadm-restore <<-A -f 7 -s rr\n-x", "", help, 255},
		{"ipvsadm-save", "-A -f 7 -s rr\n", "", 0},
		{"ipvsadm -C", "", "", 0},
		{"ipvsadm -Ln", title + plain, "", 0},
	} {
		if out, err, exit := call(d, c.line); out != c.out || err != c.err || exit != c.exit {
			t.Errorf("%s: %q, %q, exit %d; want %q, %q, exit %d", c.line, out, err, exit, c.out, c.err, c.exit)
		}
	}
}

// Help and mistakes are told without a director.
func TestOnlyWhatMakesSenseReachesTheDirector(t *testing.T) {
	d := &director{}
	for _, line := range []string{"ipvsadm -h", "ipvsadm --version", "ipvsadm -A", "ipvsadm -L -A", "ipvsadm x", "ipvsadm -R <<", "ipvsadm -R <<-A\n"} {
		call(d, line)
	}
	if len(d.asked) > 0 {
		t.Errorf("asked %v", d.asked)
	}
}

// A restore is few requests, and reading sees what came before it.
func TestRestoreIsSentInBatches(t *testing.T) {
	var in strings.Builder
	const lines = 2*maxBatch + 10
	for i := range lines {
		fmt.Fprintf(&in, "-Z -f %d\n", i%3+1) // only 1 is there, when asked
	}
	for _, c := range []struct {
		in, want string
		exit     int
	}{
		{in.String(), fmt.Sprintf("change %d,change %[1]d,change 10", maxBatch), 255},
		{"-A -f 1\n-A -f 2\n-L\n-A -f 3\n", "change 2,info,services,change 1", 0},
		{"-A -f 1\n-A -f 2\n-S\n-Lc\n", "change 2,services,conns", 0},
		{"-A -f 1\n-A -f 2\n-A -f\n", "change 2", 255},
		{"-A -f 1\n-A -f 1 x\n-C\n", "change 1", 2},
		{"-A -f 1\n-h\n-C\n", "change 1", 0},
	} {
		d := &director{}
		var out, errs strings.Builder
		exit := Run([]string{"ipvsadm", "-R"}, Stdio{strings.NewReader(c.in), &out, &errs}, Env{}, d)
		if got := strings.Join(d.asked, ","); got != c.want || exit != c.exit {
			t.Errorf("%.40q…: asked %s, exit %d; want %s, exit %d", c.in, got, exit, c.want, c.exit)
		}
		if len(c.in) > 1000 && strings.Count(errs.String(), "No such service\n") != lines {
			t.Errorf("%d refusals", strings.Count(errs.String(), "\n"))
		}
	}
}

// A random script ends in the same table, messages and exit code as its lines one by one.
func TestRestoreEqualsItsLinesOneByOne(t *testing.T) {
	words := strings.Split("-A -t 10.0.0.1:80|-A -f 1 -s rr|-D -f 1|-a -t 10.0.0.1:80 -r 10.0.0.2 -m|-d -t 10.0.0.1:80 -r 10.0.0.2|"+
		"-e -t 10.0.0.1:80 -r 10.0.0.2 -w 7|-E -f 1 -s sh|-C|-Z|-Sn|-A -f 1 -q|-Ln|-a -f 1 -r 10.0.0.3 -y 9", "|")
	seed := uint32(1)
	for range 300 {
		var script, errs, out string
		one, all := &director{}, &director{}
		exit := 0
		for range 12 {
			seed = seed*1664525 + 1013904223
			line := words[seed>>16%uint32(len(words))]
			script += line + "\n"
			var o, e string
			o, e, exit = call(one, "ipvsadm "+line)
			out, errs = out+o, errs+e
		}
		if o, e, x := call(all, "ipvsadm -R <<"+script); o != out || e != errs || x != exit {
			t.Fatalf("%s\n%q %q %d, one by one %q %q %d", script, o, e, x, out, errs, exit)
		}
		if a, _, _ := call(all, "ipvsadm -Sn"); true {
			if b, _, _ := call(one, "ipvsadm -Sn"); a != b {
				t.Fatalf("%s\n%s\none by one:\n%s", script, a, b)
			}
		}
	}
}

// A director that does not answer, or whose answer breaks off.
func TestDirectorThatFails(t *testing.T) {
	const cannot = "Can't initialize ipvs: no director at /run/x\nAre you sure that IP Virtual Server is built in the kernel or as module?\n"
	for _, line := range []string{"ipvsadm", "ipvsadm -A -f 1", "ipvsadm -L --daemon", "ipvsadm -Ln -f 1", "ipvsadm -S", "ipvsadm -C",
		"ipvsadm -R <<-A -f 1\n-A -f 2 x\n", "ipvsadm-restore <<-A -f 1\n"} {
		for _, down := range []error{Unreachable("no director at /run/x"), errors.New("no director at /run/x")} {
			if out, err, exit := call(&director{down: down}, line); out != "" || err != cannot || exit != 2 {
				t.Errorf("%s: %q %q exit %d", line, out, err, exit)
			}
		}
	}
	for _, line := range []string{"ipvsadm -Ln", "ipvsadm -Lnc", "ipvsadm -Sn", "ipvsadm -Ln -f 1", "ipvsadm -Ln --nosort"} {
		if _, err, exit := call(&director{fail: syscall.EPERM}, line); err != "Permission denied (you must be root)\n" || exit != 1 {
			t.Errorf("%s: %q exit %d", line, err, exit)
		}
	}
	full := &limited{}
	for _, words := range []string{"-h", "-v", "-Ln", "-Lnc", "-S", "-L --timeout", "-L --daemon"} {
		var errs strings.Builder
		d := &director{info: Info{Daemons: []Daemon{{Role: Master}}}}
		d.change(&Command{Op: OpAddService, HasKey: true, Key: conf.ServiceKey{Fwmark: 1}})
		if exit := Run(append([]string{"ipvsadm"}, strings.Fields(words)...), Stdio{Out: full, Err: &errs}, Env{}, d); exit != 1 || errs.Len() == 0 {
			t.Errorf("%s to a full disk: %q, exit %d", words, errs.String(), exit)
		}
	}
}

// What is asked for without sorting is printed as it comes.
func TestUnsortedListingsAreStreamed(t *testing.T) {
	n := 0
	endless := func(yield func(ServiceEntry) bool) {
		for n = 0; n < 1_000_000; n++ {
			if !yield(ServiceEntry{Service: conf.Service{Key: conf.ServiceKey{Fwmark: uint32(n + 1)}, Scheduler: "rr"}}) {
				return
			}
		}
	}
	if err := NewPrinter(&limited{1 << 17}, List{NoSort: true}, nil).Services(1, endless); !errors.Is(err, errFull) || n > 100_000 {
		t.Errorf("%v after %d services", err, n)
	}
}

// Parts of a service may lie in one array of the director's, which stays as it is.
func TestPartsAreNotWrittenTo(t *testing.T) {
	servers := []ServerEntry{{Server: conf.Server{Weight: 2}}, {Server: conf.Server{Weight: 1}}}
	parts := func(yield func(ServiceEntry) bool) {
		_ = yield(ServiceEntry{Servers: servers[:1]}) && yield(ServiceEntry{Servers: []ServerEntry{{Server: conf.Server{Weight: 3}}}})
	}
	if all := whole(parts); len(all) != 1 || len(all[0].Servers) != 2 || servers[1].Server.Weight != 1 {
		t.Errorf("%v of %v", all, servers)
	}
}

// silent is a director that gives nothing for a service it does not have.
type silent struct{ director }

func (*silent) Services(*conf.ServiceKey) iter.Seq2[ServiceEntry, error] {
	return func(func(ServiceEntry, error) bool) {}
}

func TestServiceThatIsNotGivenIsNotThere(t *testing.T) {
	var out, errs strings.Builder
	exit := Run([]string{"ipvsadm", "-L", "-f", "1"}, Stdio{Out: &out, Err: &errs}, Env{}, &silent{})
	if out.Len() > 0 || errs.String() != "No such service\n" || exit != 1 {
		t.Errorf("%q %q exit %d", out.String(), errs.String(), exit)
	}
}
