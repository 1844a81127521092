package control

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/control/metrics"
	"github.com/dirigo-lb/dirigo/dataplane"
)

const (
	// maxScrapes bounds the scrapes under way: each holds a copy of all figures.
	maxScrapes = 4
	// scrapeTime is how long a reader of figures may take.
	scrapeTime = 30 * time.Second
	// patience is for how long a worker may not be heard of: it hands over its counts every
	// dataplane.EstimatePeriod, with frames or without.
	patience = 5 * dataplane.EstimatePeriod
)

// serveMetrics mounts figures and health on the control API.
func (d *Director) serveMetrics(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/metrics", d.scrape())
	mux.HandleFunc("GET /v1/healthz", d.healthz)
	mux.HandleFunc("GET /v1/readyz", d.readyz)
}

// figures are the paths of the metrics listener.
func (d *Director) figures() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", d.scrape())
	mux.HandleFunc("GET /healthz", d.healthz)
	mux.HandleFunc("GET /readyz", d.readyz)
	return mux
}

// scrape answers with all figures in Prometheus's text format. It is written as it is
// made and not compressed, which would cost more than it spares on the loopback.
func (d *Director) scrape() http.HandlerFunc {
	exporter := metrics.New(metrics.Source{Plane: d.plane, Health: d.health.monitor, State: d.figuresState})
	slots := make(chan struct{}, maxScrapes)
	return func(w http.ResponseWriter, _ *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			fail(w, http.StatusServiceUnavailable, fmt.Errorf("%d scrapes are under way", maxScrapes))
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(scrapeTime)) // a recorder of tests has none
		w.Header().Set("Content-Type", metrics.ContentType)
		_ = exporter.Write(w) // the reader has gone
	}
}

// figuresState is what the figures say beside the data plane's.
func (d *Director) figuresState() metrics.State {
	d.mu.Lock()
	s := metrics.State{
		Version: d.opt.Version, Uptime: time.Since(d.started), WorkerCount: len(d.workers), APIRefused: d.outside.refused.Load(),
		ReloadErr: d.reloadErr, Reloaded: d.reloaded, ReloadedOK: d.outside.reloadedOK,
	}
	d.mu.Unlock()
	n := d.health.notifier.Stats()
	s.Notified = metrics.Notifications{Told: n.Told, Failed: n.Failed, Dropped: n.Dropped}
	if s.Reloaded.IsZero() {
		s.Reloaded = d.started
	}
	if s.ReloadedOK.IsZero() {
		s.ReloadedOK = d.started
	}
	for _, l := range d.links {
		s.Ports = append(s.Ports, metrics.Port{Name: l.Name, Up: linkDown(l.Name) == nil})
	}
	return s
}

// linkDown says why nothing passes by a port's interface, nil if something may.
func linkDown(name string) error {
	switch i, err := net.InterfaceByName(name); {
	case err != nil:
		return fmt.Errorf("port %s: there is no such interface", name)
	case i.Flags&net.FlagUp == 0:
		return fmt.Errorf("port %s: the link is down", name)
	case i.Flags&net.FlagRunning == 0:
		return fmt.Errorf("port %s: the link has no carrier", name)
	}
	return nil
}

// stuck says of each worker that does not turn why that is thought.
func (d *Director) stuck() (problems []string) {
	if time.Since(d.started) < patience {
		return nil
	}
	now := d.plane.Now()
	for i, w := range d.plane.WorkerStatuses() {
		if age := now - w.Seen; age > patience {
			problems = append(problems, fmt.Sprintf("worker %d was not heard of for %v", i, age.Truncate(time.Second)))
		}
	}
	return problems
}

// healthz tells whether the process is alive, which is that its workers turn.
func (d *Director) healthz(w http.ResponseWriter, _ *http.Request) {
	h := api.Health{Problems: d.stuck()}
	h.OK = len(h.Problems) == 0
	replyAs(w, healthStatus(h.OK), h)
}

// readyz tells whether the director serves. A refused reload is no reason why not: the
// state before it serves on.
func (d *Director) readyz(w http.ResponseWriter, _ *http.Request) {
	h := api.Health{Problems: d.stuck()}
	for _, l := range d.links {
		if err := linkDown(l.Name); err != nil {
			h.Problems = append(h.Problems, err.Error())
		}
	}
	d.mu.Lock()
	if d.closed {
		h.Problems = append(h.Problems, "the director is stopping")
	}
	if d.reloadErr != nil {
		h.Notes = append(h.Notes, "the last reload was refused and the state before it serves on: "+d.reloadErr.Error())
	}
	d.mu.Unlock()
	h.OK = len(h.Problems) == 0
	replyAs(w, healthStatus(h.OK), h)
}

func healthStatus(ok bool) int {
	if ok {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}
