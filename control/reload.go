package control

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
)

// ReloadResult is what reading the file again did.
type ReloadResult struct {
	Changes   []string // made, in words
	Conflicts []string // where the file and commands differ, and what commands said was kept
}

// Reload reads the configuration file again and takes over what it says otherwise than
// when it was last read; what commands changed stays, and where both changed the same thing
// the command's state is kept and the conflict named. With discard the file's state
// replaces everything that commands did. It is done as a whole, or the error says what is
// wrong and nothing is changed.
func (d *Director) Reload(discard bool) (ReloadResult, error) {
	r, err := d.reload(discard)
	d.mu.Lock()
	d.reloadErr, d.reloaded = err, time.Now()
	if err == nil {
		d.outside.reloadedOK = d.reloaded
	}
	d.mu.Unlock()
	if err != nil {
		d.log.Error("reload refused", "file", d.opt.Path, "err", err)
		return ReloadResult{}, err
	}
	for _, c := range r.Changes {
		d.log.Info("reload", "change", c)
	}
	for _, c := range r.Conflicts {
		d.log.Warn("reload", "conflict", c)
	}
	d.log.Info("reload done", "file", d.opt.Path, "changes", len(r.Changes), "conflicts", len(r.Conflicts))
	return r, nil
}

func (d *Director) reload(discard bool) (ReloadResult, error) {
	next, err := conf.Load(d.opt.Path)
	if err != nil {
		return ReloadResult{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.take(next, discard)
}

// take makes next the file's state.
func (d *Director) take(next *conf.Config, discard bool) (r ReloadResult, err error) {
	changes, conflicts, err := d.plan(next, discard)
	if err != nil {
		return r, err
	}
	if _, err := d.change(changes, true); err != nil {
		return r, err
	}
	d.file = next.Clone()
	for _, c := range changes {
		r.Changes = append(r.Changes, c.String())
	}
	r.Conflicts = conflicts
	return r, nil
}

// plan says what taking a file's state over changes, and refuses what cannot be.
func (d *Director) plan(next *conf.Config, discard bool) (changes []conf.Change, conflicts []string, err error) {
	running, merged := d.state.Snapshot(), next
	if !discard {
		merged, conflicts = conf.Merge(d.file, running, next)
		if err := conf.Validate(merged); err != nil {
			return nil, conflicts, fmt.Errorf("nothing was changed: the file and what commands changed do not go together: %w", err)
		}
	}
	changes = conf.Diff(running, merged)
	var restart []string
	for _, c := range changes {
		if d.needsRestart(c) {
			restart = append(restart, c.String())
		}
	}
	if len(restart) > 0 {
		err = fmt.Errorf("nothing was changed: a restart is needed to %s", strings.Join(restart, "; to "))
	}
	return changes, conflicts, err
}

// ConfigDiff says what Reload(false) would do now. The error is the file's.
func (d *Director) ConfigDiff() (api.ConfigDiff, error) {
	next, err := conf.Load(d.opt.Path)
	if err != nil {
		return api.ConfigDiff{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return api.ConfigDiff{}, errors.New("the director is stopping")
	}
	out := api.ConfigDiff{File: d.opt.Path, Changes: []api.Planned{}, Conflicts: []string{}, Commands: []string{}}
	changes, conflicts, err := d.plan(next, false)
	if err != nil {
		out.Refused = err.Error()
	}
	out.Conflicts = append(out.Conflicts, conflicts...)
	for _, c := range changes {
		out.Changes = append(out.Changes, d.planned(c))
	}
	for _, c := range conf.Diff(d.file, d.state.Snapshot()) {
		out.Commands = append(out.Commands, c.String())
	}
	return out, nil
}

const (
	loseServer = "their server goes: answers still pass until they end"
	endAtOnce  = "they end at once (sysctl expire_nodest_conn)"
	keepMethod = "they keep their method, new ones get the new one"
)

// planned counts the connections that a change touches.
func (d *Director) planned(c conf.Change) api.Planned {
	p := api.Planned{Change: c.String()}
	switch c := c.(type) {
	case conf.DelServer:
		p.Connections, p.Effect = d.plane.Bound(c.Key, &c.Server), loseServer
	case conf.DelService:
		p.Connections, p.Effect = d.plane.Bound(c.Key, nil), loseServer
	case conf.EditServer:
		if c.Was == nil || c.Was.Forward == c.Server.Forward {
			return p
		}
		id := c.Server.ID()
		p.Connections, p.Effect = d.plane.Bound(c.Key, &id), keepMethod
	}
	switch {
	case p.Connections == 0:
		p.Effect = ""
	case p.Effect == loseServer && d.cfg.Sysctl.ExpireNodestConn.On():
		p.Effect = endAtOnce
	}
	return p
}
