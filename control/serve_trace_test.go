package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/control/host"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/packet"
)

// deskDirector is a director with two ports in memory that serves its API: clients are on c0,
// servers on s0.
type deskDirector struct {
	*Director
	t      *testing.T
	client *api.Client
	queues []*pcap.Queue
	now    time.Duration
}

const deskConfig = `
[[port]]
name = "c0"
addresses = ["10.0.1.1/24"]
mac = "02:00:00:00:00:01"
[[port]]
name = "s0"
addresses = ["10.0.2.1/24"]
mac = "02:00:00:00:00:02"
`

const deskWeb = `
[[service]]
name = "web"
listen = "tcp/10.0.1.100:80"
scheduler = "rr"
forward = "nat"
  [[service.server]]
  name = "one"
  address = "10.0.2.11:8080"
  weight = 3
  [[service.server]]
  address = "10.0.2.12:8080"
  weight = 5
`

func newDesk(t *testing.T, file string) *deskDirector {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dirigo.toml")
	if err := os.WriteFile(path, []byte(deskConfig+file), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := conf.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	k := &deskDirector{t: t, now: time.Hour}
	plane, err := dataplane.New(dataplane.Config{MaxConnections: 1000, Clock: func() time.Duration { return k.now },
		Neighbors: arp.New(arp.Config{Announcements: -1}), Resolver: func(packet.Addr) packet.MAC { return packet.MAC{2, 9} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plane.Conns().Close)
	k.Director = &Director{plane: plane, cfg: cfg, state: conf.NewEditor(cfg), file: cfg.Clone(), linger: map[host.Piece]bool{}, log: slog.New(slog.DiscardHandler)}
	k.newWatch(health.Config{Prober: k.newProber}) // which nobody runs
	k.judgeAll()
	var qs []dataplane.Queue
	for i, p := range cfg.Ports {
		k.links = append(k.links, dataplane.Link{Name: p.Name, MAC: p.MAC, MTU: 1500, L2: true})
		k.queues = append(k.queues, &pcap.Queue{L2: true})
		qs = append(qs, k.queues[i])
	}
	k.workers = []*dataplane.Worker{plane.NewWorker(qs)}
	for _, s := range cfg.Services {
		if err := k.addService(&s, k.serversInForce(&s)); err != nil {
			t.Fatal(err)
		}
	}
	k.configureAll(cfg)
	k.publish(cfg, cfg.Services)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(k.routes())
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	k.client = api.NewClient(l.Addr().String())
	return k
}

// segment gives the director a TCP segment of a client on c0.
func (k *deskDirector) segment(sport, dport uint16, flags uint8) {
	k.t.Helper()
	k.queues[0].Put(packet.Spec{
		Flow: packet.Flow{Src: packet.AddrFrom(netip.MustParseAddr("10.0.1.7")), SrcPort: sport, Dst: packet.AddrFrom(netip.MustParseAddr("10.0.1.100")), DstPort: dport, Proto: packet.TCP},
		TTL:  64, TCPFlags: flags, EthDst: k.links[0].MAC, EthSrc: packet.MAC{2, 7},
	}.Frame(), packet.Vnet{})
	k.turn()
}

func (k *deskDirector) turn() {
	k.t.Helper()
	if _, _, err := k.workers[0].Turn(); err != nil {
		k.t.Fatal(err)
	}
}

// open begins a stream.
func (k *deskDirector) open(path string) *api.Stream {
	k.t.Helper()
	s, err := k.client.Open(k.t.Context(), path)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { s.Close() })
	return s
}

func readTrace(t *testing.T, s io.Reader) (list []*api.Journey, end *api.TraceEnd) {
	t.Helper()
	for d := json.NewDecoder(s); ; {
		var line api.TraceLine
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			return list, end
		} else if err != nil {
			t.Fatal(err)
		}
		if line.Journey != nil {
			list = append(list, line.Journey)
		}
		end = line.End
	}
}

func TestTraceTellsTheJourney(t *testing.T) {
	k := newDesk(t, deskWeb)
	s := k.open("/v1/trace?src=10.0.1.0/24&count=3")
	k.segment(4001, 80, packet.SYN)
	k.segment(4001, 80, packet.ACK)
	k.segment(4002, 80, packet.ACK)
	list, end := readTrace(t, s)
	if len(list) != 3 || end == nil || end.Told != 3 || end.Dropped != 0 {
		t.Fatalf("%d journeys, end %+v", len(list), end)
	}
	j := list[0]
	if j.Port != "c0" || j.Packet.Source.String() != "10.0.1.7:4001" || strings.Join(j.Packet.Flags, "") != "SYN" || j.Packet.Bytes != 40 ||
		j.Found || j.ChosenBy != "rr" || j.Service.String() != "tcp/10.0.1.100:80" || j.Connection == nil || j.Verdict != "send" || j.Reason != "forward_nat" {
		t.Errorf("first journey %+v", j)
	}
	if len(j.Sent) != 1 || j.Sent[0].Port != "s0" || j.Sent[0].Packet.Dest != j.Connection.Server || j.NextHop != j.Connection.Server.Addr() || j.Sent[0].To != "02:09:00:00:00:00" {
		t.Errorf("it left as %+v by %v", j.Sent, j.NextHop)
	}
	if j = list[1]; !j.Found || j.ChosenBy != "" || j.Service == nil || j.Connection.State != "ESTABLISHED" {
		t.Errorf("second journey %+v", j)
	}
	if j = list[2]; j.Connection != nil || j.Reason != "no_connection" || !strings.Contains(j.Rule, "only a SYN opens one") {
		t.Errorf("third journey %+v", j)
	}
}

func TestTraceChooses(t *testing.T) {
	k := newDesk(t, deskWeb)
	for query, want := range map[string]int{
		"": 3, "dst=10.0.1.100": 3, "dst=10.0.1.100:80": 2, "dst=:81": 1, "src=10.0.1.8": 0, "src=10.0.0.0/8:4001": 1, "host=10.0.1.100:81": 1,
		"proto=tcp": 3, "proto=17": 0, "port=c0": 3, "port=s0": 0, "reason=no_connection": 1, "verdict=send": 1,
		"service=web": 1, "service=tcp/10.0.1.100:80": 1, "src=[::ffff:10.0.1.7]:4001": 1,
	} {
		s := k.open("/v1/trace?" + query)
		k.segment(4001, 80, packet.SYN)
		k.segment(4002, 80, packet.ACK)
		k.segment(4003, 81, packet.SYN)
		if err := s.End(); err != nil {
			t.Fatal(err)
		}
		if list, _ := readTrace(t, s); len(list) != want {
			t.Errorf("%q: %d journeys, want %d", query, len(list), want)
		}
	}
	for query, word := range map[string]string{
		"src=x": "no address", "dst=10.0.0.1:x": "port", "proto=x": "protocol", "port=x": "no port of the director", "reason=x": "no reason",
		"verdict=x": "no verdict", "service=x": "no service", "count=0": "count", "duration=1": "duration", "x=1": "no such word", "snaplen=1": "no such word",
	} {
		_, err := k.client.Open(t.Context(), "/v1/trace?"+query)
		if refused := (*api.RefusedError)(nil); !errors.As(err, &refused) || refused.Status != 400 || !strings.Contains(refused.Problem.Error, word) {
			t.Errorf("%q: %v, want a refusal with %q", query, err, word)
		}
	}
}

// Whatever becomes of the reader, no worker waits, and the watcher goes with it.
func TestTraceGoesWithItsReader(t *testing.T) {
	k := newDesk(t, deskWeb)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := k.client.Open(ctx, "/v1/trace")
	if err != nil {
		t.Fatal(err)
	}
	if n := k.plane.Watchers(); n != 1 {
		t.Fatalf("%d watchers of a trace", n)
	}
	for i := range uint16(20000) { // more than buffers and sockets take
		k.segment(i+1, 81, packet.SYN)
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	list, end := readTrace(t, s)
	if end == nil || end.Dropped == 0 || end.Told != len(list) || end.Told+int(end.Dropped) != 20000 {
		t.Errorf("%d journeys of 20000, end %+v", len(list), end)
	}
	if _, err = k.client.Open(ctx, "/v1/trace"); err != nil {
		t.Fatal(err)
	}
	cancel()
	for deadline := time.Now().Add(5 * time.Second); k.plane.Watchers() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the watcher has stayed")
		}
	}
}

