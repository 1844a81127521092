package conf

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"
)

// Editor applies changes one by one to a copy of a state. Each is made completely or
// not at all, so a script of commands can go on after one that was refused, and costs
// what it changes, however large the state is. Between Begin and End all of them can be
// undone. It is for one goroutine.
type Editor struct {
	cfg      *Config    // all but its services
	services []*Service // nil where one was deleted
	holes    int
	index    map[ServiceKey]int
	names    map[string]int // how many services have a name
	owners   map[netip.Addr]string

	recording bool
	steps     []Step // since Begin
}

// NewEditor starts from a valid state, which stays as it is.
func NewEditor(cfg *Config) *Editor {
	e := &Editor{cfg: cfg.Clone(), index: make(map[ServiceKey]int, len(cfg.Services)), names: make(map[string]int)}
	e.owners = e.cfg.owners()
	services := e.cfg.Services
	e.cfg.Services = nil
	for i := range services {
		services[i].canonical()
		e.insert(services[i].Key, &services[i])
	}
	return e
}

// Do makes one change. It refuses with ErrExists, ErrNoService or ErrNoServer, with
// ErrNoScheduler or ErrRange, or with another broken rule of the service or server at
// hand; broken rules are ErrInvalid and Errors too. Rules between services, and those
// of ports, routes and marks, are left to Config and Settled.
func (e *Editor) Do(c Change) error {
	step, err := c.apply(e)
	if err != nil {
		return fmt.Errorf("%v: %w", c, err)
	}
	if e.recording {
		e.steps = append(e.steps, step)
	} else {
		e.compact()
	}
	return nil
}

// Config is the edited state, if it is valid; else the error is ErrInvalid and an
// Errors. The state is the caller's: later changes do not reach it.
func (e *Editor) Config() (*Config, error) {
	cfg := e.Snapshot()
	if err := Validate(cfg); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return cfg, nil
}

// Snapshot is the edited state without a judgement. The state is the caller's.
func (e *Editor) Snapshot() *Config {
	cfg := e.cfg.Clone()
	if n := len(e.services) - e.holes; n > 0 {
		cfg.Services = make([]Service, 0, n)
	}
	for _, s := range e.services {
		if s != nil {
			cfg.Services = append(cfg.Services, s.Clone())
		}
	}
	return cfg
}

// Settings is the edited state without its services. It is the editor's own, to be read
// until the next change.
func (e *Editor) Settings() *Config { return e.cfg }

// Services are the services in the order they were added, to be read only and until the
// next change.
func (e *Editor) Services() iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		for _, s := range e.services {
			if s != nil && !yield(s) {
				return
			}
		}
	}
}

// Service is the service of a key, nil for none, to be read only and until the next change.
func (e *Editor) Service(k ServiceKey) *Service {
	s, _ := e.service(k)
	return s
}

// Len is the number of services.
func (e *Editor) Len() int { return len(e.services) - e.holes }

// insert puts a service at the end.
func (e *Editor) insert(k ServiceKey, s *Service) {
	e.index[k] = len(e.services)
	e.services = append(e.services, s)
	e.name(s.Name, 1)
}

// name counts who has a name.
func (e *Editor) name(name string, by int) {
	if name == "" {
		return
	}
	if e.names[name] += by; e.names[name] == 0 {
		delete(e.names, name)
	}
}

