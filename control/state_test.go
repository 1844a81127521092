package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

func tcpKey(vip string) conf.ServiceKey {
	return conf.ServiceKey{Proto: packet.TCP, Addr: netip.MustParseAddr(vip), Port: 80}
}

func natServer(a string, weight int) conf.Server {
	return conf.Server{Addr: netip.MustParseAddr(a), Port: 80, Weight: weight}
}

// planeState is what the data plane has, as a state.
func planeState(d *Director) *conf.Config {
	c := conf.Default()
	for _, s := range d.plane.Services() {
		svc := s.Service
		for _, srv := range slices.Backward(s.Servers) {
			svc.Servers = append(svc.Servers, srv.Server)
		}
		c.Services = append(c.Services, svc)
	}
	return c
}

// consistent compares all that the director keeps with the desired state.
func consistent(t *testing.T, d *Director) {
	t.Helper()
	running := d.Running()
	if err := conf.Validate(running); err != nil {
		t.Fatalf("the running state: %v", err)
	}
	want := conf.Default()
	for i := range running.Services {
		s := &running.Services[i]
		s.Health, s.Servers = nil, d.serversInForce(s)
		want.Services = append(want.Services, *s)
	}
	if diff := conf.Diff(planeState(d), want); len(diff) > 0 {
		t.Fatalf("the data plane differs: %v", diff)
	}
	vips := map[netip.Addr]int{}
	for _, s := range running.Services {
		if a := s.Key.Addr; a.IsValid() {
			vips[a]++
			if !d.plane.Serves(a) {
				t.Fatalf("the workers do not know VIP %v", a)
			}
		}
	}
	if fmt.Sprint(vips) != fmt.Sprint(d.vips) {
		t.Fatalf("VIPs %v, want %v", d.vips, vips)
	}
}

// Not whole, a list goes on after what was refused; the refusals are the Editor's.
func TestChangeOneByOne(t *testing.T) {
	d := bareDirector(t, portConfig("eth0"))
	k := tcpKey("10.0.0.100")
	bad := natServer("10.0.0.255", 1) // the subnet's broadcast
	odd := conf.Mark{V6: true, Source: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Value: 1, Mask: 1}
	ports := d.Running().Ports
	rows := []struct {
		change conf.Change
		want   error
	}{
		{conf.AddServer{Key: k, Server: natServer("10.0.1.1", 1)}, conf.ErrNoService},
		{conf.AddService{Service: conf.Service{Key: k, Scheduler: "rr", Name: "web"}}, nil},
		{conf.AddService{Service: conf.Service{Key: k, Scheduler: "rr"}}, conf.ErrExists},
		{conf.AddService{Service: conf.Service{Key: tcpKey("10.0.0.101"), Scheduler: "rr", Name: "web"}}, conf.ErrInvalid},
		{conf.AddServer{Key: k, Server: natServer("10.0.1.1", 1)}, nil},
		{conf.AddServer{Key: k, Server: bad}, conf.ErrInvalid},
		{conf.AddServer{Key: k, Server: natServer("10.0.1.1", 1)}, conf.ErrExists},
		{conf.EditServer{Key: k, Server: natServer("10.0.1.2", 1)}, conf.ErrNoServer},
		{conf.EditService{Service: conf.Service{Key: k, Scheduler: "nosuch"}}, conf.ErrNoScheduler},
		{conf.SetMarks{Marks: []conf.Mark{odd}}, conf.ErrInvalid},
		{conf.SetPorts{Ports: ports[:0]}, ErrRestart},
		{conf.SetMaxConnections{Max: 5}, ErrRestart},
		{conf.SetTimeouts{TCP: 100 * time.Second}, nil},
		{conf.SetSysctl{Name: "drop_entry", Value: "1"}, nil},
	}
	var list []conf.Change
	for _, r := range rows {
		list = append(list, r.change)
	}
	errs, err := d.Change(list, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		if !errors.Is(errs[i], r.want) || (errs[i] == nil) != (r.want == nil) {
			t.Errorf("%v: %v, want %v", r.change, errs[i], r.want)
		}
	}
	consistent(t, d)
	if tcp, _, _ := d.plane.Timeouts(); tcp != 100*time.Second {
		t.Errorf("timeout %v", tcp)
	}
	if len(conf.Diff(d.FromFile(), portConfig("eth0"))) > 0 {
		t.Error("commands changed what the file said")
	}
}

