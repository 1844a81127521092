package conf

import (
	"fmt"
	"slices"
	"strings"
)

// SetHealth replaces how a service judges its servers; nil: not at all.
type SetHealth struct {
	Key         ServiceKey
	Health, Was *Health
}

// SetChecks replaces a server's own checks; none: those of its service.
type SetChecks struct {
	Key         ServiceKey
	Server      ServerID
	Checks, Was []HealthCheck
}

// Restart is of Change.
func (SetHealth) Restart() bool { return false }

// Restart is of Change.
func (SetChecks) Restart() bool { return false }

func (c SetHealth) String() string {
	s := "set health of " + c.Key.String() + ": "
	switch {
	case c.Health == nil:
		return s + "none"
	case c.Was == nil:
		return s + "checked by " + labelsOf(c.Health.Checks)
	}
	said := edits(c.Was.pairs(c.Key, noMethod), c.Health.pairs(c.Key, noMethod))
	if checks := checkEdits(c.Was.Checks, c.Health.Checks); checks != "" && said != "" {
		said += ", " + checks
	} else {
		said += checks
	}
	return s + said
}

func (c SetChecks) String() string {
	return fmt.Sprintf("set checks of server %v of %v: %s", c.Server, c.Key, checkEdits(c.Was, c.Checks))
}

// checkEdits says what became of a list of checks.
func checkEdits(was, is []HealthCheck) string {
	switch said := listEdits(was, is, (*HealthCheck).id, (*HealthCheck).pairs); {
	case slices.Equal(was, is):
		return ""
	case len(is) == 0:
		return "no checks"
	case said == "":
		return "the checks in another order"
	default:
		return said
	}
}

func (c *HealthCheck) id() string { return "check " + quote(c.label()) }

func labelsOf(checks []HealthCheck) string {
	if len(checks) == 0 {
		return "the servers' own checks"
	}
	var labels []string
	for i := range checks {
		labels = append(labels, checks[i].label())
	}
	return strings.Join(labels, ", ")
}

func (c SetHealth) apply(e *Editor) (Step, error) {
	s, err := e.service(c.Key)
	if err != nil {
		return Step{}, err
	}
	if err := invalid(func(p *problems) { p.checkHealth("", c.Health, s.Key) }); err != nil {
		return Step{}, err
	}
	h := c.Health.Clone()
	h.canonical()
	return replace(&s.Health, h, SetHealth{s.Key, h.Clone(), s.Health})
}

func (c SetChecks) apply(e *Editor) (Step, error) {
	s, err := e.service(c.Key)
	if err != nil {
		return Step{}, err
	}
	id := ServerID{c.Server.Addr.Unmap(), c.Server.Port}
	place := s.Server(id)
	if place == nil {
		return Step{}, ErrNoServer
	}
	if err := invalid(func(p *problems) { p.checkChecks("check", c.Checks, s.Key) }); err != nil {
		return Step{}, err
	}
	was := place.Checks
	place.Checks = slices.Clone(c.Checks)
	return Step{Change: SetChecks{s.Key, id, slices.Clone(c.Checks), was}, undo: func() { s.Server(id).Checks = was }}, nil
}

// health merges that of a service; nil is none.
func (m *merger) health(was, is, next *Health, k ServiceKey) *Health {
	if m.takes(was.Equal(next), was.Equal(is), is.Equal(next), func() (string, said) {
		return "the health of service " + k.String(), said{fmt.Sprintf("says %q", healthWords(k, was, next)), fmt.Sprintf("said %q", healthWords(k, was, is)), "the command's"}
	}) {
		return next
	}
	return is
}

func healthWords(k ServiceKey, was, is *Health) string {
	_, words, _ := strings.Cut(SetHealth{k, is, was}.String(), k.String()+": ")
	return words
}

// checks merges those of a server.
func (m *merger) checks(was, is, next []HealthCheck, server string) []HealthCheck {
	if m.takes(slices.Equal(was, next), slices.Equal(was, is), slices.Equal(is, next), func() (string, said) {
		return "the checks of " + server, said{fmt.Sprintf("says %q", checkEdits(was, next)), fmt.Sprintf("said %q", checkEdits(was, is)), "the command's"}
	}) {
		return next
	}
	return is
}
