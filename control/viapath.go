package control

import (
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/via"
)

// followVia tells d.via, which makes connections to single servers by their services, which
// desired services have changed and which are gone. With the first that is asked by the
// service, host, workers and guard are made ready for that; they go back after the last.
// Probes are running meanwhile, which health was told to make before: they are not let out
// until all is in place. Called with d.mu held.
func (d *Director) followVia(set []conf.Service, gone []conf.ServiceKey) {
	d.via.Update(set, gone)
	defer d.via.Ready()
	v4, v6 := d.via.Used()
	if d.local != nil {
		for family, used := range []bool{v4, v6} {
			if !used {
				continue
			}
			if err := d.local.OpenProbes(family == 1); err != nil {
				d.log.Error("health checks through services cannot be made", "err", err)
			}
		}
	}
	if used := v4 || v6; used != d.asksVia {
		d.asksVia = used
		d.publishTable(d.cfg, d.state.Snapshot().Services)
		d.updateHost()
	}
}

// ownPorts are the ports from which the director makes connections to real servers; the
// zero range if it makes none.
func (d *Director) ownPorts() (p conf.PortRange) {
	if d.asksVia {
		p = via.Ports
	}
	return p
}

// moveVia tells d.via, which a replay has not, of a new environment.
func (d *Director) moveVia() {
	if d.via != nil {
		d.via.Move(via.Place{Environment: d.env, Local: d.view.Local})
	}
}
