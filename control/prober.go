package control

import (
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/health/probe"
)

// newProber makes who asks, and so decides which way a question takes. It is called from
// the goroutines of probes.
func (d *Director) newProber(p conf.Probe, t health.Target) (health.Prober, error) {
	if p.Via == conf.ViaService {
		return probe.New(p, t, d.via.To(t))
	}
	return probe.New(p, t, probe.Plain{Sockets: d.sockets})
}

// askAnew makes what those services need that are asked by their VIP.
func (d *Director) askAnew(judged map[conf.ServiceKey]bool) {
	if len(judged) > 0 && d.via != nil { // a replay has none
		d.followVia(d.withHealth(judged))
	}
}
