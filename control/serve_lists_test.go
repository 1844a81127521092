package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
)

// get asks the director for something.
func get[T any](m *inMemory, path string) (v T) {
	m.tb.Helper()
	if err := api.NewClient(m.socket).Get(path, &v); err != nil {
		m.tb.Fatalf("%s: %v", path, err)
	}
	return v
}

// ringQueue is a queue with a ring of so many slots.
type ringQueue struct {
	dataplane.Queue
	slots int
}

func (q ringQueue) Slots() int { return q.slots }

// A ring that is smaller than the file asks is told, with its worker, and the smallest is
// the one that is listed; queues without rings have no slots.
func TestSmallRingsAreTold(t *testing.T) {
	p := conf.Port{Name: "eth0", RingSlots: 512}
	for _, c := range []struct {
		queues []dataplane.Queue
		want   int
		log    string
	}{
		{[]dataplane.Queue{ringQueue{slots: 512}, ringQueue{slots: 512}}, 512, ""},
		{[]dataplane.Queue{ringQueue{slots: 512}, ringQueue{slots: 128}, ringQueue{slots: 256}}, 128,
			"level=WARN msg=\"not enough memory for ring_slots\" port=eth0 worker=1 slots=128 of=512\n" +
				"level=WARN msg=\"not enough memory for ring_slots\" port=eth0 worker=2 slots=256 of=512\n"},
		{[]dataplane.Queue{&pcap.Queue{}, &pcap.Queue{}}, 0, ""},
	} {
		var log strings.Builder
		d := &Director{log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))}
		if got := d.ringSlots(&p, c.queues); got != c.want || log.String() != c.log {
			t.Errorf("%d slots, log %q; want %d, %q", got, log.String(), c.want, c.log)
		}
	}
}

func TestListsOfARunningDirector(t *testing.T) {
	m := newInMemory(t)
	m.syn()
	ports := get[api.Ports](m, "/v1/ports").Ports
	want := api.PortStatus{Port: api.Port{Name: "cl0", MTU: 1500, Received: 1, Queues: []api.Queue{{Received: 1, Batches: 1}}}, Driver: "afpacket", Problem: "port cl0: there is no such interface",
		MAC: "02:00:00:00:01:01", Addresses: []string{"10.0.1.1/24"}, Rings: 1, Slots: 4096, RingDrops: []uint64{0}}
	if len(ports) != 2 || !reflect.DeepEqual(ports[0], want) || ports[1].Sent != 1 || ports[1].Slots != 0 {
		t.Errorf("ports: %+v\nwant first %+v", ports, want)
	}
	reasons := get[api.Reasons](m, "/v1/reasons").Reasons
	if len(reasons) != int(dataplane.Reasons) {
		t.Errorf("%d reasons, want all %d", len(reasons), dataplane.Reasons)
	}
	for i, r := range reasons {
		count := uint64(0)
		if r.Name == "forward_nat" {
			count = 1
		}
		if r.Count != count || r.Rule != dataplane.Reason(i).Rule() || len(r.Verdicts) == 0 {
			t.Errorf("%+v, want a count of %d", r, count)
		}
	}
	rates := get[api.RatesReply](m, "/v1/rates")
	if rates.Counts.Connections != 1 || rates.Counts.InPackets != 1 || len(rates.Services) != 2 || rates.Services[0].Service.String() != "tcp/10.0.1.100:80" {
		t.Errorf("rates: %+v", rates)
	}
	var neighbors []api.Neighbor
	for n, err := range api.Lines[api.Neighbor](context.Background(), api.NewClient(m.socket), "/v1/neighbors") {
		if err != nil {
			t.Fatal(err)
		}
		neighbors = append(neighbors, n)
	}
	if len(neighbors) != 2 || neighbors[0].Port != "cl0" || neighbors[0].Address.String() != "10.0.1.7" || neighbors[0].MAC != "02:00:00:00:01:07" || neighbors[0].State != "PERMANENT" {
		t.Errorf("neighbours: %+v", neighbors)
	}
}