// A capture has each frame as it came and as it left, and says why; tcpdump reads it.
func TestCaptureHasBeforeAndAfter(t *testing.T) {
	k := newDesk(t, deskWeb)
	s := k.open("/v1/capture?count=2&snaplen=60")
	k.segment(4001, 80, packet.SYN)
	k.segment(4003, 81, packet.ACK)
	b, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pcap.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f := packet.NewFrame(rec.Data)
		if f.Parse() != packet.None {
			t.Fatalf("%s: % x", rec.Interface, rec.Data)
		}
		got = append(got, fmt.Sprintf("%s %d>%d", rec.Interface, f.Flow.SrcPort, f.Flow.DstPort))
	}
	if want := "[c0 4001>80 s0 4001>8080 c0 4003>81 c0 81>4003]"; fmt.Sprint(got) != want {
		t.Errorf("frames %v, want %v", got, want)
	}
	for _, word := range []string{"received; send forward_nat: ", "sent; send forward_nat: ", "received; taken no_connection: belongs to no connection"} {
		if !bytes.Contains(b, []byte(word)) {
			t.Errorf("no comment %q", word)
		}
	}
	dump := exec.Command("tcpdump", "-nr", "-")
	dump.Stdin = bytes.NewReader(b)
	if out, err := dump.Output(); err != nil || bytes.Count(out, []byte("\n")) != 4 {
		t.Errorf("tcpdump: %v\n%s", err, out)
	}
	if s.Dropped() != 0 {
		t.Errorf("%d dropped", s.Dropped())
	}
}
