package metrics

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// gather is the written text, read back by Prometheus's own parser.
type gather struct{ *Exporter }

func (g gather) Gather() (list []*dto.MetricFamily, err error) {
	var b bytes.Buffer
	if err := g.Write(&b); err != nil {
		return nil, err
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(&b)
	for _, f := range families {
		list = append(list, f)
	}
	return list, err
}

// busy is a rig after known traffic: a connection that was answered and ends, a
// second one that begins, a frame to nowhere.
func busy(tb testing.TB) *rig {
	g := newRig(tb)
	vip := netip.MustParseAddr("10.0.1.100")
	g.add(conf.Service{Name: `w"e\b`, Key: conf.ServiceKey{Proto: packet.TCP, Addr: vip, Port: 80}, Scheduler: "rr",
		Servers: []conf.Server{server("10.0.2.11:80", 1), server("10.0.2.12:80", 3)}})
	g.add(conf.Service{Key: conf.ServiceKey{Fwmark: 0x2a}, Scheduler: "rr", Servers: []conf.Server{server("10.0.2.13:0", 2)}})
	g.add(conf.Service{Key: conf.ServiceKey{Fwmark: 0x2a, V6: true}, Scheduler: "rr", Servers: []conf.Server{
		{Addr: netip.MustParseAddr("10.0.2.13"), Weight: 5, Forward: conf.Tunnel}}})
	g.add(conf.Service{Key: conf.ServiceKey{Proto: packet.UDP, Addr: netip.MustParseAddr("2001:db8::1"), Port: 53}, Scheduler: "rr",
		Servers: []conf.Server{{Name: "ns", Addr: netip.MustParseAddr("2001:db8::2"), Port: 53}}})
	g.from(2, packet.SYN) // to the newest server first
	g.turn()
	g.back(12, 2, packet.SYN|packet.ACK)
	g.turn()
	g.from(2, packet.ACK)
	g.from(3, packet.SYN)
	g.from(2, packet.FIN|packet.ACK)
	g.from(4, packet.ACK) // of no connection
	g.turn()
	g.worker.HandOver()
	return g
}

// promtool check metrics finds nothing to say.
func TestMetricsAreWellFormed(t *testing.T) {
	e := busy(t).exporter()
	problems, err := testutil.GatherAndLint(gather{e})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Write(&b); err != nil {
		t.Fatal(err)
	}
	more, err := promlint.New(&b).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(problems, more...) {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if n, err := testutil.GatherAndCount(gather{e}, "dirigo_frames_total"); n != int(dataplane.Reasons) || err != nil {
		t.Errorf("%d reasons, want all %d, %v", n, dataplane.Reasons, err)
	}
	if n, err := testutil.GatherAndCount(gather{e}, "dirigo_neighbor_events_total"); n != arp.NumReasons || err != nil {
		t.Errorf("%d neighbour events, want all %d, %v", n, arp.NumReasons, err)
	}
	if n, err := testutil.GatherAndCount(gather{e}, "go_goroutines", "process_resident_memory_bytes"); n != 2 || err != nil {
		t.Errorf("%d figures of the runtime, want 2, %v", n, err)
	}
}

// After known traffic each figure is known.
func TestMetricsHaveExactValues(t *testing.T) {
	const web, ipvs = `service="tcp/10.0.1.100:80",service_name="w\"e\\b"`, `local_address="10.0.1.100",local_mark="",local_port="80",proto="TCP",`
	var b bytes.Buffer
	if err := busy(t).exporter().Write(&b); err != nil {
		t.Fatal(err)
	}
	// 40 bytes are a segment without payload, 50 one with 10 bytes.
	for _, want := range []string{
		`dirigo_service_connections_total{` + web + `} 2`,
		`dirigo_service_in_packets_total{` + web + `} 4`,
		`dirigo_service_out_packets_total{` + web + `} 1`,
		`dirigo_service_in_bytes_total{` + web + `} 180`,
		`dirigo_service_out_bytes_total{` + web + `} 40`,
		`dirigo_service_servers{` + web + `} 2`,
		`dirigo_health_up{` + web + `,server="10.0.2.11:80",server_name="up"} 1`,
		`dirigo_health_up{` + web + `,server="10.0.2.12:80"} 0`,
		`dirigo_health_unchecked{` + web + `,server="10.0.2.11:80",server_name="up"} 0`,
		`dirigo_health_transitions_total{` + web + `,server="10.0.2.12:80"} 1`,
		`dirigo_health_service_up{` + web + `} 1`,
		`dirigo_health_service_weight{` + web + `} 1`,
		`dirigo_health_sorry_active{` + web + `} 0`,
		`dirigo_health_probes_total{result="ok",type="tcp"} 1`,
		`dirigo_health_probes_total{result="refused",type="tcp"} 1`,
		`dirigo_health_probe_seconds_bucket{type="tcp",le="0.0025"} 1`,
		`dirigo_health_probe_seconds_bucket{type="tcp",le="0.01"} 2`,
		`dirigo_health_probe_seconds_sum{type="tcp"} 0.009`,
		`dirigo_health_lateness_seconds_count 2`,
		`dirigo_health_targets 2`,
		`dirigo_health_notifications_total{result="failed"} 5`,
		`dirigo_service_servers{service="fwmark 42"} 1`,
		`dirigo_service_servers{service="fwmark 42 ipv6"} 1`,
		`dirigo_server_connections_total{` + web + `,server="10.0.2.11:80"} 1`,
		`dirigo_server_in_packets_total{` + web + `,server="10.0.2.12:80"} 3`,
		`dirigo_server_in_bytes_total{` + web + `,server="10.0.2.12:80"} 140`,
		`dirigo_server_out_bytes_total{` + web + `,server="10.0.2.12:80"} 40`,
		`dirigo_server_active_connections{` + web + `,server="10.0.2.12:80"} 0`,
		`dirigo_server_inactive_connections{` + web + `,server="10.0.2.12:80"} 1`,
		`dirigo_server_active_connections{` + web + `,server="10.0.2.11:80"} 1`,
		`dirigo_server_persistent_connections{` + web + `,server="10.0.2.12:80"} 0`,
		`dirigo_server_weight{` + web + `,server="10.0.2.12:80"} 3`,
		`dirigo_server_overloaded{` + web + `,server="10.0.2.12:80"} 0`,
		`dirigo_server_weight{service="udp/[2001:db8::1]:53",server="[2001:db8::2]:53",server_name="ns"} 0`,
		`dirigo_connections 2`, `dirigo_max_connections 1000`, `dirigo_workers 1`, `dirigo_uptime_seconds 90`,
		`dirigo_frames_total{reason="forward_nat"} 4`, `dirigo_frames_total{reason="forward_reply"} 1`,
		`dirigo_frames_total{reason="no_connection"} 1`, `dirigo_frames_total{reason="table_full"} 0`,
		`dirigo_port_received_frames_total{port="cl0"} 5`, `dirigo_port_received_frames_total{port="sv0"} 1`,
		`dirigo_port_sent_frames_total{port="sv0"} 4`, `dirigo_port_lost_frames_total{port="sv0",reason="full"} 0`,
		`dirigo_port_ring_dropped_frames_total{port="cl0",worker="0"} 0`, `dirigo_port_up{port="cl0"} 1`, `dirigo_port_up{port="sv0"} 0`,
		`dirigo_worker_frames_total{worker="0"} 6`,
		`dirigo_worker_batch_frames_bucket{worker="0",le="1"} 2`, `dirigo_worker_batch_frames_bucket{worker="0",le="2"} 2`,
		`dirigo_worker_batch_frames_bucket{worker="0",le="4"} 3`, `dirigo_worker_batch_frames_bucket{worker="0",le="64"} 3`,
		`dirigo_worker_batch_frames_sum{worker="0"} 6`, `dirigo_worker_batch_frames_count{worker="0"} 3`,
		`dirigo_worker_batch_seconds_bucket{worker="0",le="2e-06"} 1`, `dirigo_worker_batch_seconds_count{worker="0"} 1`,
		`dirigo_config_last_reload_successful 0`, `dirigo_config_last_reload_timestamp_seconds 2000.5`,
		`dirigo_config_last_reload_success_timestamp_seconds 1000`, `dirigo_api_refused_total 3`,
		`dirigo_config_last_reload_error{error="x.toml:3: \"quoted\\path\" is wrong"} 1`,
		`node_ipvs_connections_total 2`, `node_ipvs_incoming_packets_total 4`, `node_ipvs_outgoing_packets_total 1`,
		`node_ipvs_incoming_bytes_total 180`, `node_ipvs_outgoing_bytes_total 40`,
		`node_ipvs_backend_connections_active{` + ipvs + `remote_address="10.0.2.11",remote_port="80"} 1`,
		`node_ipvs_backend_connections_inactive{` + ipvs + `remote_address="10.0.2.12",remote_port="80"} 1`,
		`node_ipvs_backend_weight{` + ipvs + `remote_address="10.0.2.12",remote_port="80"} 3`,
		`node_ipvs_backend_weight{local_address="",local_mark="0000002A",local_port="0",proto="FWM",remote_address="10.0.2.13",remote_port="0"} 7`,
		`node_ipvs_backend_weight{local_address="2001:db8::1",local_mark="",local_port="53",proto="UDP",remote_address="2001:db8::2",remote_port="53"} 0`,
	} {
		if strings.Count("\n"+b.String(), "\n"+want+"\n") != 1 {
			name, _, _ := strings.Cut(want, "{")
			var near []string
			for line := range strings.Lines(b.String()) {
				if strings.HasPrefix(line, strings.Fields(name)[0]) {
					near = append(near, line)
				}
			}
			t.Errorf("not there, or not once: %s\nthere is:\n%s", want, strings.Join(near[:min(len(near), 12)], ""))
		}
	}
}

// big is a data plane with that many services, and servers for each.
func big(tb testing.TB, services, servers int) *rig {
	g := newRig(tb)
	for i := range services {
		k := conf.ServiceKey{Proto: packet.TCP, Addr: netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)}), Port: 443}
		if err := g.plane.AddService(conf.Service{Key: k, Scheduler: "rr"}); err != nil {
			tb.Fatal(err)
		}
		for j := range servers {
			if err := g.plane.AddServer(k, conf.Server{Addr: netip.AddrFrom4([4]byte{10, byte(128 + j), byte(i >> 8), byte(i)}), Port: 8443, Weight: 1}); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return g
}

// pieces counts what is written and how; from the second piece on a piece may wait.
type pieces struct {
	bytes, writes, longest int
	wait                   func()
}

func (p *pieces) Write(b []byte) (int, error) {
	p.bytes, p.writes, p.longest = p.bytes+len(b), p.writes+1, max(p.longest, len(b))
	if p.wait != nil {
		p.wait()
	}
	return len(b), nil
}

// A hundred thousand servers are written within two seconds, in small pieces.
func TestScrapeOfManyServersStreams(t *testing.T) {
	const services, servers = 10_000, 10
	e := big(t, services, servers).exporter()
	const limit = 2 * time.Second * slowness
	var p pieces
	took := time.Hour
	for try := 0; try < 3 && took > limit; try++ { // the machine may be another's for a moment
		p = pieces{}
		begin := time.Now()
		if err := e.Write(&p); err != nil {
			t.Fatal(err)
		}
		took = time.Since(begin)
		t.Logf("%d MB in %d pieces in %v", p.bytes>>20, p.writes, took)
	}
	if took > limit {
		t.Errorf("a scrape took %v, more than %v", took, limit)
	}
	if p.longest > 2*writeSize || p.bytes < 50*services*servers {
		t.Errorf("%d bytes, the longest piece %d", p.bytes, p.longest)
	}
}

// Who reads slowly, or not at all, keeps neither the writer nor the workers waiting.
func TestSlowReaderHoldsNoLock(t *testing.T) {
	g := big(t, 1000, 2)
	stop, reading := make(chan struct{}), make(chan struct{}, 1)
	var p pieces
	p.wait = func() {
		select {
		case reading <- struct{}{}:
		default:
		}
		<-stop
	}
	written := make(chan error, 1)
	go func() { written <- g.exporter().Write(&p) }()
	<-reading
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.add(conf.Service{Key: conf.ServiceKey{Fwmark: 7}, Scheduler: "rr"})
		g.plane.Estimate()
		g.worker.HandOver()
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("the writer waits for a reader of figures")
	}
	close(stop)
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// A reader that goes ends the writing.
func TestWriteEndsWithItsReader(t *testing.T) {
	if err := big(t, 100, 2).exporter().Write(gone{}); err == nil || err.Error() != "gone" {
		t.Errorf("Write: %v", err)
	}
}

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, fmt.Errorf("gone") }