// Whole, one refusal keeps all of it away, and all refusals are told.
func TestChangeWhole(t *testing.T) {
	d := bareDirector(t, portConfig("eth0"))
	k := tcpKey("10.0.0.100")
	before := string(d.Running().TOML())
	list := []conf.Change{
		conf.AddService{Service: conf.Service{Key: k, Scheduler: "rr"}},
		conf.AddServer{Key: k, Server: natServer("10.0.1.1", -1)},
		conf.AddServer{Key: k, Server: natServer("10.0.1.2", 1)},
		conf.DelServer{Key: k, Server: conf.ServerID{Addr: netip.MustParseAddr("10.0.1.9"), Port: 80}},
	}
	errs, err := d.Change(list, true)
	if err == nil || errs[0] != nil || !errors.Is(errs[1], conf.ErrRange) || errs[2] != nil || !errors.Is(errs[3], conf.ErrNoServer) {
		t.Errorf("%v, %v", errs, err)
	}
	if after := string(d.Running().TOML()); after != before {
		t.Errorf("something was changed:\n%s", after)
	}
	consistent(t, d)
	list[1], list[3] = list[2], conf.EditServer{Key: k, Server: natServer("10.0.1.2", 7)}
	list = slices.Delete(list, 2, 3)
	if errs, err := d.Change(list, true); err != nil {
		t.Errorf("%v, %v", errs, err)
	}
	consistent(t, d)
	// Names may be exchanged in a whole: only the end has to be valid.
	a, b := tcpKey("10.0.0.103"), tcpKey("10.0.0.104")
	named := func(k conf.ServiceKey, name string) conf.Service {
		return conf.Service{Key: k, Scheduler: "rr", Name: name}
	}
	if _, err := d.Change([]conf.Change{conf.AddService{Service: named(a, "a")}, conf.AddService{Service: named(b, "b")}}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Change([]conf.Change{conf.EditService{Service: named(a, "b")}, conf.EditService{Service: named(b, "a")}}, true); err != nil {
		t.Error(err)
	}
	if _, err := d.Change([]conf.Change{conf.EditService{Service: named(a, "a")}}, true); !errors.Is(err, conf.ErrInvalid) {
		t.Errorf("two services of one name: %v", err)
	}
	consistent(t, d)
}

// Any changes in any lumps leave workers, VIPs and desired state saying the same.
func TestRandomChangesAgree(t *testing.T) {
	for seed := range uint64(15) {
		rng := rand.New(rand.NewPCG(seed, 3))
		d := bareDirector(t, portConfig("eth0", "eth1"))
		for range 60 {
			var list []conf.Change
			for range 1 + rng.IntN(8) {
				k := tcpKey(fmt.Sprintf("10.0.%d.%d", rng.IntN(3), 100+rng.IntN(2)))
				if rng.IntN(3) == 0 {
					k = conf.ServiceKey{Fwmark: 1 + rng.Uint32N(2)}
				}
				srv := natServer(fmt.Sprintf("10.0.1.%d", 1+rng.IntN(3)), rng.IntN(3))
				switch rng.IntN(9) {
				case 0, 1, 2:
					list = append(list, conf.AddService{Service: conf.Service{Key: k, Scheduler: "rr", Servers: []conf.Server{srv}}})
				case 3, 4:
					list = append(list, conf.AddServer{Key: k, Server: srv})
				case 5:
					list = append(list, conf.DelServer{Key: k, Server: srv.ID()})
				case 6:
					list = append(list, conf.EditServer{Key: k, Server: srv})
				case 7:
					list = append(list, conf.DelService{Key: k})
				default:
					if rng.IntN(8) == 0 {
						list = append(list, conf.Clear{})
					}
				}
			}
			_, _ = d.Change(list, rng.IntN(2) == 0)
			consistent(t, d)
		}
	}
}

// fileDirector is a bare director with a file.
func fileDirector(t *testing.T, text string) (*Director, func(text string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dirigo.toml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	cfg, err := conf.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	d := bareDirector(t, cfg)
	d.opt.Path = path
	return d, write
}

const fileText = `
[[port]]
name = "eth0"
addresses = "10.0.0.1/24"
[[service]]
listen = "tcp/10.0.0.100:80"
scheduler = "rr"
forward = "nat"
server = [{ address = "10.0.1.1:80" }, { address = "10.0.1.2:80" }]
`

// A reload takes over what the file changed, keeps what commands changed, and names what
// both did; asked again, there is no conflict any more; discarded, the file has its way.
func TestReloadMerges(t *testing.T) {
	d, write := fileDirector(t, fileText)
	k := tcpKey("10.0.0.100")
	if _, err := d.Change([]conf.Change{
		conf.EditServer{Key: k, Server: natServer("10.0.1.2", 0)},
		conf.AddService{Service: conf.Service{Key: tcpKey("10.0.0.101"), Scheduler: "rr"}},
	}, true); err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(strings.Replace(fileText, `"10.0.1.2:80"`, `"10.0.1.2:80", weight = 5`, 1), `"10.0.1.1:80"`, `"10.0.1.1:80", weight = 3`, 1))
	diff, err := d.ConfigDiff()
	if err != nil {
		t.Fatal(err)
	}
	const conflict = "server 10.0.1.2:80 of tcp/10.0.0.100:80: the file says weight 5, a command said 0: kept 0"
	if got := fmt.Sprint(diff.Changes, diff.Conflicts, diff.Commands); got != "[{edit server 10.0.1.1:80 of tcp/10.0.0.100:80: weight 1 -> 3 0 }] ["+conflict+
		"] [edit server 10.0.1.2:80 of tcp/10.0.0.100:80: weight 1 -> 0 add service tcp/10.0.0.101:80, rr, no server]" {
		t.Errorf("diff: %s", got)
	}
	r, err := d.Reload(false)
	if err != nil || len(r.Changes) != 1 || !slices.Equal(r.Conflicts, []string{conflict}) {
		t.Errorf("reload: %+v, %v", r, err)
	}
	consistent(t, d)
	if r, err := d.Reload(false); err != nil || len(r.Changes)+len(r.Conflicts) > 0 {
		t.Errorf("again: %+v, %v", r, err)
	}
	write("port = 5")
	if _, err := d.Reload(true); err == nil || d.reloadErr == nil {
		t.Error("a file with a mistake was taken")
	}
	write(strings.Replace(fileText, `"10.0.1.2:80"`, `"10.0.1.2:80", weight = 6`, 1))
	if r, err := d.Reload(true); err != nil || len(r.Changes) != 3 || len(r.Conflicts) != 0 {
		t.Errorf("discard: %+v, %v", r, err)
	}
	consistent(t, d)
	if diff := conf.Diff(d.Running(), d.FromFile()); len(diff) > 0 {
		t.Errorf("after discarding: %v", diff)
	}
}

// What a reload would end or move is told with the connections it touches.
func TestConfigDiffCountsConnections(t *testing.T) {
	d, write := fileDirector(t, fileText)
	q := &pcap.Queue{L2: true}
	w := d.plane.NewWorker([]dataplane.Queue{q})
	for i := range 6 {
		s := packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}), SrcPort: 4000, Dst: packet.AddrFrom4([4]byte{10, 0, 0, 100}), DstPort: 80, Proto: packet.TCP},
			EthDst: packet.MAC{2, 0, 0, 0, 0, 1}, EthSrc: packet.MAC{2, 0, 0, 0, 0, 9}, TCPFlags: packet.SYN}
		q.Put(s.Frame(), packet.Vnet{})
	}
	if _, _, err := w.Turn(); err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(fileText, `, { address = "10.0.1.2:80" }`, "", 1))
	diff, err := d.ConfigDiff()
	if err != nil || len(diff.Changes) != 1 || diff.Changes[0].Connections != 3 || diff.Changes[0].Effect != loseServer {
		t.Errorf("%+v, %v", diff, err)
	}
	write(strings.SplitN(fileText, "[[service]]", 2)[0])
	if diff, err := d.ConfigDiff(); err != nil || diff.Changes[0].Connections != 6 {
		t.Errorf("%+v, %v", diff, err)
	}
	write(strings.Replace(fileText, "[[port]]", "[conntrack]\nmax_connections = 5\n[[port]]", 1))
	if diff, err := d.ConfigDiff(); err != nil || !strings.Contains(diff.Refused, "restart") {
		t.Errorf("%+v, %v", diff, err)
	}
}
