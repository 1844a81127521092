package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// farm is so many servers, a hundred for each service: all are addresses of SERVER1. check
// is what their checks have besides.
func farm(n int, check string) string {
	var b strings.Builder
	for i := range n {
		if i%100 == 0 {
			fmt.Fprintf(&b, "[[service]]\nlisten = \"tcp/VIP:%d\"\nscheduler = \"rr\"\nforward = \"nat\"\n[service.check]\ntype = \"http\"\nport = 80\ninterval = \"1s\"\ntimeout = \"1s\"\nwarmup = \"1s\"\n%s\n", 1000+i/100, check)
		}
		fmt.Fprintf(&b, "[[service.server]]\naddress = \"10.99.%d.%d:80\"\n", i/250, 1+i%250)
	}
	return b.String()
}

// lateness is how late the director's probes were so far.
func (d *director) lateness() (h health.Histogram) {
	d.t.Helper()
	var text strings.Builder
	if err := api.NewClient(d.socket).Stream(d.t.Context(), "/v1/metrics", &text); err != nil {
		d.t.Fatal(err)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text.String()))
	if err != nil {
		d.t.Fatal(err)
	}
	m := families["dirigo_health_lateness_seconds"].Metric[0].Histogram
	before := uint64(0)
	for _, b := range m.Bucket {
		h.Counts = append(h.Counts, b.GetCumulativeCount()-before)
		before = b.GetCumulativeCount()
	}
	return h
}

// dropped are the frames for which its rings had no room so far.
func (d *director) dropped() (n uint64) {
	d.t.Helper()
	st, err := d.status()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, p := range st.Ports {
		n += p.Dropped
	}
	return n
}

// cpu is the processor time that the director has taken.
func (d *director) cpu() time.Duration {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.PID()))
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// Thousands of servers are asked by HTTP each second, every one on time, and forwarding
// goes on beside it without loss.
func TestManyServersAreAskedOnTime(t *testing.T) {
	targets, rate, lasts, late, check := 500, 10_000, 5*time.Second, 250*time.Millisecond, ""
	if full() { // what two processors can do for server, clients and director together
		targets, rate, lasts, check = 10_000, 100_000, 2*time.Minute, `connection = "kept"`
	}
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	s := c.servers[0]
	s.IP("route add local 10.99.0.0/16 dev lo")
	c.director.IP("route add 10.99.0.0/16 via " + s.addr.String())
	c.director.Sysctl("ipv4/neigh/in/base_reachable_time_ms", "600000")
	s.says(c, "ok")
	count := s.Sink(sinkPort)
	d := startDirector(t, c.director, c.roomy(sunk+farm(targets, check)))
	allUp := func() (bool, string) {
		st, err := d.status()
		return err == nil && st.Health != nil && st.Health.Servers == targets && st.Health.ServersDown == 0, fmt.Sprintf("%+v, %v", st.Health, err)
	}
	time.Sleep(2 * time.Second) // the first round
	lab.Until(t, 20*time.Second, allUp)
	measure(t, func() (wrong []string) {
		before, cpu, begun, drops := d.lateness(), d.cpu(), time.Now(), d.dropped()
		sent, lost, reached := c.under(count, rate, func() { time.Sleep(lasts) })
		took := time.Since(begun)
		h := d.lateness()
		asked := uint64(0)
		for i := range h.Counts {
			h.Counts[i] -= before.Counts[i]
			asked += h.Counts[i]
		}
		p99, _ := h.Quantile(0.99)
		p50, _ := h.Quantile(0.5)
		t.Logf("%d targets, %.0f probes a second for %v: half at most %v late, p99 %v; memory %d MB, %.0f%% of a processor; beside it %.0f kpps, %d of %d lost, %d of them in the director's rings",
			targets, float64(asked)/took.Seconds(), took.Round(time.Second), p50, p99, d.memory("RssAnon")>>20, 100*(d.cpu()-cpu).Seconds()/took.Seconds(), reached/1000, lost, sent, d.dropped()-drops)
		if p99 > late {
			wrong = append(wrong, fmt.Sprintf("p99 of lateness %v", p99))
		}
		if float64(asked) < 0.8*float64(targets)*took.Seconds() {
			wrong = append(wrong, fmt.Sprintf("only %d probes", asked))
		}
		if lost > sent/1000 {
			wrong = append(wrong, fmt.Sprintf("%d of %d datagrams lost", lost, sent))
		}
		if ok, said := allUp(); !ok {
			wrong = append(wrong, said)
		}
		return wrong
	}, func() { time.Sleep(time.Second) })
}
