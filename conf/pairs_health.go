package conf

import (
	"slices"
)

// pairs are all of a check.
func (c *HealthCheck) pairs() (ps pairs) {
	ps.text("name", c.Label, "")
	ps.add("type", quote(string(c.Probe.Type)), false)
	c.Probe.pairs(&ps)
	ps.duration("interval", c.Interval, DefaultInterval)
	ps.duration("retry_delay", c.RetryDelay, min(DefaultRetryDelay, c.Interval))
	ps.duration("timeout", c.Probe.Timeout, defaultTimeout(c.Probe.Type, c.Interval))
	ps.whole("jitter", c.Jitter, DefaultJitter)
	ps.whole("rise", c.Rise, DefaultRise)
	if c.Window.Of > 0 {
		ps.text("window", c.Window.String(), "")
	} else {
		ps.whole("fall", c.Fall, DefaultFall)
	}
	ps.flag("alpha", c.Alpha, false)
	ps.duration("warmup", c.Warmup, min(maxWarmup, c.Interval))
	return ps
}

func (p *Probe) pairs(ps *pairs) {
	ps.text("via", ways.word(p.Via), ways.word(ViaServer))
	ps.text("address", addrText(p.Addr), "")
	ps.whole("port", int(p.Port), 0)
	for i := range probeKeys {
		if k := &probeKeys[i]; slices.Contains(k.types, p.Type) {
			s := *k.at(p)
			add := ps.add
			if k.name == "password" || k.name == "secret" {
				add = ps.secret
			}
			add(k.name, k.form.toml(s), s == k.def)
		}
	}
	ps.flag("dynamic", p.Dynamic, false)
	tls := p.TLS.pairs().inline()
	ps.add("tls", tls, p.TLS == TLS{} || p.Type == ProbeHTTPS && tls == "{}")
}

func (t *TLS) pairs() (ps pairs) {
	ps.text("mode", tlsModes.word(t.Mode), tlsModes.word(TLSOn))
	ps.flag("verify", t.Verify, false)
	ps.text("ca", t.CA, "")
	ps.text("cert", t.Cert, "")
	ps.text("key", t.Key, "")
	ps.text("server_name", t.Name, "")
	ps.duration("expiry_warning", t.Warn, 0)
	return ps
}

// pairs are all of a service's health but its checks. key is the service's, forward the
// method written on it.
func (h *Health) pairs(key ServiceKey, forward Forward) (ps pairs) {
	ps.text("on_failure", consequences.word(h.OnFailure), consequences.word(Remove))
	ps.text("connections", connectionFates.word(h.Connections), connectionFates.word(KeepConnections))
	ps.text("templates", templateFates.word(h.Templates), templateFates.word(KeepConnections))
	ps.duration("slow_start", h.SlowStart, 0)
	ps.whole("quorum", h.Quorum, DefaultQuorum)
	ps.whole("hysteresis", h.Hysteresis, 0)
	var sorry, flap, passive pairs
	if d := h.Sorry; d != nil {
		sorry = d.pairs(key, forward)
		sorry.flag("keep", h.SorryKeep, true)
	}
	ps.table("sorry_server", sorry)
	if f := h.Flap; f.Changes != 0 {
		flap.whole("changes", f.Changes, 0)
		flap.duration("within", f.Within, DefaultFlapWithin)
		flap.duration("hold", f.Hold, DefaultFlapHold)
	}
	ps.table("flap", flap)
	if t := h.Passive; t.Percent != 0 {
		passive.whole("percent", t.Percent, 0)
		passive.whole("min", t.Min, DefaultPassiveMin)
		passive.duration("window", t.Window, DefaultPassiveIn)
	}
	ps.table("passive", passive)
	ps.table("notify", h.Notify.pairs())
	return ps
}

func (n *Notify) pairs() (ps pairs) {
	for _, c := range n.commands() {
		ps.add(c.key, argvForm.toml(*c.at), *c.at == "")
	}
	ps.secret("webhook", quote(n.Webhook), n.Webhook == "") // who knows the URL may post there
	var mail []string
	for _, to := range n.Mail {
		mail = append(mail, quote(to))
	}
	ps.list("mail", mail)
	if mail != nil {
		ps.text("mail_from", n.MailFrom, DefaultMailFrom)
		ps.text("mail_server", n.MailServer, DefaultMailServer)
		ps.duration("mail_interval", n.MailEvery, DefaultMailEvery)
	}
	return ps
}

// health writes [service.health] and the service's checks.
func (w *tomlWriter) health(s *Service, forward Forward) {
	h := s.Health
	if h == nil {
		return
	}
	checked := len(h.Checks) > 0 || slices.ContainsFunc(s.Servers, func(d Server) bool { return len(d.Checks) > 0 })
	if ps := h.pairs(s.Key, forward); !checked || ps.inline() != "{}" {
		w.body("[service.health]", "  ", ps)
	}
	w.checks("service.check", "  ", h.Checks)
}

func (w *tomlWriter) checks(table, indent string, checks []HealthCheck) {
	header := "[" + table + "]"
	if len(checks) > 1 {
		header = "[" + header + "]"
	}
	for i := range checks {
		w.body(header, indent, checks[i].pairs())
	}
}