// compact fills the holes once they are half of the list.
func (e *Editor) compact() {
	if e.holes <= len(e.services)/2 {
		return
	}
	e.services = slices.DeleteFunc(e.services, func(s *Service) bool { return s == nil })
	e.holes = 0
	for i, s := range e.services {
		e.index[s.Key.canonical()] = i
	}
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

// noProblems are empty: a restore judges each server several times.
var noProblems = sync.Pool{New: func() any { return new(problems) }}

// invalid gives what a check found, as an error. The keys are relative to the service
// or server at hand.
func invalid(check func(*problems)) error {
	p := noProblems.Get().(*problems)
	check(p)
	if len(p.found) == 0 {
		if p.seen == nil && p.broken == nil {
			noProblems.Put(p)
		}
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalid, p.errors(new(Config), "", nil))
}

func (c AddService) apply(e *Editor) (Step, error) {
	s := c.Service.Clone()
	s.canonical()
	if _, twice := e.index[s.Key]; twice {
		return Step{}, ErrExists
	}
	if err := invalid(func(p *problems) { p.checkService("", &s, e.owners) }); err != nil {
		return Step{}, err
	}
	e.insert(s.Key, &s)
	made := s
	made.Servers = slices.Clone(s.Servers) // later changes are made in place
	return Step{Change: AddService{made}, undo: func() {
		delete(e.index, s.Key)
		e.services = e.services[:len(e.services)-1]
		e.name(s.Name, -1)
	}}, nil
}

// Over is the definition that c makes of old's, without servers and health: what a command
// has no word for stays.
func (c EditService) Over(old *Service) Service {
	s := c.Service
	s.Servers, s.Health = nil, nil
	if c.Was == nil && s.Name == "" {
		s.Name = old.Name
	}
	if s.Redispatch == SameRedispatch {
		s.Redispatch = old.Redispatch
	}
	return s
}

func (c EditService) apply(e *Editor) (Step, error) {
	old, err := e.service(c.Service.Key)
	if err != nil {
		return Step{}, err
	}
	s := c.Over(old)
	s.canonical()
	if err := invalid(func(p *problems) { p.checkService("", &s, e.owners) }); err != nil {
		return Step{}, err
	}
	was := *old
	was.Servers, was.Health = nil, nil
	define := func(to Service) {
		e.name(old.Name, -1)
		e.name(to.Name, 1)
		to.Servers, to.Health = old.Servers, old.Health
		*old = to
	}
	define(s)
	return Step{Change: EditService{s, &was}, undo: func() { define(was) }}, nil
}

func (c DelService) apply(e *Editor) (Step, error) {
	s, err := e.service(c.Key)
	if err != nil {
		return Step{}, err
	}
	k := c.Key.canonical()
	i := e.index[k]
	e.services[i] = nil
	e.holes++
	delete(e.index, k)
	e.name(s.Name, -1)
	return Step{Change: DelService{k}, Services: []Service{*s}, undo: func() {
		e.services[i] = s
		e.holes--
		e.index[k] = i
		e.name(s.Name, 1)
	}}, nil
}

func (Clear) apply(e *Editor) (Step, error) {
	was := *e
	var gone []Service
	for _, s := range e.services {
		if s != nil {
			gone = append(gone, *s)
		}
	}
	e.services, e.holes = nil, 0
	e.index, e.names = make(map[ServiceKey]int), make(map[string]int)
	return Step{Change: Clear{}, Services: gone, undo: func() {
		e.services, e.holes, e.index, e.names = was.services, was.holes, was.index, was.names
	}}, nil
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

func (c AddServer) apply(e *Editor) (Step, error) {
	d := c.Server.Clone()
	s, place, err := e.server(c.Key, &d)
	if err != nil {
		return Step{}, err
	}
	if place != nil {
		return Step{}, ErrExists
	}
	if err := invalid(func(p *problems) {
		p.checkServer("", &d, s.Key)
		p.checkChecks("check", d.Checks, s.Key)
	}); err != nil {
		return Step{}, err
	}
	s.Servers = append(s.Servers, d)
	return Step{Change: AddServer{c.Key.canonical(), d}, undo: func() { s.Servers = s.Servers[:len(s.Servers)-1] }}, nil
}

func (c EditServer) apply(e *Editor) (Step, error) {
	d := c.Server
	s, place, err := e.server(c.Key, &d)
	if err != nil {
		return Step{}, err
	}
	if place == nil {
		return Step{}, ErrNoServer
	}
	was := *place
	d.Checks = was.Checks
	if c.Was == nil && d.Name == "" {
		d.Name = was.Name
	}
	if err := invalid(func(p *problems) { p.checkServer("", &d, s.Key) }); err != nil {
		return Step{}, err
	}
	*place = d
	return Step{Change: EditServer{c.Key.canonical(), d, &was}, Server: &was, undo: func() { *s.Server(d.ID()) = was }}, nil
}

func (c DelServer) apply(e *Editor) (Step, error) {
	s, err := e.service(c.Key)
	if err != nil {
		return Step{}, err
	}
	id := ServerID{c.Server.Addr.Unmap(), c.Server.Port}
	i := slices.IndexFunc(s.Servers, func(d Server) bool { return d.ID() == id })
	if i < 0 {
		return Step{}, ErrNoServer
	}
	was := s.Servers[i]
	s.Servers = slices.Delete(s.Servers, i, i+1)
	return Step{Change: DelServer{c.Key.canonical(), id}, Server: &was, undo: func() { s.Servers = slices.Insert(s.Servers, i, was) }}, nil
}

// replace puts a new value in a place of the state.
func replace[T any](place *T, value T, c Change) (Step, error) {
	was := *place
	*place = value
	return Step{Change: c, undo: func() { *place = was }}, nil
}

func (c SetTimeouts) apply(e *Editor) (Step, error) {
	ct := e.cfg.Conntrack
	ct.TCP, ct.TCPFin, ct.UDP = cmp.Or(c.TCP, ct.TCP), cmp.Or(c.TCPFin, ct.TCPFin), cmp.Or(c.UDP, ct.UDP)
	if err := invalid(func(p *problems) { p.checkConntrack(&ct) }); err != nil {
		return Step{}, err
	}
	return replace(&e.cfg.Conntrack, ct, c)
}

func (c SetSysctl) apply(e *Editor) (Step, error) {
	s := e.cfg.Sysctl
	if err := s.Set(c.Name, c.Value); err != nil {
		return Step{}, err
	}
	c.Was, _ = e.cfg.Sysctl.Get(c.Name)
	return replace(&e.cfg.Sysctl, s, c)
}

func (c SetMarks) apply(e *Editor) (Step, error) {
	return replace(&e.cfg.Marks, cloneMarks(c.Marks), SetMarks{c.Marks, e.cfg.Marks})
}

func (c SetRoutes) apply(e *Editor) (Step, error) {
	return replace(&e.cfg.Routes, slices.Clone(c.Routes), SetRoutes{c.Routes, e.cfg.Routes})
}

func (c SetNeighbors) apply(e *Editor) (Step, error) {
	return replace(&e.cfg.Neighbors, slices.Clone(c.Neighbors), SetNeighbors{c.Neighbors, e.cfg.Neighbors})
}

func (c SetDirector) apply(e *Editor) (Step, error) {
	return replace(&e.cfg.Director, c.Director, SetDirector{c.Director, e.cfg.Director})
}

func (c SetPorts) apply(e *Editor) (Step, error) {
	was, owners := e.cfg.Ports, e.owners
	e.cfg.Ports = clonePorts(c.Ports)
	e.owners = e.cfg.owners()
	return Step{Change: SetPorts{c.Ports, was}, undo: func() { e.cfg.Ports, e.owners = was, owners }}, nil
}

func (c SetMaxConnections) apply(e *Editor) (Step, error) {
	return replace(&e.cfg.Conntrack.MaxConnections, c.Max, SetMaxConnections{c.Max, e.cfg.Conntrack.MaxConnections})
}
