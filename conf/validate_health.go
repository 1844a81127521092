package conf

import (
	"math"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkHealth notes every rule that the health of a service breaks by itself. The service
// is at path.
func (p *problems) checkHealth(service string, h *Health, key ServiceKey) {
	if h == nil {
		return
	}
	path := join(service, "health")
	p.checkHealthPolicy(path, h)
	p.between(join(path, "quorum"), h.Quorum, 1, math.MaxInt32)
	if h.Hysteresis < 0 || h.Hysteresis >= h.Quorum && h.Quorum >= 1 {
		p.add(join(path, "hysteresis"), "is %d; write a number from 0 to %d, one below quorum", h.Hysteresis, max(0, h.Quorum-1))
	}
	p.checkSorry(join(path, "sorry_server"), h, key)
	p.checkChecks(join(service, "check"), h.Checks, key)
}

// checkMember judges a server together with the health of its service.
func (p *problems) checkMember(path string, s *Service, d *Server) {
	h := s.Health
	if h == nil {
		if len(d.Checks) > 0 {
			p.add(join(path, "check"), "stands in a service without health; set that first")
		}
		return
	}
	if h.Sorry != nil && d.Addr.IsValid() && d.ID() == h.Sorry.ID() {
		p.add(join(path, "address"), "%v is the sorry server of this service; it answers when no server does, so it cannot be one of them", d)
	}
	checks := d.Checks
	if len(checks) == 0 {
		checks = h.Checks
	}
	for i := range checks {
		probe := &checks[i].Probe
		if probe.Via == ViaService && d.Forward == Local {
			p.add(path, "is on the director's own host (forward = \"local\") and cannot be asked by way of the service, as check %q does; give it a check with via = \"server\"", checks[i].label())
		}
		asked := probe.Type != "" && !slices.Contains(portless, probe.Type) && probe.Via == ViaServer
		if asked && d.Addr.IsValid() && (s.Key != ServiceKey{}) && probe.Port == 0 && d.Port == 0 && s.Key.Port == 0 && probe.StandardPort() == 0 {
			p.add(join(path, "address"), "has no port, and neither has the service nor its check %q; write port in the check", checks[i].label())
		}
	}
}

// checkHealthPolicy judges what has defaults for the whole file.
func (p *problems) checkHealthPolicy(path string, h *Health) {
	if consequences.word(h.OnFailure) == "" {
		p.add(join(path, "on_failure"), "is consequence %d; %s", h.OnFailure, oneOf(consequences.words()))
	}
	if connectionFates.word(h.Connections) == "" {
		p.add(join(path, "connections"), "is fate %d; %s", h.Connections, oneOf(connectionFates.words()))
	}
	if templateFates.word(h.Templates) == "" {
		p.add(join(path, "templates"), "is fate %d; %s", h.Templates, oneOf(templateFates.words()))
	}
	p.span(join(path, "slow_start"), h.SlowStart, 0, maxSpan)
	if f, path := h.Flap, join(path, "flap"); f != (Flap{}) {
		p.between(join(path, "changes"), f.Changes, 2, maxInRow)
		p.span(join(path, "within"), f.Within, time.Second, maxSpan)
		p.span(join(path, "hold"), f.Hold, time.Second, maxSpan)
	}
	if t, path := h.Passive, join(path, "passive"); t != (Passive{}) {
		p.between(join(path, "percent"), t.Percent, 1, 100)
		p.between(join(path, "min"), t.Min, 1, 1_000_000)
		p.span(join(path, "window"), t.Window, time.Second, maxSpan)
	}
	p.checkNotify(join(path, "notify"), &h.Notify)
}

func (p *problems) checkNotify(path string, n *Notify) {
	for _, c := range n.commands() {
		if *c.at == "" {
			continue
		}
		if wrong := argvForm.wrong(*c.at); wrong != "" {
			p.add(join(path, c.key), "%s", wrong)
		}
	}
	if n.Webhook != "" {
		u, err := url.Parse(n.Webhook)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !printable(n.Webhook) || len(n.Webhook) > maxText {
			p.add(join(path, "webhook"), `is not a URL; write one like "https://hooks.example.org/lvs"`) // which may hold a secret
		}
	}
	for i, to := range n.Mail {
		if a, err := mail.ParseAddress(to); err != nil || a.Address != to {
			p.add(at(join(path, "mail"), i), `%q is not a mail address; write one like "admin@example.org"`, to)
		}
	}
	if len(n.Mail) == 0 {
		if n.MailFrom != "" || n.MailServer != "" || n.MailEvery != 0 {
			p.add(path, "says how to send mail, and to nobody; write mail, or remove it")
		}
		return
	}
	if from := n.MailFrom; from == "" || !printable(from) || strings.ContainsAny(from, " <>") {
		p.add(join(path, "mail_from"), `%q is not a sender; write one like "dirigo@example.org"`, from)
	}
	p.checkMailServer(join(path, "mail_server"), n.MailServer)
	p.span(join(path, "mail_interval"), n.MailEvery, 0, maxSpan)
}

func (p *problems) checkMailServer(path, server string) {
	host, port, err := net.SplitHostPort(server)
	n, errPort := strconv.ParseUint(port, 10, 16)
	if err != nil || errPort != nil || n == 0 || host == "" || !printable(host) || strings.Contains(host, " ") {
		p.add(path, `%q is not a mail server; write its name or address and port, like "mail.example.org:25"`, server)
	}
}

// checkSorry judges the server of last resort: a server of the service, but for its
// weight, and never asked whether it is well.
func (p *problems) checkSorry(path string, h *Health, key ServiceKey) {
	d := h.Sorry
	if d == nil {
		if h.SorryKeep {
			p.add(join(path, "keep"), "has no effect without a sorry server")
		}
		return
	}
	p.checkServer(path, d, key)
	switch {
	case d.Weight != 1:
		p.add(join(path, "weight"), "is %d; a sorry server's is 1", d.Weight)
	case d.Upper != 0 || d.Lower != 0:
		p.add(join(path, "upper"), "is for real servers; a sorry server takes all connections")
	case len(d.Checks) > 0:
		p.add(join(path, "check"), "is for real servers; a sorry server is not asked")
	}
}