// A setting is changed for the workers too, and read back; what is refused changes nothing.
func TestSettingsAreChanged(t *testing.T) {
	m := newInMemory(t)
	c := api.NewClient(m.socket)
	put := func(path string, body any, v any, status int, words string) {
		t.Helper()
		err := c.Put(path, body, v)
		var refused *api.RefusedError
		if words == "" && err != nil || words != "" && (!errors.As(err, &refused) || refused.Status != status || !strings.Contains(err.Error(), words)) {
			t.Errorf("PUT %s %+v: %v; want %d %q", path, body, err, status, words)
		}
	}
	var s api.Sysctl
	put("/v1/sysctl/drop_entry", api.SysctlValue{Value: "3"}, &s, 200, "")
	if s != (api.Sysctl{Name: "drop_entry", Value: "3"}) || m.cfg.Sysctl.DropEntry != 3 {
		t.Errorf("%+v", s)
	}
	put("/v1/sysctl/backup_only", api.SysctlValue{Value: "1"}, &s, 200, "")
	if s.Value != "1" || s.Warning != conf.NoEffect("backup_only") || s.Warning == "" {
		t.Errorf("%+v", s)
	}
	put("/v1/sysctl/drop_entry", api.SysctlValue{Value: "4"}, &s, 422, "write a number from 0 to 3")
	put("/v1/sysctl/drop_entri", api.SysctlValue{Value: "1"}, &s, 404, "not a net.ipv4.vs setting")
	put("/v1/sysctl/drop_entry", map[string]any{"value": "1", "x": 1}, &s, 400, "unknown field")
	if got := get[api.Sysctls](m, "/v1/sysctl").Settings; len(got) != len(conf.SysctlNames()) || get[api.Sysctl](m, "/v1/sysctl/drop_entry").Value != "3" {
		t.Errorf("%+v", got)
	}
	var to api.Timeouts
	put("/v1/timeouts", api.Timeouts{UDP: 7}, &to, 200, "")
	if _, _, udp := m.plane.Timeouts(); to != (api.Timeouts{TCP: 900, TCPFin: 120, UDP: 7}) || udp != 7*time.Second {
		t.Errorf("%+v", to)
	}
	put("/v1/timeouts", api.Timeouts{TCP: -1}, &to, 422, "whole seconds from 1")
}

// A worker that is not heard of makes the process ill; refused reloads do not.
func TestHealthFollowsTheWorkers(t *testing.T) {
	m := newInMemory(t)
	health := func(path string) (int, string) {
		w := httptest.NewRecorder()
		m.figures().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		b, _ := io.ReadAll(w.Body)
		return w.Code, string(b)
	}
	if code, text := health("/healthz"); code != http.StatusOK {
		t.Errorf("at start: %d %s", code, text)
	}
	m.started = m.started.Add(-time.Hour)
	m.syn()
	if code, text := health("/healthz"); code != http.StatusOK {
		t.Errorf("after a turn: %d %s", code, text)
	}
	m.clock.Add(int64(11 * time.Second))
	if code, text := health("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "worker 0 was not heard of for 11s") {
		t.Errorf("of a worker that stands: %d %s", code, text)
	}
	m.syn()
	m.reloadErr = errors.New("x.toml: wrong")
	if code, text := health("/healthz"); code != http.StatusOK {
		t.Errorf("of a worker that turns again: %d %s", code, text)
	}
	// The ports are in memory, so the host has no links of their names.
	if code, text := health("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "port cl0: there is no such interface") || !strings.Contains(text, "x.toml: wrong") {
		t.Errorf("ready: %d %s", code, text)
	}
	m.links = nil
	if code, text := health("/readyz"); code != http.StatusOK || !strings.Contains(text, "x.toml: wrong") {
		t.Errorf("ready after a refused reload: %d %s", code, text)
	}
}

// More scrapes than a few at once are told to come again.
func TestScrapesAreBounded(t *testing.T) {
	m := newInMemory(t)
	h := m.scrape()
	begun, stop, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	for range maxScrapes {
		go func() {
			defer func() { done <- struct{}{} }()
			h(&slowWriter{httptest.NewRecorder(), begun, stop}, nil)
		}()
		<-begun
	}
	w := httptest.NewRecorder()
	h(w, nil)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", w.Code)
	}
	close(stop)
	for range maxScrapes {
		<-done
	}
	w = httptest.NewRecorder()
	if h(w, nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "\ndirigo_workers 1\n") {
		t.Errorf("after them: %d %s", w.Code, w.Body)
	}
}

// slowWriter is a reader of figures that waits before its first byte.
type slowWriter struct {
	*httptest.ResponseRecorder
	begun, stop chan struct{}
}

func (w *slowWriter) Write(b []byte) (int, error) {
	select {
	case w.begun <- struct{}{}:
	case <-w.stop:
	}
	<-w.stop
	return w.ResponseRecorder.Write(b)
}
