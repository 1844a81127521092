package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/host"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

// targets answer probes as they are told.
type targets struct {
	lock sync.Mutex
	bad  map[netip.Addr]bool
}

type askTarget struct {
	all *targets
	of  health.Target
}

func (a *targets) prober(_ conf.Probe, t health.Target) (health.Prober, error) {
	return askTarget{a, t}, nil
}

func (a askTarget) Probe(context.Context) health.Result {
	a.all.lock.Lock()
	defer a.all.lock.Unlock()
	if a.all.bad[a.of.Addr] {
		return health.Result{At: time.Now(), Why: health.WhyRefused, Text: "connection refused"}
	}
	return health.Result{At: time.Now(), OK: true}
}

func (a *targets) set(bad bool, addrs ...string) {
	a.lock.Lock()
	defer a.lock.Unlock()
	for _, s := range addrs {
		a.bad[netip.MustParseAddr(s)] = bad
	}
}

// watched is a director whose health runs, in a bubble.
type watched struct {
	*Director
	t *testing.T
	*targets
}

// inBubble runs a test with a director of the services, on a clock of its own.
func inBubble(t *testing.T, services []conf.Service, test func(w *watched)) {
	synctest.Test(t, func(t *testing.T) {
		cfg := portConfig("eth0", "eth1")
		cfg.Services = services
		w := &watched{t: t, targets: &targets{bad: map[netip.Addr]bool{}}}
		w.Director = bareDirectorAsking(t, cfg, w.prober)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.health.monitor.Run(ctx) }()
		defer func() {
			cancel()
			<-ended
			w.plane.Conns().Close()
		}()
		test(w)
	})
}

// after lets time pass.
func (w *watched) after(d time.Duration) {
	for ; d > 0; d -= time.Second { // housekeep's seconds
		time.Sleep(min(d, time.Second))
		synctest.Wait()
		w.mu.Lock()
		w.keepHealth()
		w.mu.Unlock()
	}
}

