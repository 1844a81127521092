package control

import (
	"maps"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
	"github.com/dirigo-lb/dirigo/health/notify"
)

// watch is what the director knows of the health of servers. All but the monitor is
// guarded by Director.mu.
type watch struct {
	monitor  *health.Monitor
	notifier *notify.Notifier
	services map[conf.ServiceKey]bool                   // those of the desired state that have health checks
	down     map[conf.ServiceKey]map[conf.ServerID]bool // servers whose connections or templates were let go of
	ends     []ending
	conns    map[dataplane.ServerOf]uint64 // housekeep's: connections that servers had got at the last look for signs
	unfit    map[conf.ServiceKey]bool      // lists that could not be made what is in force
}

// ending is a server that is down and whose connections end.
type ending struct {
	of    dataplane.ServerOf
	turns int // left
}

// endTurns is how often the connections of a server that went down are ended, a second
// apart, beside once at the change itself: a worker may have had the server in hand, and what others hang on (FTP's control
// connection, a template) can only end after them.
const endTurns = 3

// newWatch makes the monitor. c says who makes its probes.
func (d *Director) newWatch(c health.Config) {
	d.health = watch{
		services: map[conf.ServiceKey]bool{}, down: map[conf.ServiceKey]map[conf.ServerID]bool{}, unfit: map[conf.ServiceKey]bool{},
		notifier: notify.New(notify.Config{Log: d.log}),
	}
	c.Changed, c.Event, c.Log = d.healthChanged, d.health.notifier.Tell, d.log
	d.health.monitor = health.New(c)
}

// judgeAll tells health of all services of the desired state, at start.
func (d *Director) judgeAll() {
	keys := map[conf.ServiceKey]bool{}
	for s := range d.state.Services() {
		if s.Health != nil {
			keys[s.Key] = true
		}
	}
	d.tellHealth(keys)
}

// healthChanged makes the lists of services what is in force, by one new table.
func (d *Director) healthChanged(keys []conf.ServiceKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	for _, k := range keys {
		if s := d.state.Service(k); s != nil && s.Health != nil {
			d.fitAgain(s)
		}
	}
	d.plane.Publish()
	d.plane.ExpireOrphans()
	d.endConnections(0) // at once; the turns are the seconds'
}

// fitAgain fits a list; what fails is logged, and tried again by the second.
func (d *Director) fitAgain(s *conf.Service) {
	if err := d.fit(s); err != nil {
		if !d.health.unfit[s.Key] {
			d.log.Error("servers do not follow their health", "vip", s.Key.String(), "err", err)
		}
		d.health.unfit[s.Key] = true
		return
	}
	delete(d.health.unfit, s.Key)
}

// letGoOf says to the data plane which servers of a service are down, and notes whose
// connections have to end for that.
func (d *Director) letGoOf(s *conf.Service) {
	var h conf.Health
	if s.Health != nil {
		h = *s.Health
	}
	was, is := d.health.down[s.Key], map[conf.ServerID]bool{}
	if h.Connections == conf.KeepConnections && h.Templates == conf.KeepConnections && len(was) == 0 {
		return
	}
	for i := range s.Servers {
		srv := &s.Servers[i]
		of, down := dataplane.ServerOf{Service: s.Key, Server: srv.ID()}, !d.isUp(s, srv)
		d.plane.SetDown(of, down && h.Templates == conf.ResetConnections)
		if down {
			is[of.Server] = true
		}
		if down && h.Connections == conf.ResetConnections && !was[of.Server] {
			d.health.ends = append(d.health.ends, ending{of, endTurns})
		}
	}
	d.health.down[s.Key] = is
}

// endConnections ends the connections of servers that went down, which takes so many of
// their turns.
func (d *Director) endConnections(turns int) {
	d.health.ends = slices.DeleteFunc(d.health.ends, func(e ending) bool { return !d.health.down[e.of.Service][e.of.Server] })
	if len(d.health.ends) == 0 {
		return
	}
	var list []dataplane.ServerOf
	for i := range d.health.ends {
		d.health.ends[i].turns -= turns
		list = append(list, d.health.ends[i].of)
	}
	d.plane.EndConnections(list)
	d.health.ends = slices.DeleteFunc(d.health.ends, func(e ending) bool { return e.turns <= 0 })
}

// forget drops what is known of a service's servers.
func (w *watch) forget(k conf.ServiceKey) {
	delete(w.down, k)
	delete(w.unfit, k)
}

// keepHealth does the second's work: what could not be done, and what takes several turns.
func (d *Director) keepHealth() {
	for _, k := range slices.Collect(maps.Keys(d.health.unfit)) {
		if s := d.state.Service(k); s != nil {
			d.fitAgain(s)
			d.plane.Publish()
		}
	}
	d.endConnections(1)
}

// isUp reports whether a server of a service serves as far as health knows.
func (d *Director) isUp(s *conf.Service, srv *conf.Server) bool {
	if s.Health == nil {
		return true
	}
	e, ok := d.health.monitor.Explain(health.ID{Service: s.Key, Server: srv.ID()})
	return !ok || e.Up
}
