package control

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// saved are rules as ipvsadm -Sn prints them.
const saved = `-A -t 192.0.2.1:80 -s wrr
-a -t 192.0.2.1:80 -r 10.0.0.2:8080 -m -w 3
-a -t 192.0.2.1:80 -r 10.0.0.3:80 -m -w 0
-A -t 192.0.2.2:443 -s sh -p 300 -M 255.255.255.0 -b sh-fallback,sh-port
-a -t 192.0.2.2:443 -r 10.0.0.2:443 -g -w 1
-A -t [2001:db8::1]:0 -s wlc -p 60 -M 64
-a -t [2001:db8::1]:0 -r [2001:db8:1::2]:0 -g -w 1
-A -u 192.0.2.1:53 -s rr -o
-a -u 192.0.2.1:53 -r 10.0.0.2:53 -i -w 1 --tun-type ipip
-a -u 192.0.2.1:53 -r 10.0.0.3:53 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
-a -u 192.0.2.1:53 -r 10.0.0.4:53 -i -w 1 --tun-type gre --tun-nocsum
-A -u 192.0.2.1:5060 -s rr -p 360 --pe sip
-a -u 192.0.2.1:5060 -r 10.0.0.2:5060 -m -w 1
-A --sctp-service 192.0.2.1:80 -s lc
-A -f 3 -s wlc
-a -f 3 -r 10.0.0.2:0 -g -w 2147483647
-A -f -5 -6 -s mh -b mh-port
-a -f -5 -6 -r [2001:db8:1::2]:0 -g -w 1
`

// save lists the rules of a state as ipvsadm -Sn does.
func save(t testing.TB, cfg *conf.Config) string {
	t.Helper()
	var list []ipvsadm.ServiceEntry
	for _, s := range cfg.Services {
		e := ipvsadm.ServiceEntry{Service: s}
		for _, srv := range s.Servers {
			e.Servers = append(e.Servers, ipvsadm.ServerEntry{Server: srv})
		}
		list = append(list, e)
	}
	var b bytes.Buffer
	if err := ipvsadm.NewPrinter(&b, ipvsadm.List{Numeric: true}, nil).Save(slices.Values(list)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func lines(s string) []string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(l)
	return l
}

// What is imported lists as the rules that it came from, also after it has been written to
// a file and read again, and keeps their order.
func TestImportRoundTrip(t *testing.T) {
	cfg, err := ImportRules("rules", strings.NewReader(saved))
	if err != nil {
		t.Fatal(err)
	}
	again, err := conf.Parse("dirigo.toml", cfg.TOML())
	if err != nil {
		t.Fatalf("the written file is refused: %v\n%s", err, cfg.TOML())
	}
	if !reflect.DeepEqual(again.Services, cfg.Services) {
		t.Errorf("read again:\n%+v\nimported:\n%+v", again.Services, cfg.Services)
	}
	if got, want := lines(save(t, again)), lines(saved); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var order []string
	for _, s := range again.Services {
		order = append(order, s.Key.String())
	}
	if order[0] != "tcp/192.0.2.1:80" || order[3] != "udp/192.0.2.1:53" || order[7] != "fwmark 4294967291 ipv6" {
		t.Errorf("services in the order %q", order)
	}
	if a := again.Services[0].Servers; a[0].Port != 8080 || a[1].Port != 80 {
		t.Errorf("servers in the order %v", a)
	}
}

// What ipvsadm does not save may be written by hand; comments and later changes count.
func TestImportByHand(t *testing.T) {
	cfg, err := ImportRules("rules", strings.NewReader(`# made by hand
ipvsadm -C
/sbin/ipvsadm --add-service --tcp-service 192.0.2.1:80

ipvsadm -a -t 192.0.2.1:80 -r 10.0.0.2 -m -x 100 -y 50
ipvsadm -a -t 192.0.2.1:80 -r 10.0.0.3 -m
ipvsadm -d -t 192.0.2.1:80 -r 10.0.0.3
ipvsadm -E -t 192.0.2.1:80 -s rr
ipvsadm --set 100 0 30
`))
	if err != nil {
		t.Fatal(err)
	}
	s := cfg.Services[0]
	if s.Scheduler != "rr" || len(s.Servers) != 1 || s.Servers[0].Upper != 100 || s.Servers[0].Lower != 50 {
		t.Errorf("%+v", s)
	}
	if ct := cfg.Conntrack; ct.TCP.Seconds() != 100 || ct.TCPFin != conf.DefaultTCPFin || ct.UDP.Seconds() != 30 {
		t.Errorf("%+v", ct)
	}
}

// Every line that cannot be imported is named.
func TestImportRefuses(t *testing.T) {
	cfg, err := ImportRules("r.txt", strings.NewReader(`-A -t 192.0.2.1:80 -s rr
-A -t 192.0.2.1:http
# fine
-Ln
-A -t 192.0.2.1:80
-a -t 192.0.2.9:80 -r 10.0.0.2
-A -t 192.0.2.1:90 -s nosuch
--start-daemon master
`))
	if err == nil || cfg != nil {
		t.Fatalf("%v, %v", cfg, err)
	}
	want := []string{"r.txt:2: ", "r.txt:4: list is no rule", "r.txt:5: ", "r.txt:6: ", "r.txt:7: ", "r.txt:8: start-daemon is no rule"}
	if got := strings.Split(err.Error(), "\n"); !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got\n%v\nwant lines that begin with %q", err, want)
	}
}

// Any text is refused with a line, or becomes a file that is read as what was imported.
func FuzzImportRules(f *testing.F) {
	f.Add(saved)
	f.Add("-A -t 1.2.3.4:0 -p\n-A -f 1 -s none -b flag-3\n-C\n--set 1 2 3")
	f.Add("-a -t 192.0.2.1:80 -r 10.0.0.2 -i --tun-type gue\nipvsadm")
	f.Fuzz(func(t *testing.T, rules string) {
		cfg, err := ImportRules("r", strings.NewReader(rules))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "r:") {
				t.Errorf("%q names no line", err)
			}
			return
		}
		again, err := conf.Parse("dirigo.toml", cfg.TOML())
		if err != nil {
			t.Fatalf("the written file is refused: %v\n%s", err, cfg.TOML())
		}
		if a, b := save(t, again), save(t, cfg); a != b {
			t.Errorf("written and read again\n%s\nimported\n%s", a, b)
		}
	})
}
