package metrics

import (
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
)

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Source is what an Exporter reads.
type Source struct {
	Plane  *dataplane.Plane
	Health *health.Monitor
	State  func() State // what the control plane knows beside them; called once a scrape
}

// State is what the control plane knows.
type State struct {
	Version     string
	Uptime      time.Duration
	Ports       []Port // in the order of the plane's
	ReloadErr   error  // of the last reload; nil: it was taken over
	Reloaded    time.Time
	ReloadedOK  time.Time // the last that was taken over, the start included
	APIRefused  uint64    // requests without the right to make them
	WorkerCount int
	Notified    Notifications
}

// Port is a port's name and whether its link is up.
type Port struct {
	Name string
	Up   bool
}

// Exporter writes a director's figures.
type Exporter struct {
	source   Source
	registry *prometheus.Registry
}

// New is an exporter of a director's figures.
func New(source Source) *Exporter {
	e := &Exporter{source: source, registry: prometheus.NewPedanticRegistry()}
	e.registry.MustRegister(&collector{source: source}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return e
}

// Write writes all figures. It may be called by several at once.
func (e *Exporter) Write(w io.Writer) error {
	families, err := e.registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	if err := writeServices(w, e.source.Plane); err != nil {
		return err
	}
	return writeHealth(w, e.source.Health)
}