// list is a service's list in the data plane, sorted: "10.0.1.1=3 10.0.1.2=0".
func (w *watched) list(k conf.ServiceKey) string {
	servers, _ := w.plane.ServersOf(k)
	var list []string
	for _, s := range servers {
		list = append(list, fmt.Sprintf("%v=%d", s.Addr, s.Weight))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func (w *watched) want(what string, k conf.ServiceKey, want string) {
	w.t.Helper()
	if got := w.list(k); got != want {
		w.t.Errorf("%s: the list is %q, want %q", what, got, want)
	}
	consistent(w.t, w.Director)
}

func (w *watched) change(changes ...conf.Change) {
	w.t.Helper()
	if _, err := w.Change(changes, true); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait() // new checks ask at once
}

// checked is health by a check each second that believes the second answer.
func checked(more func(*conf.Health)) *conf.Health {
	h := &conf.Health{Quorum: 1, Checks: []conf.HealthCheck{{
		Probe: conf.Probe{Type: conf.ProbeTCP, Timeout: time.Second}, Interval: time.Second, Rise: 2, Fall: 2,
	}}}
	if more != nil {
		more(h)
	}
	return h
}

func webService(h *conf.Health) conf.Service {
	return conf.Service{Key: tcpKey("10.0.0.100"), Name: "web", Scheduler: "rr", Health: h,
		Servers: []conf.Server{natServer("10.0.1.1", 3), natServer("10.0.1.2", 2)}}
}

func idOf(a string) conf.ServerID { return conf.ServerID{Addr: netip.MustParseAddr(a), Port: 80} }

func sorryServer(h *conf.Health) { s := natServer("10.0.1.9", 1); h.Sorry = &s }

// The desired state stays what was said, whatever health makes of it.
func TestListFollowsHealth(t *testing.T) {
	k := tcpKey("10.0.0.100")
	inBubble(t, []conf.Service{webService(checked(sorryServer))}, func(w *watched) {
		desired := string(w.Running().TOML())
		w.want("at start", k, "10.0.1.1=3 10.0.1.2=2")
		w.after(2500 * time.Millisecond)
		w.set(true, "10.0.1.1")
		w.after(time.Second)
		w.want("one bad answer", k, "10.0.1.1=3 10.0.1.2=2")
		w.after(time.Second)
		w.want("two", k, "10.0.1.2=2")
		w.set(true, "10.0.1.2")
		w.after(2 * time.Second)
		w.want("all down", k, "10.0.1.9=1")
		w.set(false, "10.0.1.1")
		w.after(2 * time.Second)
		w.want("the first one back", k, "10.0.1.1=3")
		w.set(false, "10.0.1.2")
		w.after(2 * time.Second)
		w.want("both back", k, "10.0.1.1=3 10.0.1.2=2")
		if now := string(w.Running().TOML()); now != desired {
			t.Errorf("the desired state has changed:\n%s", now)
		}
	})
}

func TestListFollowsHealthQuiesced(t *testing.T) {
	k := tcpKey("10.0.0.100")
	keep := func(h *conf.Health) { sorryServer(h); h.OnFailure, h.SorryKeep = conf.Quiesce, true }
	inBubble(t, []conf.Service{webService(checked(keep))}, func(w *watched) {
		w.want("at start", k, "10.0.1.1=3 10.0.1.2=2 10.0.1.9=0")
		w.set(true, "10.0.1.1")
		w.after(2500 * time.Millisecond)
		w.want("one down", k, "10.0.1.1=0 10.0.1.2=2 10.0.1.9=0")
		w.set(true, "10.0.1.2")
		w.after(2 * time.Second)
		w.want("all down", k, "10.0.1.1=0 10.0.1.2=0 10.0.1.9=1")
	})
}

// Commands about servers that health has taken out edit the desired state, and the list
// shows it once they are up again.
func TestCommandsAboutServersThatAreDown(t *testing.T) {
	k := tcpKey("10.0.0.100")
	inBubble(t, []conf.Service{webService(checked(nil))}, func(w *watched) {
		w.set(true, "10.0.1.1")
		w.after(2500 * time.Millisecond)
		w.want("one down", k, "10.0.1.2=2")
		w.change(conf.EditServer{Key: k, Server: natServer("10.0.1.1", 7)})
		w.want("edited while down", k, "10.0.1.2=2")
		if _, err := w.Change([]conf.Change{conf.AddServer{Key: k, Server: natServer("10.0.1.1", 7)}}, true); err == nil {
			t.Error("a server that is down was added again")
		}
		w.change(conf.AddServer{Key: k, Server: natServer("10.0.1.3", 1)}, conf.EditServer{Key: k, Server: natServer("10.0.1.2", 4)})
		w.want("one added", k, "10.0.1.2=4 10.0.1.3=1")
		w.set(true, "10.0.1.3")
		w.after(2 * time.Second)
		w.want("and found down", k, "10.0.1.2=4")
		w.set(false, "10.0.1.1")
		w.after(2 * time.Second)
		w.want("up again", k, "10.0.1.1=7 10.0.1.2=4")
		w.change(conf.DelServer{Key: k, Server: idOf("10.0.1.3")})
		w.want("the one that is down deleted", k, "10.0.1.1=7 10.0.1.2=4")
		w.set(true, "10.0.1.1")
		w.after(2 * time.Second)
		w.change(conf.SetHealth{Key: k})
		w.want("without health", k, "10.0.1.1=7 10.0.1.2=4")
		w.change(conf.SetHealth{Key: k, Health: checked(func(h *conf.Health) { h.Checks[0].Alpha = true })})
		w.want("with health that has to be shown first", k, "")
		w.after(2 * time.Second)
		w.want("shown", k, "10.0.1.2=4")
		svc := webService(nil)
		w.change(conf.DelService{Key: k}, conf.AddService{Service: svc}, conf.AddServer{Key: k, Server: natServer("10.0.1.5", 5)})
		w.want("made anew without health", k, "10.0.1.1=3 10.0.1.2=2 10.0.1.5=5")
		w.change(conf.Clear{}, conf.AddService{Service: webService(checked(nil))}, conf.AddServer{Key: k, Server: natServer("10.0.1.5", 5)})
		w.want("made anew with health, and judged", k, "10.0.1.2=2 10.0.1.5=5")
	})
}

// A list of changes that is undone leaves the list as it was.
func TestUndoneChangesLeaveTheList(t *testing.T) {
	k := tcpKey("10.0.0.100")
	inBubble(t, []conf.Service{webService(checked(nil)), {Key: tcpKey("10.0.0.101"), Scheduler: "rr", Servers: []conf.Server{natServer("10.0.1.1", 1)}}}, func(w *watched) {
		w.set(true, "10.0.1.1")
		w.after(2500 * time.Millisecond)
		carryOut := func(after func(steps []conf.Step, err error), changes ...conf.Change) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.state.Begin(0)
			defer w.state.End()
			for _, c := range changes {
				if err := w.state.Do(c); err != nil {
					t.Fatal(err)
				}
			}
			steps := w.state.Steps()
			after(steps, w.carryOut(steps))
		}
		// The plane refuses a server in a service that it has not.
		if err := w.plane.DeleteService(tcpKey("10.0.0.101")); err != nil {
			t.Fatal(err)
		}
		carryOut(func(_ []conf.Step, err error) {
			if err == nil {
				t.Error("the plane has taken it")
			}
		}, conf.EditServer{Key: k, Server: natServer("10.0.1.2", 9)}, conf.DelServer{Key: k, Server: idOf("10.0.1.1")},
			conf.AddServer{Key: tcpKey("10.0.0.101"), Server: natServer("10.0.1.7", 1)})
		w.want("undone", k, "10.0.1.2=2")
		// What was made, and then undone as if the guard could not follow.
		carryOut(func(steps []conf.Step, err error) {
			judged := w.judged(steps)
			w.state.Undo(0)
			if err := errors.Join(err, w.resync(judged)); err != nil {
				t.Error(err)
			}
		}, conf.DelServer{Key: k, Server: idOf("10.0.1.2")})
		w.want("undone after it was made", k, "10.0.1.2=2")
		w.set(false, "10.0.1.1")
		w.set(true, "10.0.1.2")
		w.after(2 * time.Second)
		w.want("what came back is judged", k, "10.0.1.1=3")
	})
}

// Slow start, drain and health together are the weight in force, and explained.
func TestWeightIsExplained(t *testing.T) {
	k := tcpKey("10.0.0.100")
	inBubble(t, []conf.Service{webService(checked(func(h *conf.Health) { h.SlowStart = 10 * time.Second; h.OnFailure = conf.Quiesce }))}, func(w *watched) {
		explain := func(what string, want string) {
			t.Helper()
			h, ok := w.serviceHealth(w.state.Service(k), chosen{is: serverNamed("10.0.1.1")}, w.drained())
			if !ok || len(h.Servers) != 1 {
				t.Fatalf("%s: no explanation", what)
			}
			g := h.Servers[0].Weight
			if got := fmt.Sprintf("%d = %d x %d x %.1f x %d", g.InForce, g.File, g.Health, g.Ramp, g.Drain); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
			servers, _ := w.plane.ServersOf(k)
			if i := slices.IndexFunc(servers, func(s conf.Server) bool { return s.Addr == netip.MustParseAddr("10.0.1.1") }); i < 0 || servers[i].Weight != g.InForce {
				t.Errorf("%s: the list has %v", what, servers)
			}
		}
		w.change(conf.EditServer{Key: k, Server: natServer("10.0.1.1", 100)})
		explain("up", "100 = 100 x 1 x 1.0 x 1")
		w.set(true, "10.0.1.1")
		w.after(2500 * time.Millisecond)
		explain("down", "0 = 100 x 0 x 1.0 x 1")
		w.set(false, "10.0.1.1")
		w.after(7 * time.Second) // up after 2
		explain("ramping", "50 = 100 x 1 x 0.5 x 1")
		if _, err := w.drain("10.0.1.1", "", false); err != nil {
			t.Fatal(err)
		}
		explain("drained", "0 = 100 x 1 x 1.0 x 0") // and it starts slowly again when it comes back
		w.set(true, "10.0.1.1")
		w.after(2 * time.Second)
		explain("down and drained", "0 = 100 x 0 x 1.0 x 0")
		if _, err := w.undrain("10.0.1.1", "", nil); err != nil {
			t.Fatal(err)
		}
		explain("down", "0 = 100 x 0 x 1.0 x 1")
		w.set(false, "10.0.1.1")
		w.after(13 * time.Second)
		explain("up", "100 = 100 x 1 x 1.0 x 1")
	})
}

// The connections of a server that goes down end where the service says so; those of one
// that is withdrawn for the sorry server do not.
func TestConnectionsOfServersThatGoDown(t *testing.T) {
	k := tcpKey("10.0.0.100")
	for _, c := range []struct {
		connections conf.LiveConnections
		want        string
	}{{conf.KeepConnections, "[4 4]"}, {conf.ResetConnections, "[0 4]"}} {
		reset := func(h *conf.Health) { sorryServer(h); h.Connections, h.Quorum = c.connections, 3 }
		inBubble(t, []conf.Service{webService(checked(reset))}, func(w *watched) {
			in := &pcap.Queue{L2: true}
			worker := w.plane.NewWorker([]dataplane.Queue{in, &pcap.Queue{L2: true}})
			turn := func() {
				if _, _, err := worker.Turn(); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 8 {
				s := packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}), SrcPort: 4000, Dst: packet.AddrFrom4([4]byte{10, 0, 0, 100}), DstPort: 80, Proto: packet.TCP},
					EthDst: packet.MAC{2, 0, 0, 0, 0, 1}, EthSrc: packet.MAC{2, 0, 0, 0, 0, 9}, TCPFlags: packet.SYN}
				in.Put(s.Frame(), packet.Vnet{})
			}
			turn()
			w.set(true, "10.0.1.1")
			w.after(5 * time.Second)
			w.want("one down", k, "10.0.1.9=1")
			turn()
			var left []int
			for _, r := range w.plane.Remaining([]dataplane.ServerOf{{Service: k, Server: idOf("10.0.1.1")}, {Service: k, Server: idOf("10.0.1.2")}}) {
				left = append(left, r.Open)
			}
			if fmt.Sprint(left) != c.want {
				t.Errorf("connections %v: %v are left, want %s", c.connections, left, c.want)
			}
		})
	}
}

