package control

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
)

// ErrRestart refuses a change that a running director cannot make.
var ErrRestart = errors.New("a restart is needed for that")

var errStopping = errors.New("nothing was changed: the director is stopping")

// Change edits the desired state by commands and makes it true at once, for the whole list
// by one new table. Not whole, each change is made completely or not at all, in order,
// whatever became of those before: errs[i] says why the i-th was refused, in the words and
// with the sentinel errors of conf.Editor, ErrRestart, or nil. Whole, the refusals of the
// list are collected in errs, and with one of them nothing is changed, which err says.
//
// It costs what it changes, however large the state is. Of a list that is not whole, err
// says that none of it could be made true, for a reason outside the state.
func (d *Director) Change(changes []conf.Change, whole bool) (errs []error, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.change(changes, whole)
}

func (d *Director) change(changes []conf.Change, whole bool) (errs []error, err error) {
	errs = make([]error, len(changes))
	if d.closed {
		return errs, errStopping
	}
	d.state.Begin(len(changes))
	defer d.state.End()
	refused := false
	for i, c := range changes {
		n := len(d.state.Steps())
		if errs[i] = d.try(c, !whole); errs[i] != nil {
			d.state.Undo(n)
			refused = true
		}
	}
	if whole {
		if err = errors.Join(errs...); !refused {
			err = d.state.Settled(0)
		}
		if err != nil {
			d.state.Undo(0)
			return errs, fmt.Errorf("nothing was changed: %w", err)
		}
	}
	steps := d.state.Steps()
	if len(steps) == 0 {
		return errs, nil
	}
	if err := d.carryOut(steps); err != nil {
		d.state.Undo(0)
		return errs, fmt.Errorf("nothing was changed: %w", err)
	}
	d.logCommands(steps)
	return errs, nil
}

// fewCommands is up to how many changes of one list are logged each.
const fewCommands = 20

// logCommands says what commands changed; a restored table is one line.
func (d *Director) logCommands(steps []conf.Step) {
	if len(steps) > fewCommands {
		d.log.Info("commands", "changes", len(steps))
		return
	}
	for i := range steps {
		d.log.Info("command", "change", steps[i].Change.String())
	}
}

// try makes a change in the desired state, if it can be made true. Alone, it has to leave a
// valid state behind.
func (d *Director) try(c conf.Change, alone bool) error {
	n := len(d.state.Steps())
	if err := d.state.Do(c); err != nil {
		return err
	}
	made := d.state.Steps()[n].Change
	if d.needsRestart(made) {
		return fmt.Errorf("%v: %w", made, ErrRestart)
	}
	for _, s := range newServers(made) {
		if err := d.plane.CheckServerAddress(s.Addr); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	if alone {
		if err := d.state.Settled(n); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	return nil
}

// newServers are the servers that a change brings, sorry servers among them.
func newServers(c conf.Change) []conf.Server {
	switch c := c.(type) {
	case conf.AddServer:
		return []conf.Server{c.Server}
	case conf.AddService:
		return append(slices.Clip(c.Service.Servers), sorryOf(c.Service.Health)...)
	case conf.SetHealth:
		return sorryOf(c.Health)
	}
	return nil
}

func sorryOf(h *conf.Health) []conf.Server {
	if h == nil || h.Sorry == nil {
		return nil
	}
	return []conf.Server{*h.Sorry}
}

// needsRestart leaves the control socket out where the command line has named it.
func (d *Director) needsRestart(c conf.Change) bool {
	if s, ok := c.(conf.SetDirector); ok && d.opt.Control != "" {
		s.Was.Control = s.Director.Control
		return s.Restart()
	}
	return c.Restart()
}

// Running is the desired state: what the file said and commands changed since. It is
// valid, and the caller's. The port that the director made for itself is not in it.
func (d *Director) Running() *conf.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state.Snapshot()
}

// FromFile is the state of the file as it was last loaded, or saved. It is the caller's.
func (d *Director) FromFile() *conf.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file.Clone()
}

// inForce are the settings that the parts of the director go by: those of the desired state
// without its services, with the ports as they were opened and the socket that is served.
func (d *Director) inForce() *conf.Config {
	cfg := *d.state.Settings()
	cfg.Ports = d.cfg.Ports // the same, and in the order they were opened in
	cfg.Director.HostPort, cfg.Director.Control = d.cfg.Director.HostPort, d.cfg.Director.Control
	return &cfg
}
