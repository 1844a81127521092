package control

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// Reload reads the configuration file again and takes it over as a whole, or says what
// is wrong and changes nothing. It returns the changes made.
func (d *Director) Reload() ([]conf.Change, error) {
	next, err := conf.Load(d.opt.Path)
	var changes []conf.Change
	if err == nil {
		if d.opt.Control != "" {
			next.Director.Control = d.opt.Control
		}
		changes, err = d.take(next)
	}
	d.mu.Lock()
	d.reloadErr, d.reloaded = err, time.Now()
	if err == nil {
		d.outside.reloadedOK = d.reloaded
	}
	d.mu.Unlock()
	if err != nil {
		d.log.Error("reload refused", "file", d.opt.Path, "err", err)
		return nil, err
	}
	for _, c := range changes {
		d.log.Info("reload", "change", c.String())
	}
	d.log.Info("reload done", "file", d.opt.Path, "changes", len(changes))
	return changes, nil
}

// take makes next the desired state.
func (d *Director) take(next *conf.Config) ([]conf.Change, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.New("nothing was changed: the director is stopping")
	}
	if d.own != "" && d.cfg.Director.HostPort == d.own {
		d.ownPort(next)
	}
	changes := conf.Diff(d.cfg, next)
	var restart []string
	for _, c := range changes {
		if c.Restart() {
			restart = append(restart, c.String())
		}
	}
	if len(restart) > 0 {
		return nil, fmt.Errorf("nothing was changed: a restart is needed to %s", strings.Join(restart, "; to "))
	}
	next.Ports = d.cfg.Ports // the same, and in the order they were opened in
	// The host is kept off what comes before it comes, and let back after what goes has gone.
	both := *next
	both.Services = append(append([]conf.Service(nil), next.Services...), d.cfg.Services...)
	both.Marks = append(append([]conf.Mark(nil), next.Marks...), d.cfg.Marks...)
	if d.guard != nil {
		if err := d.guard.Update(d.guardRules(&both)); err != nil {
			return nil, fmt.Errorf("nothing was changed: guard: %w", err)
		}
	}
	for i, c := range changes {
		if err := d.do(c); err != nil {
			// Validated before, so this is a fault of the program. Go back to what was.
			return nil, errors.Join(fmt.Errorf("nothing was changed: %v: %w", c, err), d.undo(changes[:i]))
		}
	}
	d.cfg = next
	d.configure(next)
	d.publish(next)
	d.updateHost(next)
	return changes, nil
}

// undo makes the changes that lead from the present state, with those already made, back
// to it.
func (d *Director) undo(made []conf.Change) error {
	applied, err := conf.Apply(d.cfg, made)
	if err != nil {
		return fmt.Errorf("going back: %w", err)
	}
	for _, c := range conf.Diff(applied, d.cfg) {
		err = errors.Join(err, d.do(c))
	}
	d.plane.Publish()
	return err
}

// do makes one change in the data plane. What is not about services follows from the
// new state as a whole.
func (d *Director) do(c conf.Change) error {
	switch c := c.(type) {
	case conf.AddService:
		return d.addService(c.Service)
	case conf.EditService:
		return d.plane.EditService(c.Service)
	case conf.DelService:
		return d.plane.DeleteService(c.Key)
	case conf.Clear:
		for _, s := range d.plane.Services() {
			if err := d.plane.DeleteService(s.Key); err != nil {
				return err
			}
		}
	case conf.AddServer:
		return d.plane.AddServer(c.Key, c.Server)
	case conf.EditServer:
		return d.plane.EditServer(c.Key, c.Server)
	case conf.DelServer:
		return d.plane.DeleteServer(c.Key, conf.Server{Addr: c.Server.Addr, Port: c.Server.Port})
	}
	return nil
}

// addService adds a service and its servers, oldest first, as ipvsadm -A and -a would.
func (d *Director) addService(s conf.Service) error {
	if err := d.plane.AddService(s); err != nil {
		return err
	}
	for _, srv := range s.Servers {
		if err := d.plane.AddServer(s.Key, srv); err != nil {
			return err
		}
	}
	return nil
}

// updateHost brings guard and policy rules in line with cfg.
func (d *Director) updateHost(cfg *conf.Config) {
	if d.guard != nil {
		rules := d.guardRules(cfg)
		if err := d.guard.Update(rules); err != nil {
			d.log.Warn("guard was lost and is put up again", "err", err)
			if err := d.guard.Install(d.guarded, rules); err != nil {
				d.log.Error("guard", "err", err)
			}
		}
	}
	if d.local != nil {
		if err := d.local.Update(d.localServers(cfg)); err != nil {
			d.log.Error("policy rules for local servers", "err", err)
		}
	}
}
