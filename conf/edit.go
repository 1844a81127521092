package conf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Editor applies changes one by one to a copy of a state. Each is made completely or
// not at all, so a script of commands can go on after one that was refused. It is for
// one goroutine.
type Editor struct {
	cfg      *Config    // all but its services
	services []*Service // nil where one was deleted
	index    map[ServiceKey]int
	owners   map[netip.Addr]string
}

// NewEditor starts from a valid state, which stays as it is.
func NewEditor(cfg *Config) *Editor {
	e := &Editor{cfg: cfg.Clone(), index: make(map[ServiceKey]int, len(cfg.Services))}
	e.owners = e.cfg.owners()
	for i := range e.cfg.Services {
		s := &e.cfg.Services[i]
		e.index[s.Key.canonical()] = len(e.services)
		e.services = append(e.services, s)
	}
	e.cfg.Services = nil
	return e
}

// Do makes one change. It refuses with ErrExists, ErrNoService or ErrNoServer, with
// ErrNoScheduler or ErrRange, or with another broken rule of the service or server at
// hand; broken rules are ErrInvalid and Errors too. Rules between services, and those
// of ports, routes and marks, are left to Config.
func (e *Editor) Do(c Change) error {
	if err := c.apply(e); err != nil {
		return fmt.Errorf("%v: %w", c, err)
	}
	return nil
}

// Config is the edited state, if it is valid; else the error is ErrInvalid and an
// Errors. The state is the caller's: later changes do not reach it.
func (e *Editor) Config() (*Config, error) {
	cfg := e.cfg.Clone()
	for _, s := range e.services {
		if s != nil {
			c := *s
			c.Servers = slices.Clone(s.Servers)
			cfg.Services = append(cfg.Services, c)
		}
	}
	if err := Validate(cfg); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return cfg, nil
}

// Apply makes all changes to a copy of cfg, or none.
func Apply(cfg *Config, changes []Change) (*Config, error) {
	e := NewEditor(cfg)
	for _, c := range changes {
		if err := e.Do(c); err != nil {
			return nil, err
		}
	}
	return e.Config()
}

func (e *Editor) service(k ServiceKey) (*Service, error) {
	i, ok := e.index[k.canonical()]
	if !ok {
		return nil, ErrNoService
	}
	return e.services[i], nil
}

// invalid gives what a check found, as an error. The keys are relative to the service
// or server at hand.
func invalid(check func(*problems)) error {
	p := new(problems)
	check(p)
	if found := p.errors(new(Config), "", nil); found != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, found)
	}
	return nil
}

func (c AddService) apply(e *Editor) error {
	s := c.Service
	s.Servers = slices.Clone(s.Servers)
	s.canonical()
	if _, twice := e.index[s.Key]; twice {
		return ErrExists
	}
	if err := invalid(func(p *problems) { p.checkService("", &s, e.owners) }); err != nil {
		return err
	}
	e.index[s.Key] = len(e.services)
	e.services = append(e.services, &s)
	return nil
}

func (c EditService) apply(e *Editor) error {
	old, err := e.service(c.Service.Key)
	if err != nil {
		return err
	}
	s := c.Service
	s.Servers = nil
	s.canonical()
	if err := invalid(func(p *problems) { p.checkService("", &s, e.owners) }); err != nil {
		return err
	}
	s.Servers = old.Servers
	*old = s
	return nil
}

func (c DelService) apply(e *Editor) error {
	if _, err := e.service(c.Key); err != nil {
		return err
	}
	k := c.Key.canonical()
	e.services[e.index[k]] = nil
	delete(e.index, k)
	return nil
}

func (Clear) apply(e *Editor) error {
	e.services = nil
	clear(e.index)
	return nil
}

// server looks for the place of d in its service. As in ip_vs_add_dest and
// ip_vs_edit_dest of the kernel, Check comes before the place.
func (e *Editor) server(k ServiceKey, d *Server) (s *Service, place *Server, err error) {
	if s, err = e.service(k); err != nil {
		return nil, nil, err
	}
	d.canonical()
	if err := d.Check(); err != nil {
		return nil, nil, err
	}
	return s, s.Server(d.ID()), nil
}

func (c AddServer) apply(e *Editor) error {
	d := c.Server
	s, place, err := e.server(c.Key, &d)
	if err != nil {
		return err
	}
	if place != nil {
		return ErrExists
	}
	if err := invalid(func(p *problems) { p.checkServer("", &d, s.Key) }); err != nil {
		return err
	}
	s.Servers = append(s.Servers, d)
	return nil
}

func (c EditServer) apply(e *Editor) error {
	d := c.Server
	s, place, err := e.server(c.Key, &d)
	if err != nil {
		return err
	}
	if place == nil {
		return ErrNoServer
	}
	if err := invalid(func(p *problems) { p.checkServer("", &d, s.Key) }); err != nil {
		return err
	}
	*place = d
	return nil
}

func (c DelServer) apply(e *Editor) error {
	s, err := e.service(c.Key)
	if err != nil {
		return err
	}
	id := ServerID{c.Server.Addr.Unmap(), c.Server.Port}
	if s.Server(id) == nil {
		return ErrNoServer
	}
	s.Servers = slices.DeleteFunc(s.Servers, func(d Server) bool { return d.ID() == id })
	return nil
}

func (c SetTimeouts) apply(e *Editor) error {
	ct := e.cfg.Conntrack
	ct.TCP, ct.TCPFin, ct.UDP = cmp.Or(c.TCP, ct.TCP), cmp.Or(c.TCPFin, ct.TCPFin), cmp.Or(c.UDP, ct.UDP)
	if err := invalid(func(p *problems) { p.checkConntrack(&ct) }); err != nil {
		return err
	}
	e.cfg.Conntrack = ct
	return nil
}

func (c SetSysctl) apply(e *Editor) error { return e.cfg.Sysctl.Set(c.Name, c.Value) }

func (c SetMarks) apply(e *Editor) error {
	e.cfg.Marks = cloneMarks(c.Marks)
	return nil
}

func (c SetRoutes) apply(e *Editor) error {
	e.cfg.Routes = slices.Clone(c.Routes)
	return nil
}

func (c SetNeighbors) apply(e *Editor) error {
	e.cfg.Neighbors = slices.Clone(c.Neighbors)
	return nil
}

func (c SetDirector) apply(e *Editor) error {
	e.cfg.Director = c.Director
	return nil
}

func (c SetPorts) apply(e *Editor) error {
	e.cfg.Ports = clonePorts(c.Ports)
	e.owners = e.cfg.owners()
	return nil
}

func (c SetMaxConnections) apply(e *Editor) error {
	e.cfg.Conntrack.MaxConnections = c.Max
	return nil
}
