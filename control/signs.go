package control

import (
	"time"

	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
)

// signsPeriod is how often clients' connections are looked through for signs of trouble:
// see dataplane.Plane.Signs.
const signsPeriod = 2 * time.Second

// tellSigns tells health what clients' own connections say of the servers of services that
// want to know. It costs a pass over the connection table if there is one, else nothing.
func (d *Director) tellSigns() {
	d.mu.Lock()
	var list []dataplane.ServerOf
	for k := range d.health.services {
		s := d.state.Service(k)
		if s == nil || s.Health == nil || s.Health.Passive.Percent == 0 {
			continue
		}
		for i := range s.Servers {
			list = append(list, dataplane.ServerOf{Service: k, Server: s.Servers[i].ID()})
		}
	}
	d.mu.Unlock()
	if len(list) == 0 {
		d.health.conns = nil
		return
	}
	conns := make(map[dataplane.ServerOf]uint64, len(list))
	for i, s := range d.plane.Signs(list, signsPeriod) {
		of := list[i]
		conns[of] = s.Conns
		was, known := d.health.conns[of]
		if !known || s.Conns < was { // no beginning to count from
			continue
		}
		d.health.monitor.Passive(health.ID(of), int(s.Conns-was), s.Unanswered+s.Refused)
	}
	d.health.conns = conns
}