// The turns in which connections end are a second apart, however much else changes between.
func TestConnectionsEndBySeconds(t *testing.T) {
	k := tcpKey("10.0.0.100")
	reset := func(h *conf.Health) { h.Connections = conf.ResetConnections }
	inBubble(t, []conf.Service{webService(checked(reset))}, func(w *watched) {
		synctest.Wait()
		w.set(true, "10.0.1.1")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for range 2 * endTurns {
			w.healthChanged([]conf.ServiceKey{k})
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for left := endTurns; left > 0; left-- {
			if len(w.health.ends) != 1 || w.health.ends[0].turns != left {
				t.Fatalf("left are %+v, want one with %d turns", w.health.ends, left)
			}
			w.keepHealth()
		}
		if len(w.health.ends) != 0 {
			t.Errorf("left are %+v", w.health.ends)
		}
	})
}

// Guard and policy rules know the sorry server before it is needed, and a change of health
// asks nothing of the host.
func TestSorryServerIsAPieceOfTheHost(t *testing.T) {
	s := webService(checked(sorryServer))
	want := []host.Piece{{Key: s.Key}, host.PieceOf(s.Key, &s.Servers[0]), host.PieceOf(s.Key, &s.Servers[1]), host.PieceOf(s.Key, s.Health.Sorry)}
	if got := appendPieces(nil, &s); !slices.Equal(got, want) {
		t.Errorf("pieces %v, want %v", got, want)
	}
	e := effectOf([]conf.Step{{Change: conf.SetHealth{Key: s.Key, Health: s.Health}}})
	if !slices.Equal(e.came, want[3:]) || len(e.gone) > 0 {
		t.Errorf("with health came %v, gone %v", e.came, e.gone)
	}
	inBubble(t, []conf.Service{s}, func(w *watched) {
		rules := w.guardRules()
		if n := len(rules.Services[0].Servers); n != 3 {
			t.Errorf("the guard keeps off the answers of %d servers, want 3", n)
		}
	})
}

// Any changes, in any lumps, with servers that come and go all the time, leave what the
// desired state and health say together.
func TestRandomChangesWithHealthAgree(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 5))
		healths := []*conf.Health{nil, checked(nil), checked(sorryServer), checked(func(h *conf.Health) { h.OnFailure, h.Quorum, h.SlowStart = conf.Quiesce, 3, 5*time.Second }),
			checked(func(h *conf.Health) {
				sorryServer(h)
				h.SorryKeep, h.Checks[0].Alpha, h.Connections, h.Templates = true, true, conf.ResetConnections, conf.ResetConnections
			})}
		inBubble(t, nil, func(w *watched) {
			for range 60 {
				var list []conf.Change
				for range 1 + rng.IntN(6) {
					k := tcpKey(fmt.Sprintf("10.0.%d.%d", rng.IntN(2), 100+rng.IntN(2)))
					srv := natServer(fmt.Sprintf("10.0.1.%d", 1+rng.IntN(3)), rng.IntN(4))
					h := healths[rng.IntN(len(healths))]
					switch rng.IntN(9) {
					case 0, 1, 2:
						list = append(list, conf.AddService{Service: conf.Service{Key: k, Scheduler: "wrr", Health: h, Servers: []conf.Server{srv}}})
					case 3, 4:
						list = append(list, conf.AddServer{Key: k, Server: srv})
					case 5:
						list = append(list, conf.DelServer{Key: k, Server: srv.ID()})
					case 6:
						list = append(list, conf.EditServer{Key: k, Server: srv})
					case 7:
						list = append(list, conf.SetHealth{Key: k, Health: h})
					default:
						list = append(list, conf.DelService{Key: k})
						if rng.IntN(8) == 0 {
							list = append(list, conf.Clear{})
						}
					}
				}
				_, _ = w.Change(list, rng.IntN(2) == 0)
				synctest.Wait()
				consistent(t, w.Director)
				w.set(rng.IntN(2) == 0, fmt.Sprintf("10.0.1.%d", 1+rng.IntN(3)))
				w.after(time.Duration(rng.IntN(3000)) * time.Millisecond)
				consistent(t, w.Director)
			}
		})
	}
}

