package conf

import (
	"fmt"
	"slices"
)

// A Step is what one change did to an Editor's state.
type Step struct {
	Change   Change    // in canonical form; an edit's Was is what it replaced
	Services []Service // what DelService or Clear took away
	Server   *Server   // what DelServer took away or EditServer replaced
	undo     func()
}

// Begin starts to record the steps that Do makes, about n of them.
func (e *Editor) Begin(n int) { e.recording, e.steps = true, make([]Step, 0, n) }

// Steps are those made since Begin.
func (e *Editor) Steps() []Step { return e.steps }

// Undo takes back all steps since Begin but the first n, the last one first.
func (e *Editor) Undo(n int) {
	for _, s := range slices.Backward(e.steps[n:]) {
		s.undo()
	}
	e.steps = e.steps[:n]
}

// End keeps what the steps since Begin made.
func (e *Editor) End() {
	e.recording, e.steps = false, nil
	e.compact()
}

// Settled judges what Do leaves to Config, as far as the steps since Begin but the first
// n can have broken it: rules between services and between servers of one, of lists as a
// whole, and of what a file can say. The error is ErrInvalid and an Errors.
func (e *Editor) Settled(n int) error {
	return invalid(func(p *problems) {
		for _, s := range e.steps[n:] {
			p.settled(e, s.Change)
		}
	})
}

func (p *problems) settled(e *Editor, c Change) {
	switch c := c.(type) {
	case AddService:
		p.uniqueName(e, c.Service.Name)
	case EditService:
		p.uniqueName(e, c.Service.Name)
		if s, err := e.service(c.Service.Key); err == nil {
			p.checkRoom("", s)
		}
	case AddServer:
		p.settledServer(e, c.Key, c.Server.ID())
	case EditServer:
		p.settledServer(e, c.Key, c.Server.ID())
	case SetHealth:
		if s, err := e.service(c.Key); err == nil {
			for i := range s.Servers {
				p.checkMember(at("server", i), s, &s.Servers[i])
			}
		}
	case SetChecks:
		if s, err := e.service(c.Key); err == nil && s.Server(c.Server) != nil {
			p.checkMember("", s, s.Server(c.Server))
		}
	case SetSysctl:
		p.checkSysctl(&e.cfg.Sysctl)
	case SetMarks:
		p.checkMarks(e.cfg)
	case SetRoutes:
		p.checkRoutes(e.cfg)
	case SetNeighbors:
		p.checkNeighbors(e.cfg)
	case SetDirector:
		p.checkDirector(e.cfg)
	case SetPorts, SetMaxConnections:
		p.validate(e.Snapshot()) // these bear on everything
	}
}

func (p *problems) uniqueName(e *Editor, name string) {
	if e.names[name] > 1 {
		p.add("name", "%q is already the name of another service; names are unique", name)
	}
}

// settledServer judges a service after one of its servers came or changed its name.
func (p *problems) settledServer(e *Editor, k ServiceKey, id ServerID) {
	s, err := e.service(k)
	if err != nil {
		return // deleted by a later step
	}
	d := s.Server(id)
	if d == nil {
		return // so was it
	}
	p.checkRoom("", s)
	p.checkMember("", s, d)
	name := d.Name
	if name == "" {
		return
	}
	same := 0
	for i := range s.Servers {
		if s.Servers[i].Name == name {
			same++
		}
	}
	if same > 1 {
		p.add(fmt.Sprintf("%v.name", k), "%q is already the name of another server of this service; names are unique within a service", name)
	}
}