// Clients that find nobody take a server down, though it answers its checks.
func TestPassiveSigns(t *testing.T) {
	k := tcpKey("10.0.0.100")
	passive := func(h *conf.Health) {
		h.Checks[0].Interval, h.Checks[0].Fall = time.Minute, 1
		h.Passive = conf.Passive{Percent: 50, Min: 5, Window: 4 * time.Second}
	}
	inBubble(t, []conf.Service{webService(checked(passive))}, func(w *watched) {
		in, back := &pcap.Queue{L2: true}, &pcap.Queue{L2: true}
		worker := w.plane.NewWorker([]dataplane.Queue{in, back})
		syn := func(port uint16) {
			s := packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10, 0, 0, 9}), SrcPort: port, Dst: packet.AddrFrom4([4]byte{10, 0, 0, 100}), DstPort: 80, Proto: packet.TCP},
				EthDst: packet.MAC{2, 0, 0, 0, 0, 1}, EthSrc: packet.MAC{2, 0, 0, 0, 0, 9}, TCPFlags: packet.SYN}
			in.Put(s.Frame(), packet.Vnet{})
		}
		w.after(time.Second)
		for range 10 { // seconds; each client repeats its SYN if 10.0.1.1 has it, a second later
			var repeat []uint16
			w.plane.EachConn(func(c dataplane.Conn) bool {
				if c.Dest.Addr() == netip.MustParseAddr("10.0.1.1") && c.Packets == 1 {
					repeat = append(repeat, c.Client.Port())
				}
				return true
			})
			for _, p := range repeat {
				syn(p)
			}
			for i := range uint16(8) {
				syn(1024 + uint16(time.Now().Unix()%1000)*16 + i)
			}
			if _, _, err := worker.Turn(); err != nil {
				t.Fatal(err)
			}
			worker.HandOver()
			w.after(time.Second)
			if time.Now().Unix()%2 == 0 {
				w.tellSigns()
			}
		}
		synctest.Wait()
		w.want("nobody answers there", k, "10.0.1.2=2")
		if e, _ := w.health.monitor.Explain(health.ID{Service: k, Server: idOf("10.0.1.1")}); e.Why != health.WhyPassive {
			t.Errorf("why %q", e.Why)
		}
	})
}
